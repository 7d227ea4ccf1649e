"""Bluesky as apps see it: feeds, threads, searches, lists of records and flattened posts."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from bluesky_made import ANN, BOB, EVE, KEY, POST, REPOST, STATED, put, record, ref, uri, view
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.square import Square

UID = f"bsky:{uri()}"
KEYS = [f"3l3qo2vuowo2{sign}" for sign in "bcdefghijk"]


def uids(square: Square) -> set[str]:
    return {uid.removeprefix("bsky:") for uid in posts_of(square)}


def reasons(square: Square) -> dict[str, str | None]:
    return {row["reason"]: row["uid"] for row in quarantine_of(square)}


def test_a_view_of_a_post(square: Square, tmp_path: Path) -> None:
    label = {"src": "did:plc:mod", "uri": uri(), "val": "nudity", "cts": STATED}
    seen = view(
        "hi",
        record={"langs": ["en"]},
        quoteCount=2,
        bookmarkCount=1,
        labels=[label],
        author={"labels": [{"val": "bot"}]},
    )
    receipt = ingest(square, put(tmp_path / "a.json", {"posts": [seen], "cursor": "x"}))
    assert receipt.results["files"]["a.json"]["format"] == "bluesky_appview"
    assert receipt.counts == {"seen": 1, "kept": 1, "events": 0, "quarantined": {}}
    made = posts_of(square)[UID]
    counts = ("likes", "reposts", "replies", "quotes", "bookmarks", "views")
    assert [made[name] for name in counts] == [5, 0, 3, 2, 1, None]
    assert (made["author_id"], made["author_handle"], made["author_kind"]) == (ANN, "ann.example", "bot")
    assert (made["labels"], made["sensitive"], made["lang"]) == (["nudity"], True, "en")


def test_a_page_is_seen_at_the_latest_time_in_it(square: Square, tmp_path: Path) -> None:
    late = view(key=KEYS[1], indexedAt="2024-10-01T00:00:00.000Z")
    ingest(square, put(tmp_path / "a.json", {"posts": [view(), late, view(key=KEYS[2], indexedAt=None)]}))
    assert {row["observed_at"] for row in posts_of(square).values()} == {dt.datetime(2024, 10, 1, tzinfo=dt.UTC)}


def test_a_feed_gives_what_is_replied_to_and_who_reposted(square: Square, tmp_path: Path) -> None:
    root, parent = view(did=BOB, key=KEYS[1]), view(did=EVE, key=KEYS[2])
    by = {"did": BOB, "handle": "bob.example"}
    repost = {
        "$type": "app.bsky.feed.defs#reasonRepost",
        "by": by,
        "uri": uri(BOB, KEYS[3], REPOST),
        "indexedAt": STATED,
    }
    feed = [
        {"post": view(), "reply": {"root": root, "parent": parent}, "reason": repost},
        {"post": view(key=KEYS[4]), "reason": {"$type": "app.bsky.feed.defs#reasonPin"}},
        {"post": view(key=KEYS[5]), "reason": {"by": by, "indexedAt": STATED}},
    ]
    receipt = ingest(square, put(tmp_path / "a.json", {"feed": feed}))
    assert receipt.counts["quarantined"] == {}
    posts = {uri(BOB, KEYS[1]), uri(EVE, KEYS[2]), uri(), uri(key=KEYS[4]), uri(key=KEYS[5])}
    assert uids(square) == {*posts, uri(BOB, KEYS[3], REPOST)}
    shared = posts_of(square)[f"bsky:{uri(BOB, KEYS[3], REPOST)}"]
    assert (shared["repost_of"], shared["author_id"], shared["author_handle"]) == (UID, BOB, "bob.example")


def gone(kind: str, did: str, key: str, **flag: Any) -> dict[str, Any]:
    return {"$type": f"app.bsky.{kind}", "uri": uri(did, key), **flag}


def test_a_thread_gives_all_its_posts_and_names_what_is_missing(square: Square, tmp_path: Path) -> None:
    def node(*replies: Any, parent: Any = None, **said: Any) -> dict[str, Any]:
        return {"post": view(**said), "parent": parent, "replies": list(replies)}

    missing = gone("feed.defs#notFoundPost", BOB, KEYS[3], notFound=True)
    blocked = gone("feed.defs#blockedPost", EVE, KEYS[4], blocked=True, author={"did": EVE})
    thread = node(node(node(key=KEYS[2]), missing, key=KEYS[1]), blocked, parent=node(did=BOB, key=KEYS[5]))
    ingest(square, put(tmp_path / "a.json", {"thread": thread}))
    assert uids(square) == {uri(), uri(key=KEYS[1]), uri(key=KEYS[2]), uri(BOB, KEYS[5])}
    found = {(row["reason"], row["uid"], row["detail"], row["author_id"]) for row in quarantine_of(square)}
    assert found == {
        ("unavailable", f"bsky:{uri(BOB, KEYS[3])}", "notFoundPost", BOB),
        ("unavailable", f"bsky:{uri(EVE, KEYS[4])}", "blockedPost", EVE),
    }


def test_a_thread_of_the_second_kind(square: Square, tmp_path: Path) -> None:
    def item(kind: str, key: str, **value: Any) -> dict[str, Any]:
        return {
            "uri": uri(key=key),
            "depth": 0,
            "value": {"$type": f"app.bsky.unspecced.defs#threadItem{kind}", **value},
        }

    thread = [
        item("Post", KEYS[0], post=view(key=KEYS[0]), opThread=True),
        item("NoUnauthenticated", KEYS[1], author={"did": ANN}),
        item("NotFound", KEYS[2]),
        item("Blocked", KEYS[3], author={"did": ANN}),
    ]
    ingest(square, put(tmp_path / "a.json", {"thread": thread, "hasOtherReplies": False}))
    assert uids(square) == {uri(key=KEYS[0])}
    assert len(quarantine_of(square)) == 3
    assert reasons(square).keys() == {"unavailable"}


def test_a_thread_as_deep_as_json_can_be(square: Square, tmp_path: Path) -> None:
    text = json.dumps(view())
    deep = '{"thread":' + f'{{"post":{text},"replies":[' * 400 + "]}" * 400 + "}"
    path = tmp_path / "a.json"
    path.write_text(deep)
    assert ingest(square, path).counts["kept"] == 400
    deeper = '{"thread":' + f'{{"post":{text},"replies":[' * 100_000 + "]}" * 100_000 + "}"
    path.write_text(deeper)
    assert ingest(square, path, name="deeper").counts["quarantined"] == {"broken_json": 1}


def quoting(quoted: dict[str, Any], *, with_media: bool = False, **said: Any) -> dict[str, Any]:
    embed: dict[str, Any] = {"$type": "app.bsky.embed.record#view", "record": quoted}
    if with_media:
        picture = {"thumb": "https://cdn.example/t", "fullsize": "https://cdn.example/f", "alt": "a cat"}
        shown = {"$type": "app.bsky.embed.images#view", "images": [picture]}
        embed = {"$type": "app.bsky.embed.recordWithMedia#view", "record": embed, "media": shown}
    own = {"$type": "app.bsky.embed.record", "record": ref(BOB, KEYS[1])}
    return view(embed=embed, record={"embed": own}, **said)


@pytest.mark.parametrize("with_media", [False, True])
def test_quoted_posts_are_posts_too_at_any_depth(square: Square, tmp_path: Path, with_media: bool) -> None:
    def quoted(key: str, **more: Any) -> dict[str, Any]:
        seen = view("quoted", did=BOB, key=key)
        return {**{k: v for k, v in seen.items() if k != "record"}, "value": seen["record"], **more}

    inner = {"$type": "app.bsky.embed.record#view", "record": quoted(KEYS[2])}
    page = quoting(quoted(KEYS[1], embeds=[inner], likeCount=7), with_media=with_media)
    ingest(square, put(tmp_path / "a.json", page))
    assert uids(square) == {uri(), uri(BOB, KEYS[1]), uri(BOB, KEYS[2])}
    made = posts_of(square)
    assert made[UID]["quote_of"] == f"bsky:{uri(BOB, KEYS[1])}"
    assert made[f"bsky:{uri(BOB, KEYS[1])}"]["likes"] == 7
    wanted = [{"kind": "photo", "url": "https://cdn.example/f", "alt": "a cat", "w": None, "h": None}]
    assert made[UID]["media"] == (wanted if with_media else None)


@pytest.mark.parametrize("kind", ["viewNotFound", "viewBlocked", "viewDetached"])
def test_quoted_posts_that_are_unavailable(square: Square, tmp_path: Path, kind: str) -> None:
    missing = gone(f"embed.record#{kind}", BOB, KEYS[1])
    ingest(square, put(tmp_path / "a.json", quoting(missing)))
    assert reasons(square) == {"unavailable": f"bsky:{uri(BOB, KEYS[1])}"}
    assert posts_of(square)[UID]["labels"] == (["detached_quote"] if kind == "viewDetached" else None)


def test_quoted_lists_and_feeds_are_no_posts(square: Square, tmp_path: Path) -> None:
    feed = {"$type": "app.bsky.feed.defs#generatorView", "uri": uri(BOB, "f", "app.bsky.feed.generator"), "creator": {}}
    receipt = ingest(square, put(tmp_path / "a.json", quoting(feed)))
    assert receipt.counts == {"seen": 1, "kept": 1, "events": 0, "quarantined": {}}


def test_replies_that_a_threads_author_hid_are_labelled(square: Square, tmp_path: Path) -> None:
    gate = {
        "uri": uri(ANN, KEY, "app.bsky.feed.threadgate"),
        "record": {"hiddenReplies": [uri(BOB, k) for k in KEYS[1:5]]},
    }
    forged = {"uri": uri(EVE, KEY, "app.bsky.feed.threadgate"), "record": {"hiddenReplies": [uri(BOB, KEYS[5])]}}

    def reply(key: str, root: str = uri()) -> dict[str, Any]:
        return view(did=BOB, key=key, record={"reply": {"root": {"uri": root}, "parent": {"uri": root}}})

    replies = [reply(KEYS[1]), reply(KEYS[2], uri(EVE)), reply(KEYS[5], uri(key=KEYS[6])), view(did=BOB, key=KEYS[3])]
    other = view(key=KEYS[6], threadgate=forged)
    ingest(square, put(tmp_path / "a.json", {"posts": [*replies, view(threadgate=gate), other]}))
    labelled = {uid for uid, row in posts_of(square).items() if row["labels"]}
    assert labelled == {f"bsky:{uri(BOB, KEYS[1])}"}, "only replies in the thread, and only by its own author"
    assert posts_of(square)[f"bsky:{uri(BOB, KEYS[1])}"]["labels"] == ["hidden_by_thread"]


def test_authors_for_signed_in_people_alone(square: Square, tmp_path: Path) -> None:
    closed = {"labels": [{"val": "!no-unauthenticated", "src": ANN}]}
    receipt = ingest(square, put(tmp_path / "a.json", {"posts": [view(author=closed), view(did=BOB, key=KEYS[1])]}))
    assert receipt.counts["events"] == 1
    made = posts_of(square)
    assert (made[UID]["visibility"], made[UID]["state"]) == ("community", "suppressed")
    assert made[f"bsky:{uri(BOB, KEYS[1])}"]["visibility"] == "public"
    assert [(event["kind"], event["target_author"]) for event in events_of(square)] == [("protect", f"bsky:{ANN}")]
    stolen = view(did=BOB, key=KEYS[2], author={"did": EVE, "handle": "eve.example", **closed})
    ingest(square, put(tmp_path / "b.json", stolen))
    other = posts_of(square)[f"bsky:{uri(BOB, KEYS[2])}"]
    assert (other["author_handle"], other["visibility"]) == (None, "public"), (
        "an author of another address says nothing"
    )


def test_records_with_their_addresses(square: Square, tmp_path: Path) -> None:
    like = {"uri": uri(ANN, KEYS[1], "app.bsky.feed.like"), "value": {"subject": ref(BOB)}}
    shared = {"uri": uri(ANN, KEYS[2], REPOST), "value": {"subject": ref(BOB), "createdAt": STATED}}
    deny = {
        "uri": uri(ANN, "self", "org.user-intents.declaration"),
        "value": {"syntheticContentGeneration": {"allow": False}},
    }
    post = {**ref(), "value": record("hi")}
    ingest(square, put(tmp_path / "a.json", {"records": [post, like, shared, deny]}))
    assert uids(square) == {uri(), uri(ANN, KEYS[2], REPOST)}
    assert {event["kind"] for event in events_of(square)} == {"opt_out"}
    assert reasons(square) == {"not_taken:like": None}


def test_flattened_posts(square: Square, tmp_path: Path) -> None:
    lines = [
        {"uri": uri(), "text": "hi", "created_at": STATED, "is_reply": False, "like_count": 4, "langs": "en"},
        {"uri": uri(key=KEYS[1]), "text": "yes", "createdAt": STATED, "is_reply": True, "likeCount": "7"},
        {"uri": uri(key=KEYS[2]), "text": "so", "reply": {"parent": ref(), "root": ref()}, "quote_count": None},
        {"uri": uri(key=KEYS[3])},
        {"uri": "at://ann.example/app.bsky.feed.post/x", "text": "by a handle"},
    ]
    ingest(square, put(tmp_path / "a.jsonl", *lines))
    rows = [posts_of(square)[f"bsky:{uri(key=key)}"] for key in KEYS[:3]]
    assert [row["likes"] for row in rows] == [4, 7, None]
    assert [row["conversation_root"] for row in rows] == [UID, None, UID]
    assert [row["created_at_trust"] for row in rows] == ["server", "server", "client"]
    assert (rows[0]["lang"], rows[2]["reply_to"]) == ("en", UID)
    assert len(quarantine_of(square)) == 2


def test_the_real_flattened_posts(square: Square, shared_data: Path) -> None:
    path = shared_data / "bluesky" / "nyt_posts.ndjson"
    receipt = ingest(square, path)
    said = [json.loads(line) for line in path.read_text().splitlines()]
    assert receipt.counts == {"seen": len(said), "kept": len(said), "events": 0, "quarantined": {}}
    made = posts_of(square)
    assert len(made) == len({one["uri"] for one in said}) == 8959
    for one in said:
        row = made[f"bsky:{one['uri']}"]
        assert row["text_raw"] == one["text"]
        assert row["created_at"] == dt.datetime.fromisoformat(one["created_at"])
        counts = ("like_count", "repost_count", "reply_count", "quote_count")
        assert [row[name] for name in ("likes", "reposts", "replies", "quotes")] == [one[name] for name in counts]
        assert (row["conversation_root"] is None) == one["is_reply"]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("layout", ["page", "array", "lines"])
def test_every_layout_gives_the_same_posts(square: Square, tmp_path: Path, layout: str, indent: int | None) -> None:
    views = [view(f"mark{i}", key=key) for i, key in enumerate(KEYS)]
    path = tmp_path / "a.json"
    if layout == "lines":
        put(path, *views)
    else:
        path.write_text(
            json.dumps({"posts": views} if layout == "page" else views, indent=indent), encoding="utf-8-sig"
        )
    assert ingest(square, path).counts["kept"] == 10


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["posts", "feed"])
def test_a_damaged_page_gives_what_is_whole(square: Square, tmp_path: Path, indent: int | None, name: str) -> None:
    views = [view(f"mark{i}", key=key) for i, key in enumerate(KEYS)]
    text = json.dumps(
        {"cursor": "x", name: views if name == "posts" else [{"post": one} for one in views]}, indent=indent
    )
    path = tmp_path / "a.json"
    path.write_text(text[: text.index("mark7")])
    ingest(square, path)
    assert {row["text"] for row in posts_of(square).values()} == {f"mark{i}" for i in range(7)}
    assert reasons(square).keys() == {"broken_json"}
    path.write_text(text.replace('"mark4"', '"mark4" x'))
    other = Square.create(tmp_path / "other")
    ingest(other, path)
    assert {row["text"] for row in posts_of(other).values()} == {f"mark{i}" for i in range(10) if i != 4}


def test_odd_pages(square: Square, tmp_path: Path) -> None:
    lines = [
        view(),
        {"posts": []},
        {"posts": [5, None, {"uri": 5}, {"uri": uri(), "record": 5}]},
        {"thread": 5},
        [],
        "x",
    ]
    receipt = ingest(square, put(tmp_path / "a.jsonl", *lines, {**view(key=KEYS[1]), "record": {"text": 5}}))
    assert receipt.counts == {"seen": 10, "kept": 1, "events": 0, "quarantined": {"no_posts": 1, "not_a_post": 8}}
    assert f"bsky:{uri(key=KEYS[1])}" in {row["uid"] for row in quarantine_of(square)}


def test_the_stream_and_an_app_see_one_post(square: Square, tmp_path: Path) -> None:
    from bluesky_made import commit

    ingest(square, put(tmp_path / "a.jsonl", commit(record("hi"))))
    ingest(square, put(tmp_path / "b.json", view("hi")))
    [row] = posts_of(square).values()
    assert (row["likes"], row["author_handle"], POST in row["uid"]) == (5, "ann.example", True)
