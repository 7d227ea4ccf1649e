"""Any order, any number of times: the same tables; and what they hold against the rules told anew in plain Python."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingesting import account_js, ingest, js, note, tweet, tweets_js, write

from townsquare.ingest import events as event_states
from townsquare.ingest import store, tables
from townsquare.ingest.known import Known
from townsquare.ingest.rows import Origin, event, post, quarantine
from townsquare.ingest.slabs import Gathering, commit
from townsquare.records import EVENTS, POSTS
from townsquare.square import Square


def _commit(square: Square, batch: dict[str, list[dict[str, Any]]]) -> None:
    held = Gathering()
    for kind, rows in batch.items():
        for row in rows:
            held.add((kind, row))
    commit(square, held.take(), Known(square))


DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
UIDS = ["x:1", "x:1", "x:2", "x:3", "x:4"]
times = st.none() | st.integers(0, 3).map(lambda days: DAY + dt.timedelta(days=days))

posts = st.fixed_dictionaries(
    {
        "uid": st.sampled_from(UIDS),
        "text": st.sampled_from(["short", "a longer text", "another text"]),
        "text_status": st.sampled_from(["full", "truncated", "note_joined"]),
        "observed_at": times,
        "known_author": st.booleans(),
        "known_original": st.booleans(),
        "visibility": st.sampled_from(["public", "community", "protected"]),
        "edit_history": st.sampled_from([None, ["x:1"], ["x:1", "x:2"]]),
        "is_latest_edit": st.sampled_from([None, True, False]),
        "withheld_countries": st.sampled_from([None, ["DE"], ["DE", "FR"]]),
        "withheld_copyright": st.sampled_from([None, True, False]),
        "likes": st.sampled_from([None, 0, 5]),
        "media": st.sampled_from([None, [{"kind": "photo", "url": None, "alt": "a cat", "w": 1, "h": None}]]),
    }
)
events = st.tuples(
    st.sampled_from(["delete", "protect", "unprotect", "drop", "undrop", "author_delete", "opt_out", "opt_in", "edit"]),
    st.sampled_from([*UIDS, "author x:7", "author x:8"]),
    times,
    times,
)
inputs = st.lists(
    st.tuples(st.just("post"), posts)
    | st.tuples(st.just("post"), posts)
    | st.tuples(st.just("event"), events)
    | st.tuples(st.just("odd"), st.integers(0, 2)),
    min_size=1,
    max_size=10,
)
AUTHOR = {"x:1": "7", "x:2": "7", "x:3": "8", "x:4": "8"}
ORIGINAL = {"x:4": "x:1", "x:3": "x:404"}


def row_of(number: int, said: tuple[str, Any]) -> tuple[str, dict[str, Any]]:
    """An input as a source would give it; its place tells it from all others."""
    origin, (what, value) = Origin(f"source{number % 3}", f"{number:064x}", "file"), said
    if what == "odd":
        return quarantine(Origin(f"source{number % 3}", "0" * 64, "file"), value, "broken_json", f"raw {value}")
    if what == "event":
        kind, target, at, received = value
        name = "target_author" if target.startswith("author ") else "target_uid"
        fields = {"kind": kind, name: target.removeprefix("author "), "reversible": kind != "delete"}
        return event(origin, number, {**fields, "event_at": at, "received_at": received, "reason": str(number)})
    fields = {key: item for key, item in value.items() if key not in ("known_author", "known_original")}
    fields |= {"network": "x", "text_raw": value["text"], "created_at_trust": "server"}
    fields["author_id"] = AUTHOR[value["uid"]] if value["known_author"] else None
    fields["repost_of"] = ORIGINAL.get(value["uid"]) if value["known_original"] else None
    return post(origin, number, (DAY, "s"), fields)


def put(square: Square, rows: list[tuple[str, dict[str, Any]]]) -> None:
    batch: dict[str, list[dict[str, Any]]] = {"post": [], "event": [], "quarantine": []}
    for kind, row in rows:
        batch[kind].append(dict(row))
    _commit(square, batch)
    event_states.apply(square)


def contents(square: Square) -> dict[str, list[dict[str, Any]]]:
    return {
        "posts": tables.read_posts(square).to_pylist(),
        "events": tables.read_events(square).to_pylist(),
        "quarantine": tables.read_quarantine(square).to_pylist(),
    }


def new_square() -> Square:
    square = Square.create(tempfile.mkdtemp(dir=os.environ.get("PYTEST_TMP")))
    store.ensure(square)
    return square


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(inputs, st.randoms(use_true_random=False))
def test_order_cuts_and_repetition_change_nothing(said: list[tuple[str, Any]], chance: random.Random) -> None:
    rows = [row_of(number, one) for number, one in enumerate(said)]
    at_once, in_parts = new_square(), new_square()
    put(at_once, rows)
    shuffled = [*rows, *chance.sample(rows, chance.randint(0, len(rows)))]
    chance.shuffle(shuffled)
    cut = chance.randint(0, len(shuffled))
    for part in (shuffled[:cut], shuffled[cut:]):
        put(in_parts, part)
    assert contents(in_parts) == contents(at_once)
    assert {row["uid"]: _plainly(row) for row in contents(at_once)["posts"]} == expected([row for _, row in rows])


def _plainly(row: dict[str, Any]) -> dict[str, Any]:
    names = ("state", "text", "likes", "author_id", "visibility", "withheld_countries", "withheld_copyright")
    return {name: row[name] for name in (*names, "is_latest_edit", "source_locator")}


RANK = {"full": 3, "note_joined": 3, "truncated": 1}
CLOSED = ["public", "community", "protected"]


def expected(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rules, told row by row."""
    early = DAY - dt.timedelta(days=999)
    found = {}
    for uid in {row["uid"] for row in rows if "text" in row}:
        mine = [row for row in rows if "text" in row and row["uid"] == uid]
        best = max(mine, key=lambda r: (RANK[r["text_status"]], r["observed_at"] or early, r["source_sha256"]))
        countries = sorted({c for row in mine for c in row["withheld_countries"] or []})
        flags = [row["withheld_copyright"] for row in mine if row["withheld_copyright"] is not None]
        latest = [row["is_latest_edit"] for row in mine if row["is_latest_edit"] is not None]
        found[uid] = {
            "likes": best["likes"],
            "text": best["text"],
            "source_locator": best["source_locator"],
            "author_id": next((row["author_id"] for row in mine if row["author_id"]), None),
            "visibility": max((row["visibility"] for row in mine), key=CLOSED.index),
            "withheld_countries": countries or None,
            "withheld_copyright": any(flags) if flags else None,
            "is_latest_edit": all(latest) if latest else None,
            "original": next((row["repost_of"] for row in mine if row["repost_of"]), None),
            "history": max((row["edit_history"] or [] for row in mine), key=len),
        }
    happened = [row for row in rows if "event_id" in row]
    own = {uid: own_state(uid, said["author_id"], said["history"], happened) for uid, said in found.items()}
    for uid, said in found.items():
        history, original = said.pop("history"), said.pop("original")
        worst = own[uid]
        if original is not None:
            theirs = own.get(original) or own_state(original, None, [], happened)
            worst = max(worst, theirs, key=["live", "suppressed", "deleted"].index)
        said["state"] = worst
        said["text"] = None if worst == "deleted" else said["text"]
        assert history is not None
    return found


def own_state(uid: str, author: str | None, history: list[str], happened: list[dict[str, Any]]) -> str:
    about = [e for e in happened if e.get("target_uid") == uid or (author and e.get("target_author") == f"x:{author}")]
    gone = [e for e in happened if e["kind"] == "delete" and e.get("target_uid") in history]
    if gone or any(e["kind"] == "delete" for e in about):
        return "deleted"
    for target in ("target_uid", "target_author"):
        for away, back in (("protect", "unprotect"), ("drop", "undrop"), ("opt_out", "opt_in"), ("author_delete", "")):
            mine = [e for e in about if e.get(target) and e["kind"] in (away, back)]
            # Without a time first; at one moment holding back counts.
            mine.sort(key=lambda e, away=away: (e["event_at"] or DAY - dt.timedelta(days=1), e["kind"] == away))
            if mine and mine[-1]["kind"] == away:
                return "suppressed"
    return "live"


def _sources(folder: Path) -> list[Path]:
    """The same posts in an archive, from the API cut and whole, in a table, with events before and after."""
    long = "a long post about the fair and the weather and the band and everything else there is to say " * 4
    archive = write(
        folder / "archive",
        tweets=tweets_js(
            tweet(1, "one &amp; all"), tweet(2, long[:270] + "…"), tweet(3, "three"), tweet(5, "gone soon")
        ),
        note__tweet=js("note_tweet", [note(long)]),
        account=account_js(),
        deleted__tweet__headers=js("deleted_tweet_headers", [{"tweet": {"tweet_id": "5"}}]),
    )
    files = {
        "page.jsonl": [
            {"data": {"id": "2", "text": long[:270] + "…", "public_metrics": {"like_count": 9}}},
            {
                "data": {
                    "id": "4",
                    "text": "RT @somebody: one &amp; all",
                    "referenced_tweets": [{"type": "retweeted", "id": "1"}],
                }
            },
            {"data": {"id": "3", "text": "three", "author_id": "2244994945"}},
            {"data": {"id": "5", "text": "gone soon"}},
            {"data": ["odd"]},
        ],
        "tweets_compliance.jsonl": [{"id": "3", "action": "delete", "reason": "deleted", "redacted_at": "2024-01-01"}],
        "stream.jsonl": [
            {"data": {"user_protect": {"user": {"id": "2244994945"}, "event_at": "2024-01-01T00:00:00Z"}}}
        ],
        "later.jsonl": [
            {"data": {"user_unprotect": {"user": {"id": "2244994945"}, "event_at": "2024-01-02T00:00:00Z"}}}
        ],
    }
    for name, records in files.items():
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "table.csv").write_text('id,text\n3,three\n6,"open\n')
    return [archive, *(folder / name for name in files), folder / "table.csv"]


def test_whole_files_in_any_order(tmp_path: Path) -> None:
    paths = _sources(tmp_path)
    told = []
    for seed in range(4):
        chance, square = random.Random(seed), Square.create(tmp_path / f"square{seed}")
        order = [*paths, *chance.sample(paths, 2)] if seed else paths
        if seed:
            chance.shuffle(order)
        for path in order:
            network = "x" if path.suffix == ".csv" else "table"
            ingest(square, path, network=network)
        told.append(contents(square))
    assert told[1:] == told[:1] * 3
    states = {row["uid"]: (row["state"], row["text"] is None) for row in told[0]["posts"]}
    assert states == {
        "x:1": ("live", False),
        "x:2": ("live", False),
        "x:3": ("deleted", True),
        "x:4": ("live", False),
        "x:5": ("deleted", True),
    }
    assert {row["uid"]: row["text_status"] for row in told[0]["posts"]}["x:2"] == "note_joined"


def test_a_repost_shares_its_originals_state_even_when_only_the_author_is_gone(square: Square) -> None:
    store.ensure(square)
    original = post(
        Origin("s", "1", "f"), 1, (DAY, "s"), {"uid": "x:1", "network": "x", "author_id": "7", "text": "mine"}
    )
    fields = {"uid": "x:2", "network": "x", "author_id": "8", "text": "RT @a: mine", "repost_of": "x:1"}
    repost = post(Origin("s", "1", "f"), 2, (DAY, "s"), fields)
    gone = event(Origin("s", "1", "f"), 3, {"kind": "author_delete", "target_author": "x:7", "reversible": False})
    put(square, [original, gone])
    put(square, [repost])
    assert [(row["state"], row["text"]) for row in contents(square)["posts"]] == [("deleted", None)] * 2


def said(intent: str, day: int | None, source: str) -> dict[str, Any]:
    seen_at = None if day is None else dt.datetime(2024, 1, day, tzinfo=dt.UTC)
    return {"consent_intent": intent, "consent_seen_at": seen_at, "consent_source": source}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("bare", "protected", "kept"),
    [
        ({}, {"author_id": "7"}, {"author_id": "7"}),
        ({}, {"repost_of": "x:9"}, {"repost_of": "x:9"}),
        ({}, {"conversation_root": "x:9"}, {"conversation_root": "x:9"}),
        ({}, {"visibility": "protected"}, {"visibility": "protected"}),
        ({}, {"withheld_countries": ["DE"]}, {"withheld_countries": ["DE"]}),
        ({}, {"withheld_copyright": True}, {"withheld_copyright": True}),
        ({"consent_intent": "allow"}, {"consent_intent": "deny"}, {"consent_intent": "deny"}),
        # Of declarations the later holds, whole; one that refuses at an unknown time is never taken back.
        (said("allow", 1, "a"), said("deny", 2, "b"), said("deny", 2, "b")),
        (said("deny", 1, "a"), said("allow", 2, "b"), said("allow", 2, "b")),
        (said("deny", None, "a"), said("allow", 2, "b"), said("deny", None, "a")),
        (said("allow", 1, "a"), said("deny", 1, "b"), said("deny", 1, "b")),
        (said("deny", 1, "a"), said("undefined", 2, "b"), said("deny", 1, "a")),
        ({}, said("undefined", None, "b"), said("undefined", None, "b")),
        ({"is_latest_edit": True}, {"is_latest_edit": False}, {"is_latest_edit": False}),
        ({"edit_history": ["x:1"]}, {"edit_history": ["x:1", "x:2"]}, {"edit_history": ["x:1", "x:2"]}),
    ],
)
def test_what_protects_is_kept_though_another_row_is_better(
    square: Square, first: int, bare: dict[str, Any], protected: dict[str, Any], kept: dict[str, Any]
) -> None:
    store.ensure(square)
    whole = {"uid": "x:1", "network": "x", "text": "the whole text", "text_status": "full", **bare}
    cut = {"uid": "x:1", "network": "x", "text": "the who", "text_status": "truncated", **protected}
    rows = [post(Origin("s", str(i), "f"), i, (DAY, "s"), fields) for i, fields in enumerate((whole, cut))]
    for row in (rows[first], rows[1 - first], rows[first]):
        put(square, [row])
    [row] = contents(square)["posts"]
    assert row["text"] == "the whole text"
    assert {name: row[name] for name in kept} == kept


def test_merged_rows_keep_their_types(square: Square) -> None:
    store.ensure(square)
    put(square, [row_of(i, ("post", dict.fromkeys(_post_keys(), None) | _some(i))) for i in range(3)])
    assert tables.read_posts(square).schema.equals(POSTS)
    assert store.dataset(square, "events").schema.equals(EVENTS)


def _post_keys() -> list[str]:
    return [
        "observed_at",
        "edit_history",
        "is_latest_edit",
        "withheld_countries",
        "withheld_copyright",
        "likes",
        "media",
    ]


def _some(number: int) -> dict[str, Any]:
    known = {"known_author": bool(number), "known_original": False, "visibility": "public"}
    return {"uid": "x:1", "text": f"text {number}", "text_status": "full", **known}
