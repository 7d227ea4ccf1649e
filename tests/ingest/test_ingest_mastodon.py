"""Mastodon: every trap of exports and of an instance's activities, by hand-made files with hand-made expectations."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import json
import tarfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.consent import gate
from townsquare.consent.grants import Grant, add_grant
from townsquare.errors import InputError
from townsquare.ingest import tables
from townsquare.ingest.activitypub import Known, rows_of
from townsquare.ingest.actors import Actor, actor_of
from townsquare.ingest.files import members
from townsquare.ingest.rows import Item, Origin
from townsquare.ingest.sources import SOURCES
from townsquare.square import Square

ANN = "https://home.example/users/ann"
FAR = "https://far.example/users/bob"
FOLLOWERS = f"{ANN}/followers"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
AT = "2024-01-10T12:00:00Z"
NAMED = "archive-20240301123000-0123456789abcdef.tar.gz"


def note(number: int | str = 1, content: Any = "<p>hello</p>", *, by: str = ANN, **fields: Any) -> dict[str, Any]:
    """A post as Mastodon writes it."""
    return {
        "id": f"{by}/statuses/{number}",
        "type": "Note",
        "summary": None,
        "inReplyTo": None,
        "published": AT,
        "url": f"https://home.example/@ann/{number}",
        "attributedTo": by,
        "to": [PUBLIC],
        "cc": [f"{by}/followers"],
        "sensitive": False,
        "atomUri": f"{by}/statuses/{number}",
        "conversation": f"tag:home.example,2024-01-10:objectId={number}:objectType=Conversation",
        "content": content,
        "contentMap": {"en": content},
        "attachment": [],
        "tag": [],
        "replies": {"type": "Collection", "first": {"type": "CollectionPage", "items": []}},
        **fields,
    }


def create(number: int | str = 1, content: Any = "<p>hello</p>", *, by: str = ANN, **fields: Any) -> dict[str, Any]:
    made = note(number, content, by=by, **fields)
    return {
        "id": f"{by}/statuses/{number}/activity",
        "type": "Create",
        "actor": by,
        "published": AT,
        "to": made["to"],
        "cc": made["cc"],
        "object": made,
    }


def act(kind: str, target: Any, *, by: str = ANN, number: int | str = 9, **fields: Any) -> dict[str, Any]:
    return {"id": f"{by}/statuses/{number}/activity", "type": kind, "actor": by, "object": target, **fields}


def boost(target: Any, **fields: Any) -> dict[str, Any]:
    return act("Announce", target, **{"published": AT, "to": [PUBLIC], "cc": [FOLLOWERS], **fields})


def outbox(*items: Any) -> bytes:
    context = ["https://www.w3.org/ns/activitystreams", {"ostatus": "http://ostatus.org#", "focal": {"@id": "toot:f"}}]
    return json.dumps(
        {
            "@context": context,
            "id": "outbox.json",
            "type": "OrderedCollection",
            "totalItems": len(items),
            "orderedItems": list(items),
        }
    ).encode()


def profile(**fields: Any) -> dict[str, Any]:
    return {
        "@context": ["https://www.w3.org/ns/activitystreams"],
        "id": ANN,
        "type": "Person",
        "followers": FOLLOWERS,
        "preferredUsername": "ann",
        "summary": "<p>I like cats</p>",
        "indexable": True,
        "discoverable": True,
        "tag": [],
        **fields,
    }


def export(*items: Any, actor: dict[str, Any] | bytes | None = None) -> dict[str, bytes]:
    """The files of an export."""
    about = profile() if actor is None else actor
    return {
        "outbox.json": outbox(*items),
        "actor.json": about if isinstance(about, bytes) else json.dumps(about).encode(),
        "likes.json": json.dumps({"type": "OrderedCollection", "orderedItems": ["https://e.example/1"]}).encode(),
        "bookmarks.json": json.dumps({"type": "OrderedCollection", "orderedItems": []}).encode(),
        "avatar.png": b"\x89PNG",
        "media_attachments/files/1/cat.png": b"\x89PNG",
    }


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def lines(path: Path, *activities: Any) -> Path:
    path.write_text("".join(json.dumps(a) + "\n" for a in activities), encoding="utf-8")
    return path


def rows(activity: Any, actor: Actor = Actor(), seen_at: dt.datetime | None = None) -> list[Item]:
    return rows_of(Origin("s", "0", "m"), 1, activity, Known(actor, seen_at, "g"))


def row(activity: Any, kind: str = "post", **settings: Any) -> dict[str, Any]:
    [(found, value)] = rows(activity, **settings)
    assert found == kind, value
    return value


def test_a_post_with_everything() -> None:
    activity = create(
        1,
        '<p><a href="https://far.example/@bob" class="u-url mention">@<span>bob</span></a> see '
        '<a href="https://www.e.example/a/b"><span class="invisible">https://www.</span>e.example/a/b</a> &amp; '
        '<a href="https://home.example/tags/x" class="mention hashtag" rel="tag">#<span>x</span></a><br>'
        "caf\u0065\u0301</p>",
        contentMap=None,
        inReplyTo=f"{FAR}/statuses/7",
        tag=[{"type": "Mention", "href": FAR, "name": "@bob@far.example"}, {"type": "Hashtag", "name": "#x"}],
        attachment=[
            {"type": "Document", "mediaType": "image/png", "url": "media_attachments/1.png", "name": "a cat",
             "width": 640, "height": 480},
            {"type": "Link", "href": "https://www.e.example/a/b"},
        ],
        likes={"type": "Collection", "totalItems": 3},
        shares={"type": "Collection", "totalItems": 0},
        summary="cats",
        sensitive=True,
        quote="https://far.example/users/eve/statuses/5",
    )  # fmt: skip
    found = row(activity, actor=actor_of(profile()))
    assert found["uid"] == f"masto:{ANN}/statuses/1"
    assert (found["network"], found["author_id"], found["author_handle"]) == ("masto", ANN, "ann@home.example")
    assert (found["author_kind"], found["grant_id"]) == ("person", "g")
    assert (
        found["text"] == "see https://www.e.example/a/b & #x\ncaf\u00e9"
    )  # the mention that replies begin with is gone
    assert found["text_raw"].endswith("caf\u0065\u0301</p>")
    assert (found["text_status"], found["lang"], found["lang_source"]) == ("html_stripped", None, None)
    assert (found["reply_to"], found["reply_to_author"]) == (f"masto:{FAR}/statuses/7", FAR)
    assert found["quote_of"] == "masto:https://far.example/users/eve/statuses/5"
    assert (found["likes"], found["reposts"], found["replies"]) == (3, 0, None)
    assert (found["content_warning"], found["sensitive"], found["visibility"]) == ("cats", True, "public")
    assert found["media"] == [{"kind": "image", "url": "media_attachments/1.png", "alt": "a cat", "w": 640, "h": 480}]
    assert found["links"] == [{"short": None, "expanded": "https://www.e.example/a/b", "title": None}]
    assert found["created_at"] == found["observed_at"] == dt.datetime(2024, 1, 10, 12, tzinfo=dt.UTC)
    assert (found["created_at_precision"], found["created_at_trust"]) == ("s", "server")


@pytest.mark.parametrize("public", [PUBLIC, "as:Public", "Public"])
def test_trap_a_public_has_three_spellings(public: str) -> None:
    assert row(create(to=[public]))["visibility"] == "public"
    assert row(create(to=public))["visibility"] == "public"  # one need not be a list
    assert row(create(to=[FOLLOWERS], cc=[public]))["visibility"] == "unlisted"
    assert row(boost(f"{FAR}/statuses/1", to=[public]))["visibility"] == "public"


MENTION = [{"type": "Mention", "href": FAR, "name": "@bob@far.example"}]


@pytest.mark.parametrize(
    ("fields", "visibility"),
    [
        ({"to": [FOLLOWERS], "cc": []}, "followers"),
        ({"to": [FOLLOWERS], "cc": [FAR], "tag": MENTION}, "followers"),
        ({"to": [FAR], "cc": [], "tag": MENTION}, "direct"),
        ({"to": [], "cc": []}, "direct"),
        ({"to": [FAR, "https://far.example/users/eve"], "cc": [], "tag": MENTION}, "circle"),
        ({"to": ["https://home.example/somebody"], "cc": []}, "circle"),
        ({"to": ["public"], "cc": []}, "circle"),  # not one of the three spellings
        ({"to": [PUBLIC.lower()], "cc": []}, "circle"),
        ({"to": 5, "cc": None}, "circle"),
        ({"to": [{"id": PUBLIC}], "cc": []}, "public"),
        ({"to": [{}], "cc": []}, "circle"),
        ({"to": None, "cc": None}, "direct"),
    ],
)
def test_trap_a_an_outbox_holds_what_was_not_public(fields: dict[str, Any], visibility: str) -> None:
    assert row(create(**fields))["visibility"] == visibility


def test_of_two_audiences_the_narrower_counts_and_none_is_unknown() -> None:
    assert row({**create(to=[PUBLIC]), "to": [FOLLOWERS], "cc": []})["visibility"] == "followers"
    assert row({**create(to=[FOLLOWERS], cc=[]), "to": [PUBLIC]})["visibility"] == "followers"
    bare = create()
    for holder in (bare, bare["object"]):
        del holder["to"], holder["cc"]
    assert row(bare)["visibility"] == "unknown"
    own = Actor(id=ANN, followers="https://home.example/ap/9/fans")
    assert row(create(to=["https://home.example/ap/9/fans"], cc=[]), actor=own)["visibility"] == "followers"


def test_only_public_posts_pass_the_gate(square: Square, tmp_path: Path) -> None:
    audiences = {"public": [PUBLIC], "unlisted": [], "followers": [FOLLOWERS], "direct": [FAR]}
    posts = [
        create(i, to=to, cc=[PUBLIC] if name == "unlisted" else [], tag=MENTION)
        for i, (name, to) in enumerate(audiences.items())
    ]
    ingest(square, tar(tmp_path / NAMED, export(*posts)))
    found = posts_of(square)
    assert [found[f"masto:{ANN}/statuses/{i}"]["visibility"] for i in range(4)] == list(audiences)
    add_grant(square, Grant(id="g", grantor="a", grantee="b", purposes=("train",), sources=("*",)))
    consent = tables.read_consent(square)
    reasons = gate.refusals(tables.read_posts(square), consent, purpose="train", at=dt.date(2024, 6, 1))
    assert reasons.to_pylist() == [None, "not_public", "not_public", "not_public"]


def test_trap_c_mentions_stay_as_shown_and_go_where_a_reply_begins_with_them() -> None:
    content = '<p><a href="https://far.example/@bob" class="u-url mention">@<span>bob</span></a> hi @eve</p>'
    assert row(create(1, content, tag=MENTION))["text"] == "@bob hi @eve"
    assert row(create(1, content, tag=MENTION, inReplyTo=f"{FAR}/statuses/1"))["text"] == "hi @eve"
    assert row(create(1, content, tag=[], inReplyTo=f"{FAR}/statuses/1"))["text"] == "@bob hi @eve"


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (f"{FAR}/statuses/7", (f"masto:{FAR}/statuses/7", FAR)),
        ({"id": f"{FAR}/statuses/7", "type": "Note"}, (f"masto:{FAR}/statuses/7", FAR)),
        ([f"{FAR}/statuses/7"], (f"masto:{FAR}/statuses/7", FAR)),
        ("https://home.example/ap/users/5/statuses/7",
         ("masto:https://home.example/ap/users/5/statuses/7", "https://home.example/ap/users/5")),
        ("tag:far.example,2017-04-05:objectId=7:objectType=Status",
         ("masto:tag:far.example,2017-04-05:objectId=7:objectType=Status", None)),
        ("https://pleroma.example/objects/0a-1b", ("masto:https://pleroma.example/objects/0a-1b", None)),
        (None, (None, None)),
        ("", (None, None)),
        ("javascript:alert(1)", (None, None)),
        (12345678901234567890, (None, None)),
        ("https://a.example/ b", (None, None)),
        ("https://a.example/" + "b" * 3000, (None, None)),
    ],
)  # fmt: skip
def test_trap_d_a_parent_may_be_an_object_or_a_tag(parent: Any, expected: tuple[str | None, str | None]) -> None:
    found = row(create(inReplyTo=parent))
    assert (found["reply_to"], found["reply_to_author"]) == expected


@pytest.mark.parametrize(
    "activity",
    [
        act("Delete", {"id": f"{ANN}/statuses/1", "type": "Tombstone", "atomUri": "x"}, published=AT),
        act("Delete", f"{ANN}/statuses/1", published=AT),
        act("Create", {"id": f"{ANN}/statuses/1", "type": "Tombstone", "deleted": AT}),
        {"id": f"{ANN}/statuses/1", "type": "Tombstone", "deleted": AT, "attributedTo": ANN},
        {"id": f"{ANN}/statuses/1", "type": "Tombstone", "deleted": AT},
    ],
)
def test_trap_d_a_tombstone_is_a_delete(activity: dict[str, Any]) -> None:
    found = row(activity, "event")
    assert (found["kind"], found["target_uid"], found["reversible"]) == ("delete", f"masto:{ANN}/statuses/1", False)
    assert found["event_at"] == dt.datetime(2024, 1, 10, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("named", "lang"),
    [({"en": "x"}, "en"), ({"pt-BR": "x"}, "pt-BR"), ({"en": "x", "de": "y"}, None), ({}, None), ({"e n": "x"}, None)],
)
def test_trap_e_the_language_is_the_only_key(named: dict[str, str], lang: str | None) -> None:
    found = row(create(contentMap=named))
    assert (found["lang"], found["lang_source"]) == (lang, "client" if lang else None)


def test_content_may_stand_in_the_map_alone() -> None:
    assert row(create(1, None, contentMap={"de": "<p>nur hier</p>"}))["text"] == "nur hier"
    assert row(create(1, None, contentMap={"de": "a", "en": "b"}), "quarantine")["reason"] == "no_text"


def test_trap_f_updates_win_in_any_order(tmp_path: Path) -> None:
    """Create, two edits and a replay, each in a file of its own, in every order: the last edit stays."""
    first = create(1, "<p>one</p>")
    edits = [
        act("Update", note(1, f"<p>{text}</p>", updated=f"2024-01-1{day}T12:00:00Z"), number="1#updates/1705")
        for text, day in (("two", 1), ("three", 2))
    ]
    for number, order in enumerate(itertools.permutations([first, *edits])):
        square = Square.create(tmp_path / f"square{number}")
        for i, activity in enumerate(order):
            ingest(square, lines(tmp_path / f"{number}-{i}.ndjson", activity))
        [found] = posts_of(square).values()
        assert (found["text"], found["text_raw"]) == ("three", "<p>three</p>")
        assert found["created_at"] == dt.datetime(2024, 1, 10, 12, tzinfo=dt.UTC)


def test_an_export_made_before_an_edit_loses_to_it_and_one_made_after_wins() -> None:
    early, late = dt.datetime(2024, 1, 10, 13, tzinfo=dt.UTC), dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
    edited = row(act("Update", note(1, updated="2024-01-11T12:00:00Z")))["observed_at"]
    assert row(create(1), seen_at=early)["observed_at"] < edited < row(create(1), seen_at=late)["observed_at"]


@pytest.mark.parametrize(
    ("fields", "intent", "source"),
    [
        ({}, "undefined", "mastodon:actor"),
        ({"indexable": False}, "deny", "mastodon:indexable"),
        ({"indexable": "false"}, "deny", "mastodon:indexable"),
        ({"discoverable": False}, "deny", "mastodon:discoverable"),
        ({"discoverable": None}, "deny", "mastodon:discoverable"),
        ({"summary": '<p>hi <a href="https://h.example/tags/nobot" rel="tag">#<span>NoBot</span></a></p>'}, "deny",
         "mastodon:#nobot"),
        ({"summary": "<p>#noindex</p>"}, "deny", "mastodon:#noindex"),
        ({"summary": "<p>#nobots are cute</p>"}, "undefined", "mastodon:actor"),
        ({"tag": [{"type": "Hashtag", "name": "#noai"}]}, "deny", "mastodon:#noai"),
    ],
)  # fmt: skip
def test_trap_g_a_profile_that_refuses(fields: dict[str, Any], intent: str, source: str, tmp_path: Path) -> None:
    path = tar(tmp_path / NAMED, export(create(), boost(f"{FAR}/statuses/1"), actor=profile(**fields)))
    square = Square.create(tmp_path / "square")
    ingest(square, path)
    for found in posts_of(square).values():
        assert (found["consent_intent"], found["consent_source"]) == (intent, source)
        assert found["consent_seen_at"] == dt.datetime(2024, 3, 1, 12, 30, tzinfo=dt.UTC)


def test_old_profiles_say_nothing_of_it() -> None:
    old = profile()
    del old["indexable"], old["discoverable"]
    assert actor_of(old).intent == "undefined"


@pytest.mark.parametrize("damaged", [json.dumps(profile()).encode()[:-20], b"{}", b"[]", b"", b"[" * 100_000, b"\xff"])
def test_a_profile_that_cannot_be_read_refuses(damaged: bytes, square: Square, tmp_path: Path) -> None:
    ingest(square, zipped(tmp_path / "a.zip", export(create(), actor=damaged)))
    [found] = posts_of(square).values()
    assert (found["consent_intent"], found["consent_source"]) == ("deny", "mastodon:unreadable")
    [held] = quarantine_of(square)
    assert (held["reason"], held["raw"]) == ("broken_json", None)


def test_a_changed_profile_in_a_stream_opts_out_early_and_late_posts(square: Square, tmp_path: Path) -> None:
    refusing = {**act("Update", profile(indexable=False)), "id": f"{ANN}#updates/1704890000"}
    content = [create(1), refusing, create(2), create(3, by=FAR), act("Update", profile(), by=ANN)]
    receipt = ingest(square, lines(tmp_path / "stream.ndjson", *content))
    assert receipt.counts["quarantined"] == {"not_taken": 1}
    [event] = events_of(square)
    assert (event["kind"], event["target_author"], event["scope"]) == ("opt_out", f"masto:{ANN}", "train")
    assert event["event_at"] == dt.datetime(2024, 1, 10, 12, 33, 20, tzinfo=dt.UTC)
    posts = tables.read_posts(square)
    add_grant(square, Grant("g", "a", "b", purposes=("train", "tune", "display"), networks=("masto",)))
    consent = tables.read_consent(square)
    for purpose, expected in (("train", "opted_out"), ("tune", "opted_out"), ("display", None)):
        reasons = gate.refusals(posts, consent, purpose, at=dt.date(2024, 6, 1))
        by_uid = dict(zip(posts["uid"].to_pylist(), reasons.to_pylist(), strict=True))
        assert by_uid == {
            f"masto:{ANN}/statuses/1": expected,
            f"masto:{ANN}/statuses/2": expected,
            f"masto:{FAR}/statuses/3": None,
        }


def test_trap_h_deleting_the_actor_ends_the_account(square: Square, tmp_path: Path) -> None:
    ending = {**act("Delete", ANN), "id": f"{ANN}#delete", "to": [PUBLIC]}
    ingest(square, lines(tmp_path / "a.ndjson", ending, create(1), create(2), create(3, by=FAR)))
    [event] = events_of(square)
    assert (event["kind"], event["target_author"], event["reversible"]) == ("author_delete", f"masto:{ANN}", False)
    assert event["target_uid"] is None
    found = posts_of(square)
    assert [found[uid]["state"] for uid in sorted(found)] == ["live", "deleted", "deleted"]
    assert found[f"masto:{ANN}/statuses/1"]["text"] is None


@pytest.mark.parametrize(
    "activity",
    [
        act("Delete", f"{ANN}/statuses/1", by=FAR),
        act("Delete", ANN, by=FAR),
        act("Delete", {"id": ANN, "type": "Person"}, by="https://home.example/users/eve"),
        act("Undo", {"id": f"{ANN}/statuses/9/activity", "type": "Announce"}, by=FAR),
        act("Update", note(1, "<p>I never said this</p>"), by=FAR),
        act("Create", note(1, "<p>I never said this</p>"), by=FAR),
        act("Create", note(1, by=FAR, id=f"{ANN}/statuses/1"), by=FAR),
        act("Create", note(1, by=FAR, id="https://home.example@far.example/1"), by=ANN),
        act("Update", profile(indexable=False), by=FAR),
        boost(f"{FAR}/statuses/1", by=FAR) | {"id": f"{ANN}/statuses/1/activity"},
    ],
)
def test_nobody_speaks_for_another_instance_or_person(activity: dict[str, Any]) -> None:
    found = row(activity, "quarantine")
    assert (found["reason"], found["raw"]) == ("other_author", None)


def test_an_export_is_of_one_person(square: Square, tmp_path: Path) -> None:
    foreign = [create(2, by=FAR), boost(f"{ANN}/statuses/1", by=FAR)]
    receipt = ingest(square, zipped(tmp_path / "a.zip", export(create(1), *foreign)))
    assert receipt.counts["quarantined"] == {"other_author": 2}
    assert list(posts_of(square)) == [f"masto:{ANN}/statuses/1"]


def test_a_boost_has_no_words_and_goes_with_its_original(square: Square, tmp_path: Path) -> None:
    foreign = note(7, "<p>words of somebody else</p>", by=FAR)
    ingest(square, lines(tmp_path / "a.ndjson", boost(foreign), boost(f"{FAR}/statuses/8", number=10)))
    found = posts_of(square)
    first = found[f"masto:{ANN}/statuses/9/activity"]
    assert (first["repost_of"], first["text"], first["text_status"]) == (f"masto:{FAR}/statuses/7", "", "missing")
    assert len(found) == 2
    assert "somebody else" not in json.dumps(list(found.values()), default=str)
    assert quarantine_of(square) == []
    ingest(square, lines(tmp_path / "b.ndjson", act("Delete", f"{FAR}/statuses/7", by=FAR)))
    states = {uid: post["state"] for uid, post in posts_of(square).items()}
    assert sorted(states.values()) == ["deleted", "live"]


def test_boosting_an_own_post_for_followers_brings_the_post() -> None:
    """Mastodon puts the whole post into the boost then."""
    own = note(7, "<p>mine</p>", to=[FOLLOWERS], cc=[])
    [(_, repost), (_, original)] = rows(boost(own, to=[FOLLOWERS], cc=[]))
    assert (repost["repost_of"], repost["visibility"]) == (original["uid"], "followers")
    assert (original["text"], original["visibility"]) == ("mine", "followers")
    assert repost["source_locator"] != original["source_locator"]


@pytest.mark.parametrize(
    "target", [{"id": f"{ANN}/statuses/9/activity", "type": "Announce"}, f"{ANN}/statuses/9/activity"]
)
def test_a_boost_can_be_undone(target: Any, square: Square, tmp_path: Path) -> None:
    ingest(square, lines(tmp_path / "a.ndjson", act("Undo", target), boost(f"{FAR}/statuses/8")))
    assert [post["state"] for post in posts_of(square).values()] == ["deleted"]


@pytest.mark.parametrize("kind", ["Like", "Follow", "Block", "Flag", "Accept", "Move", "EmojiReact", "Undo"])
def test_what_people_do_beside_posting_is_counted_and_not_kept(kind: str) -> None:
    target = {"type": "Like", "object": "https://secret.example"} if kind == "Undo" else "https://secret.example"
    found = row(act(kind, target, content="a report on somebody"), "quarantine")
    assert found["reason"] == "not_taken"
    assert kind in found["detail"]
    assert "secret" not in str(found)
    assert "ann" not in str(found)
    assert "somebody" not in str(found)


def test_a_vote_in_a_poll_is_no_post() -> None:
    vote = {"id": f"{ANN}#votes/5", "type": "Note", "name": "Tea", "attributedTo": ANN, "to": [FAR], "published": AT,
            "inReplyTo": f"{FAR}/statuses/7"}  # fmt: skip
    found = row(act("Create", vote), "quarantine")
    assert (found["reason"], found["raw"]) == ("poll_vote", None)


@pytest.mark.parametrize("key", ["oneOf", "anyOf"])
def test_the_answers_of_a_poll_are_text(key: str) -> None:
    options = [{"type": "Note", "name": name, "replies": {"totalItems": 2}} for name in ("Tea", "Coffee & cake")]
    found = row(create(1, "<p>What?</p>", type="Question", **{key: [*options, {"type": "Note"}, 5]}))
    assert found["text"] == "What?\n- Tea\n- Coffee & cake"


def test_a_picture_without_words_is_a_post() -> None:
    found = row(
        create(1, "", attachment=[{"type": "Document", "mediaType": "video/mp4", "url": "a.mp4", "name": None}])
    )
    assert (found["text"], found["media"][0]["kind"], found["media"][0]["alt"]) == ("", "video", None)


@pytest.mark.parametrize("key", ["quote", "quoteUrl", "quoteUri", "_misskey_quote"])
def test_quotes_under_each_name(key: str) -> None:
    content = '<p class="quote-inline">RE: <a href="https://far.example/@bob/5">far.example/@bob/5</a></p><p>yes</p>'
    found = row(create(1, content, **{key: f"{FAR}/statuses/5"}))
    assert (found["quote_of"], found["text"]) == (f"masto:{FAR}/statuses/5", "yes")
    assert row(create(quote={"type": "Tombstone"}))["quote_of"] is None


@pytest.mark.parametrize("pack", [folder, tar, zipped])
def test_an_export_in_any_wrapping(pack: Any, square: Square, tmp_path: Path) -> None:
    files = export(create(1), boost(f"{FAR}/statuses/1"), create(3, type="Question"))
    names = {folder: "export", tar: NAMED, zipped: "archive-20240301123000-0123456789abcdef.zip"}
    receipt = ingest(square, pack(tmp_path / names[pack], files))
    assert (receipt.counts["kept"], receipt.counts["quarantined"]) == (3, {})
    assert {file["format"] for file in receipt.results["files"].values()} == {"mastodon"}
    assert "an ActivityPub outbox" in next(iter(receipt.results["files"].values()))["why"]
    observed = {post["observed_at"] for post in posts_of(square).values()}
    exported = dt.datetime(2024, 3, 1, 12, 30, tzinfo=dt.UTC)
    assert observed == ({dt.datetime(2024, 1, 10, 12, tzinfo=dt.UTC)} if pack is folder else {exported})


def test_several_exports_in_one_folder_keep_to_their_own_actor(square: Square, tmp_path: Path) -> None:
    for name, by, indexable in (("a", ANN, True), ("b", FAR, False)):
        about = profile(id=by, preferredUsername=name, indexable=indexable)
        folder(tmp_path / "all" / name, export(create(1, by=by), actor=about))
    ingest(square, tmp_path / "all")
    found = {post["author_id"]: (post["author_handle"], post["consent_intent"]) for post in posts_of(square).values()}
    assert found == {ANN: ("a@home.example", "undefined"), FAR: ("b@far.example", "deny")}


def test_an_outbox_alone_an_array_and_lines_say_the_same(tmp_path: Path) -> None:
    activities = [create(1), boost(f"{FAR}/statuses/1"), create(2, to=[FAR], cc=[], tag=MENTION), act("Like", "x")]
    (tmp_path / "outbox.json").write_bytes(outbox(*activities))
    (tmp_path / "indented.json").write_text(json.dumps(json.loads(outbox(*activities)), indent=2))
    (tmp_path / "array.json").write_text(json.dumps(activities, indent=1))
    lines(tmp_path / "lines.ndjson", *activities)
    (tmp_path / "objects.ndjson").write_text("\n".join(json.dumps(a["object"]) for a in (activities[0], activities[2])))
    told = {}
    for path in sorted(tmp_path.iterdir()):
        square = Square.create(tmp_path.parent / f"{tmp_path.name}-{path.name}")
        ingest(square, path)
        told[path.name] = [
            (p["uid"], p["text"], p["visibility"], p["author_id"], p["author_handle"])
            for p in posts_of(square).values()
        ]
    assert told["outbox.json"] == told["array.json"] == told["lines.ndjson"] == told["indented.json"]
    assert told["objects.ndjson"] == [told["lines.ndjson"][0], told["lines.ndjson"][1]]
    assert told["objects.ndjson"][0][4] == "ann@home.example"


def test_damage_loses_nothing_but_itself(square: Square, tmp_path: Path) -> None:
    """A broken item, a stray bracket after one and a cut end: everything whole is still there."""
    whole = outbox(*(create(i, f"<p>post {i}</p>", tag=MENTION, to=[PUBLIC, FAR]) for i in range(12)))
    broken = whole.replace(b"post 3</p>", b'post 3"</p>', 1).replace(b"/statuses/6/activity", b'"]}/activity', 1)
    nine = b'{"id": "https://home.example/users/ann/statuses/9/activity'
    broken = broken.replace(nine, b"]} " + nine, 1)
    (tmp_path / "outbox.json").write_bytes(broken[:-200])
    receipt = ingest(square, tmp_path / "outbox.json")
    assert {uid.rpartition("/")[2] for uid in posts_of(square)} == {str(i) for i in range(12) if i not in (3, 6, 11)}
    assert set(receipt.counts["quarantined"]) == {"broken_json"}
    told = "".join(held["raw"] for held in quarantine_of(square))
    assert all(f"post {i}" in told for i in (3, 6, 11))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (outbox(), (0, {})),
        (outbox(create())[:-1] + b', "totalItems": 1}', (1, {})),
        (outbox(create()) + b"junk", (1, {"broken_json": 1})),
        (b'{"type": "OrderedCollection", "orderedItems": null}', (0, {"broken_json": 1})),
        (outbox(5, None, "x", {"type": "Create"}, {"type": 7}, create()), (1, {"not_an_activity": 5})),
    ],
)
def test_odd_outboxes(content: bytes, expected: tuple[int, dict[str, int]], square: Square, tmp_path: Path) -> None:
    (tmp_path / "outbox.json").write_bytes(content)
    receipt = ingest(square, tmp_path / "outbox.json", format="mastodon")
    assert (receipt.counts["kept"], receipt.counts["quarantined"]) == expected


def test_what_leads_out_of_the_archive_is_told(square: Square, tmp_path: Path) -> None:
    files = {"outbox.json": outbox(create()), "../actor.json": json.dumps(profile()).encode()}
    receipt = ingest(square, zipped(tmp_path / "a.zip", files))
    assert (receipt.counts["kept"], receipt.counts["quarantined"]) == (1, {"unsafe_member": 1})
    with pytest.raises(InputError, match=r"holds no outbox\.json"):
        ingest(square, zipped(tmp_path / "b.zip", {"a.json": b"{}", "b.json": b"{}"}), format="mastodon")


def test_a_cut_archive_yields_what_is_whole(square: Square, tmp_path: Path) -> None:
    path = tar(tmp_path / NAMED, {"actor.json": json.dumps(profile()).encode(), **export(*map(create, range(400)))})
    path.write_bytes(path.read_bytes()[:-120])
    receipt = ingest(square, path)
    assert receipt.counts["quarantined"]
    assert receipt.counts["kept"] + receipt.counts["quarantined"].get("broken_json", 0) > 0


OTHERS = {
    "v2.jsonl": b'{"data": [{"id": "1", "text": "a", "author_id": "2", "public_metrics": {}}]}\n',
    "v1.jsonl": b'{"created_at": "Sat Feb 18 12:33:11 +0000 2023", "id_str": "1", "text": "a"}\n',
    "delete.jsonl": b'{"delete": {"status": {"id": 1, "id_str": "1"}, "timestamp_ms": "1705048200000"}}\n',
    "tweets.js": b'window.YTD.tweets.part0 = [{"tweet": {"id_str": "1", "full_text": "a"}}]',
    "hn.ndjson": b'{"by": "ann", "id": 1, "time": 1, "title": "t", "type": "story"}\n',
    "reddit.ndjson": b'{"id": "a", "author": "ann", "body": "hi", "link_id": "t3_x", "created_utc": 1}\n',
    "jetstream.ndjson": b'{"did": "did:plc:a", "kind": "commit", "commit": {"record": {"$type": "app.bsky"}}}\n',
    "out.csv": b"network,author_id,post_id,requested_at\nx,1,,2024-01-01\n",
    "t.jsonl": b'{"text": "hello", "type": "Create"}\n',
}


def first_claim(path: Path) -> str | None:
    with ExitStack() as open_files:
        [member] = members(path, open_files)
        return next((source.NAME for source in SOURCES if source.detect(member)), None)


def test_it_claims_its_own_files_and_no_others(tmp_path: Path) -> None:
    own = {
        "outbox.json": outbox(create()),
        "page.json": b'{"orderedItems": [' + json.dumps(create()).encode() + b'], "type": "OrderedCollectionPage"}',
        "array.json": json.dumps([create()]).encode(),
        "stream.ndjson": json.dumps(act("Like", "x")).encode() + b"\n" + json.dumps(create()).encode(),
        "long.ndjson": json.dumps(create(1, "<p>" + "long " * 40_000)).encode(),
        "notes.ndjson": b"\xef\xbb\xbf" + json.dumps(note()).encode(),
    }
    for name, content in {**own, **OTHERS}.items():
        (tmp_path / name).write_bytes(content)
        claim = first_claim(tmp_path / name)
        assert (claim == "mastodon") == (name in own), f"{name} is claimed by {claim}"


def test_ids_and_texts_are_storable() -> None:
    assert row(create("\ud83d"))["uid"] == f"masto:{ANN}/statuses/\N{REPLACEMENT CHARACTER}"
    found = row(create(1, "<p>\ud83d a\0b \u2028c</p>", summary="\0\ud83d"))
    for value in (found["text"], found["text_raw"], found["content_warning"]):
        value.encode()
        assert "\0" not in value
    assert "\u2028" in found["text"]


def test_a_member_without_a_name_stops_no_other(square: Square, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"@@nameless": b"", **export(create())})
    path.write_bytes(path.read_bytes().replace(b"@@nameless", b"\0@nameless"))  # zipfile cuts a name at its NUL
    assert ingest(square, path).counts["kept"] == 1
