"""`consent why`: what each rule says, refusing and allowing; and that what it says would change it does change it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from townsquare.consent.exclusions import Exclusion, add_exclusion, lift_exclusion
from townsquare.consent.gate import refusals
from townsquare.consent.grants import Grant, add_grant, revoke_grant
from townsquare.consent.handles import handle_key
from townsquare.consent.why import Spoken
from townsquare.errors import InputError, StaleError
from townsquare.ingest import events as event_states
from townsquare.ingest import named_by_handle, store, tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.known import Known
from townsquare.ingest.rows import Origin, Row, event, post
from townsquare.ingest.run import run as ingest
from townsquare.ingest.slabs import Gathering, commit
from townsquare.ingest.why import ask
from townsquare.records import PURPOSES
from townsquare.square import Square

TODAY = dt.date(2024, 6, 15)
ORIGIN = Origin("forum", "0" * 64, "posts.jsonl")
GRANT = Grant(id="forum", grantor="Forum", grantee="Maker", purposes=PURPOSES, sources=("*",))
WORDS = "nobody's words may stand in an answer"


def day(number: int) -> dt.datetime:
    return dt.datetime(2024, 1, number, tzinfo=dt.UTC)


def put(square: Square, *rows: Row) -> None:
    """Rows as sources make them, stored and brought into the state that all events give."""
    store.ensure(square)
    held = Gathering()
    for row in rows:
        held.add(row)
    commit(square, held.take(), Known(square))
    named_by_handle.resolve(square)
    event_states.apply(square)


def a_post(place: int = 1, **fields: Any) -> Row:
    base = {"uid": "x:1", "network": "x", "author_id": "7", "text": WORDS, "text_raw": WORDS}
    return post(ORIGIN, place, (day(2), "s"), {**base, **fields})


def an_event(kind: str, at: dt.datetime | None = None, *, reversible: bool = True, **target: Any) -> Row:
    target = {"target_uid": None if "target_author" in target else "x:1", **target}
    return event(ORIGIN, 9, {"kind": kind, "reversible": reversible, "event_at": at, "received_at": at, **target})


def said(square: Square, purpose: str = "train", uid: str = "x:1") -> dict[str, Spoken]:
    """Every rule by name; all of it content-free, and of one mind with the gate."""
    spoken = ask(square, uid, purpose, TODAY)
    told = json.dumps([[one.says, one.change] for one in spoken])
    assert WORDS not in told
    assert all((one.change is not None) == one.refuses for one in spoken), "a change is told where one is needed"
    found = tables.read_posts(square, where="uid = '" + uid.replace("'", "''") + "'")
    if len(found):
        reason = refusals(found, tables.read_consent(square), purpose, TODAY)[0].as_py()
        assert next((one.rule for one in spoken if one.refuses), None) == reason
    return {one.rule: one for one in spoken}


def refused(spoken: dict[str, Spoken]) -> list[str]:
    return [rule for rule, one in spoken.items() if one.refuses]


Step = Callable[[Square], object]


def puts(*rows: Row) -> Step:
    return lambda square: put(square, *rows)


def grants(**changes: Any) -> Step:
    base = {"id": "other", "grantor": "Other", "grantee": "Maker", "purposes": PURPOSES, "sources": ("*",)}
    return lambda square: add_grant(square, Grant(**{**base, **changes}))


EU = {"id": "letter", "reason": "letter of 3 May"}
ANN = handle_key("x", "ann")
REPOST = a_post(repost_of_author="ann")
DENIES = {"consent_intent": "deny", "consent_source": "profile"}
RULES: dict[str, tuple[str, list[Step], list[str], str, str, list[Step]]] = {
    # name: (rule, what makes it refuse, the rules that refuse with it, what it says, what it says would change it,
    # and the doing of that)
    "suppressed_by_its_author": (
        "suppressed",
        [puts(a_post(), an_event("protect", day(3), target_author="x:7"))],
        [],
        "its state is suppressed, by protect on 2024-01-03 (event ",
        "A later event unprotect of x:7",
        [puts(an_event("unprotect", day(4), target_author="x:7"))],
    ),
    "suppressed_without_a_time": (
        "suppressed",
        [puts(a_post(), an_event("drop"))],
        [],
        "by drop at an unknown time",
        "A later event undrop of x:1",
        [puts(an_event("undrop", day(1)))],
    ),
    "account_gone_for_a_while": (
        "suppressed",
        [puts(a_post(), an_event("author_delete", day(3), target_author="x:7"))],
        [],
        "by author_delete on 2024-01-03",
        "A later event author_undelete of x:7",
        [puts(an_event("author_undelete", day(5), target_author="x:7"))],
    ),
    "suspended": (
        "suppressed",
        [puts(a_post(), an_event("suspend", day(3), target_author="x:7"))],
        [],
        "by suspend",
        "A later event unsuspend of x:7",
        [puts(an_event("unsuspend", day(5), target_author="x:7"))],
    ),
    "opted_out_of_all": (
        "suppressed",
        [puts(a_post(), an_event("opt_out", day(3), target_author="x:7"))],
        ["opted_out"],
        "by opt_out of all on 2024-01-03",
        "A later event opt_in of x:7",
        [puts(an_event("opt_in", day(4), target_author="x:7"))],
    ),
    "no_grant": (
        "no_grant",
        [puts(a_post()), lambda square: revoke_grant(square, "forum")],
        ["not_public", "withheld"],
        "no live grant allows to train it: forum was revoked",
        "townsquare grant add --grantor NAME --grantee NAME --author x:7 --purpose train",
        [grants(sources=(), authors=("x:7",), purposes=("train",))],
    ),
    "no_grant_and_no_author": (
        "no_grant",
        [puts(a_post(author_id=None)), lambda square: revoke_grant(square, "forum"), grants(ends="2024-06-14")],
        ["not_public", "withheld"],
        "forum was revoked; other ended on 2024-06-14",
        "--source forum --purpose train",
        [grants(id="third", sources=("forum",), purposes=("train",))],
    ),
    "not_public": (
        "not_public",
        [puts(a_post(visibility="community"))],
        ["withheld"],
        "it is community; forum reaches public",
        "A grant with --visibility community.",
        [grants(visibilities=("community",))],
    ),
    "of_unknown_visibility": (
        "not_public",
        [puts(a_post(visibility="unknown"))],
        ["withheld"],
        "it is unknown; forum reaches public",
        "A source that says who could see it, or a grant with --visibility unknown.",
        [puts(a_post(2, visibility="public"))],
    ),
    "withheld": (
        "withheld",
        [puts(a_post(withheld_countries=["DE", "FR"]))],
        [],
        "it is withheld in DE, FR; forum holds in worldwide",
        "A grant whose --territory leaves those countries out.",
        [grants(territory=("US", "GB"))],
    ),
    "opted_out_by_author": (
        "opted_out",
        [puts(a_post(), an_event("opt_out", day(3), target_author="x:7", scope="train"))],
        [],
        "opt_out of train on 2024-01-03",
        "A later opt_in of the same scope, or of all, that names the same author or post by id.",
        [puts(an_event("opt_in", day(4), target_author="x:7", scope="train"))],
    ),
    "opted_out_by_post": (
        "opted_out",
        [puts(a_post(), an_event("opt_out", day(3), scope="train"))],
        [],
        "opt_out of train on 2024-01-03",
        "A later opt_in",
        [puts(an_event("opt_in", day(4), scope="all"))],
    ),
    "opted_out_by_a_handle_that_no_id_is_known_of": (
        "opted_out",
        [
            puts(
                a_post(author_id=None, author_handle="Ann"),
                an_event("opt_out", day(3), target_author=ANN, scope="train"),
            )
        ],
        [],
        f"(event {an_event('opt_out', day(3), target_author=ANN, scope='train')[1]['event_id']} of {ANN})",
        "A source with the id of whoever has that handle, then a later opt_in of that id.",
        [
            puts(a_post(2, author_handle="Ann")),
            puts(an_event("opt_in", day(4), target_author="x:7", scope="train")),
        ],
    ),
    "excluded": (
        "excluded",
        [
            puts(a_post()),
            lambda square: add_exclusion(square, Exclusion(**EU, authors=("x:7", "x:8"), ends="2024-02-01")),
        ],
        [],
        "letter: letter of 3 May (2 authors, posts from the first to 2024-02-01",
        "Lifting it: townsquare consent lift letter",
        [lambda square: lift_exclusion(square, "letter")],
    ),
    "unknown_original": (
        "unknown_original",
        [puts(REPOST)],
        [],
        "it repeats another author's words, and which post they are of is not known",
        "A source that names the original, such as a page of X API v2.",
        [puts(a_post(2, repost_of="x:9", repost_of_author="ann"))],
    ),
    "denied_by_author": (
        "denied_by_author",
        [puts(a_post(**DENIES, consent_seen_at=day(3)))],
        [],
        "its author's latest declaration is deny by profile, seen on 2024-01-03",
        "A later declaration of the author that allows it, when a source with it is ingested.",
        [puts(a_post(2, uid="x:2", consent_intent="allow", consent_seen_at=day(4)))],
    ),
    "denied_on_a_post_whose_author_is_not_known": (
        "denied_by_author",
        [puts(a_post(author_id=None, **DENIES, consent_seen_at=day(3)))],
        [],
        "is deny by profile, seen on 2024-01-03",
        "A later declaration",
        [puts(a_post(2, author_id=None, consent_intent="allow", consent_seen_at=day(4)))],
    ),
    "truncated": (
        "truncated",
        [puts(a_post(text="cut…", text_status="truncated"))],
        [],
        "its text is truncated",
        "A source that has its whole text.",
        [puts(a_post(2))],
    ),
}


@pytest.fixture
def granted(square: Square) -> Square:
    add_grant(square, GRANT)
    return square


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_why_it_refuses_and_what_changes_it(granted: Square, name: str) -> None:
    rule, makes_refuse, others, says, change, changes = RULES[name]
    for step in makes_refuse:
        step(granted)
    spoken = said(granted)
    assert refused(spoken) == [rule, *others]
    assert says in spoken[rule].says
    assert change in str(spoken[rule].change)
    for step in changes:
        step(granted)
    after = said(granted)
    if name == "unknown_original":
        assert refused(after) == ["repost"]  # for training; it is no obstacle to the other uses
        assert refused(said(granted, "display")) == []
    else:
        assert refused(after) == []
    assert after[rule].change is None


NOTHING: dict[str, tuple[str, list[Step], str, str]] = {
    "deleted": (
        "deleted",
        [puts(a_post(), an_event("delete", day(3), reversible=False))],
        "its state is deleted, by delete on 2024-01-03",
        "Nothing: a deletion wins",
    ),
    "deleted_with_another_version": (
        "deleted",
        [
            puts(
                a_post(edit_history=["x:0", "x:1"]),
                an_event("delete", day(3), reversible=False, target_uid="x:0"),
            )
        ],
        "of x:0)",
        "Nothing: a deletion wins",
    ),
    "withheld_by_an_event": (
        "suppressed",
        [puts(a_post(), an_event("withheld", day(3), reversible=False))],
        "its state is suppressed, by withheld on 2024-01-03",
        "Nothing: no event takes back withheld.",
    ),
    "withheld_everywhere": (
        "withheld",
        [puts(a_post(withheld_countries=["XX"]))],
        "it is withheld in XX",
        "Nothing: it is withheld everywhere.",
    ),
    "copyright": (
        "withheld",
        [puts(a_post(withheld_countries=["DE"], withheld_copyright=True))],
        "it is withheld in DE and withheld after a copyright complaint",
        "Nothing: it is withheld everywhere.",
    ),
    "denied_at_an_unknown_time": (
        "denied_by_author",
        [puts(a_post(**DENIES))],
        "its author's latest declaration is deny by profile, seen at an unknown time",
        "Nothing: when it was said is not known",
    ),
    "repost": (
        "repost",
        [puts(a_post(repost_of="x:9"))],
        "it is a repost of x:9",
        "Nothing: its original, where that is here, is used in its place.",
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_nothing_changes_it_that_is_said_and_nothing_does(granted: Square, name: str) -> None:
    rule, makes_refuse, says, change = NOTHING[name]
    for step in makes_refuse:
        step(granted)
    spoken = said(granted)
    assert says in spoken[rule].says
    assert str(spoken[rule].change).startswith(change)
    # Everything that changes another rule, in turn.
    put(granted, a_post(2, consent_intent="allow", consent_seen_at=day(9), withheld_copyright=False))
    backs = ("undrop", "unprotect", "unsuspend", "author_undelete", "opt_in")
    for target in ({"target_uid": "x:1"}, {"target_author": "x:7"}):
        put(granted, *(an_event(kind, day(20), **target) for kind in backs))
    grants(territory=("US",), visibilities=("public", "unknown"))(granted)
    assert rule in refused(said(granted))


def test_what_is_allowed_says_by_whom(granted: Square) -> None:
    put(granted, a_post())
    for purpose in PURPOSES:
        spoken = said(granted, purpose)
        assert refused(spoken) == []
        assert spoken["no_grant"].says == "allowed by forum (Forum to Maker, worldwide)"
        assert spoken["not_public"].says == "it is public; forum reaches public"
        assert spoken["withheld"].says == "it is withheld nowhere"
        assert spoken["opted_out"].says == f"nobody opted it out of {purpose}"
        assert spoken["excluded"].says == "no exclusion bears on it"
        assert spoken["deleted"].says == "its state is live"
    spoken = said(granted)
    assert spoken["denied_by_author"].says == "its author declares nothing"
    assert spoken["truncated"].says == "its text is full"
    assert spoken["repost"].says == "it is no repost"


def test_only_the_rules_of_the_purpose_speak(granted: Square) -> None:
    put(granted, a_post(**DENIES, consent_seen_at=day(3), text_status="truncated"))
    assert refused(said(granted, "train")) == refused(said(granted, "tune")) == ["denied_by_author", "truncated"]
    assert refused(said(granted, "retrieve")) == ["denied_by_author"]
    assert refused(said(granted, "display")) == []


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        ({"starts": "2024-06-16"}, "other begins on 2024-06-16"),
        ({"ends": "2024-06-14"}, "other ended on 2024-06-14"),
        ({"purposes": ("display", "tune")}, "other is for display, tune"),
        ({"sources": ("elsewhere",)}, "other does not cover it"),
        ({"sources": (), "authors": ("x:8",)}, "other does not cover it"),
        ({"sources": (), "networks": ("masto",)}, "other does not cover it"),
    ],
)
def test_a_grant_that_does_not_hold_is_told_with_its_reason(square: Square, grant: dict[str, Any], reason: str) -> None:
    put(square, a_post())
    assert said(square)["no_grant"].says == "no live grant allows to train it: there is none"
    grants(**grant)(square)
    assert said(square)["no_grant"].says == f"no live grant allows to train it: {reason}"


def test_every_exclusion_that_takes_it_out_is_named_and_no_other(granted: Square, tmp_path: Path) -> None:
    put(granted, a_post())
    meant = [Exclusion(id=f"e{i}", reason="a letter", authors=("x:7",)) for i in range(2)]
    other = Exclusion(id="other", reason="a letter", authors=("x:8",), unknown="keep")
    display = Exclusion(id="shown", reason="a letter", authors=("x:7",), purposes=("display",))
    for exclusion in (*meant, other, display):
        add_exclusion(granted, exclusion)
    rule = said(granted)["excluded"]
    assert rule.says.count("a letter") == 2
    assert rule.change == "Lifting it: townsquare consent lift e0; townsquare consent lift e1"
    lift_exclusion(granted, "e0")
    assert refused(said(granted)) == ["excluded"]
    lift_exclusion(granted, "e1")
    assert refused(said(granted)) == []
    assert refused(said(granted, "display")) == ["excluded"]


def test_an_authors_later_word_counts_for_earlier_posts_and_is_told(granted: Square) -> None:
    put(granted, a_post(), a_post(2, uid="x:2", **DENIES, consent_seen_at=day(5)))
    assert refused(said(granted)) == ["denied_by_author"]
    assert said(granted)["denied_by_author"].says.endswith("deny by profile, seen on 2024-01-05")


# X archives hold posts for a Circle, and of protected periods, without saying so.


def _archive(folder: Path, **files: Any) -> Path:
    tweet = {"created_at": "Sat Feb 18 12:33:11 +0000 2023", "full_text": WORDS, "id_str": "1626922779105759235"}
    account = {"username": "me", "accountId": "7", "createdAt": "2020-01-01T00:00:00.000Z"}
    files = {"tweets": [{"tweet": tweet}], "account": [{"account": account}], **files}
    for name, content in files.items():
        path = folder / "data" / f"{name.replace('_', '-')}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"window.YTD.{name}.part0 = {json.dumps(content)}", encoding="utf-8")
    return folder


HELD = {
    "possible_circle_post": {"twitter_circle": [{"twitterCircle": {"id": "1", "ownerUserId": "7"}}]},
    "protected_period": {
        "protected_history": [
            {"protectedHistory": {"protectedAt": "2023-01-01T00:00:00.000Z", "action": "Protect"}},
            {"protectedHistory": {"protectedAt": "2023-03-01T00:00:00.000Z", "action": "Unprotect"}},
        ]
    },
}


@pytest.mark.parametrize("reason", HELD)
def test_a_quarantined_post_is_explained_and_another_source_frees_it(
    granted: Square, tmp_path: Path, reason: str
) -> None:
    uid = "x:1626922779105759235"
    ingest(granted, IngestConfig(paths=(_archive(tmp_path / "archive", **HELD[reason]),)))
    spoken = said(granted, uid=uid)
    assert refused(spoken) == ["quarantined"]
    assert spoken["quarantined"].says.startswith(f"{reason} in archive-")
    assert "data/tweets.js:1" in spoken["quarantined"].says
    assert "Another source in which it is public, such as a page of X API v2" in str(spoken["quarantined"].change)
    page = tmp_path / "page.jsonl"
    record = {"id": "1626922779105759235", "text": WORDS, "author_id": "7"}
    page.write_text(json.dumps({"data": record, "includes": {"users": [{"id": "7", "protected": False}]}}) + "\n")
    ingest(granted, IngestConfig(paths=(page,)))
    spoken = said(granted, uid=uid)
    assert refused(spoken) == []
    assert spoken["quarantined"].says.endswith("; another source brought the post")


def test_a_quarantined_post_that_was_deleted_is_told_both(granted: Square, tmp_path: Path) -> None:
    uid = "x:1626922779105759235"
    ingest(granted, IngestConfig(paths=(_archive(tmp_path / "archive", **HELD["protected_period"]),)))
    put(granted, an_event("delete", day(3), reversible=False, target_uid=uid))
    spoken = said(granted, uid=uid)
    assert refused(spoken) == ["quarantined", "deleted"]
    assert str(spoken["deleted"].change).startswith("Nothing: a deletion wins")


def test_a_deletion_before_its_post_is_told(granted: Square) -> None:
    put(granted, an_event("delete", day(3), reversible=False, target_uid="x:404"))
    spoken = said(granted, uid="x:404")
    assert refused(spoken) == ["deleted"]
    assert spoken["deleted"].says.startswith("it is not here, and would be deleted by delete on 2024-01-03")
    put(granted, a_post(uid="x:404"))
    assert "deleted" in refused(said(granted, uid="x:404"))


def test_who_was_never_seen_is_told_so(granted: Square) -> None:
    with pytest.raises(StaleError):
        ask(granted, "x:1", "train", TODAY)
    put(granted, a_post())
    with pytest.raises(InputError, match="there is no post x:2 here") as unknown:
        ask(granted, "x:2", "train", TODAY)
    assert "x:1626922779105759235" in str(unknown.value.remedy)


ODD = [
    "x:1' OR '1'='1",
    "x:1'",
    "'; DROP TABLE posts; --",
    "x:\\",
    'x:"1"',
    "x:%",
    "x:_",
    "",
    "x:1\n",
    "x:é\u2028",
    "--",
]


@pytest.mark.parametrize("uid", ODD)
def test_a_uid_is_a_value_whatever_stands_in_it(granted: Square, uid: str) -> None:
    put(granted, a_post())
    with pytest.raises(InputError, match="there is no post"):
        ask(granted, uid, "train", TODAY)
    put(granted, a_post(2, uid=uid))
    assert refused(said(granted, uid=uid)) == []
    assert said(granted, uid=uid)["no_grant"].says.startswith("allowed by forum")
