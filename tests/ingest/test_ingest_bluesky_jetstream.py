"""Jetstream: what accounts do, line by line, and what the tables hold after it."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from bluesky_made import ANN, BOB, KEY, POST, REPOST, STATED, US, account, commit, frame, put, record, ref, uri
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.errors import InputError
from townsquare.square import Square

WITNESSED = dt.datetime(2024, 9, 9, 19, 46, 2, 329308, tzinfo=dt.UTC)
ANNS, UID = f"bsky:{ANN}", f"bsky:{uri()}"
PROFILE = "app.bsky.actor.profile"
INTENTS = "org.user-intents.declaration"


def told(square: Square) -> list[tuple[Any, ...]]:
    names = ("kind", "target_uid", "target_author", "scope", "reversible")
    return sorted((tuple(e[name] for name in names) for e in events_of(square)), key=str)


def state(square: Square) -> str:
    found: str = posts_of(square)[UID]["state"]
    return found


def test_a_post_and_a_repost(square: Square, tmp_path: Path) -> None:
    shared = {"$type": REPOST, "subject": ref(), "createdAt": STATED}
    lines = [commit(record("hi")), commit(shared, did=BOB, collection=REPOST)]
    receipt = ingest(square, put(tmp_path / "a.jsonl", *lines))
    assert receipt.counts == {"seen": 2, "kept": 2, "events": 0, "quarantined": {}}
    assert receipt.results["files"]["a.jsonl"]["format"] == "bluesky_jetstream"
    made = posts_of(square)[UID]
    assert (made["text"], made["author_id"], made["network"], made["visibility"]) == ("hi", ANN, "bsky", "public")
    assert (made["observed_at"], made["likes"]) == (WITNESSED, None)
    assert posts_of(square)[f"bsky:{uri(BOB, collection=REPOST)}"]["repost_of"] == UID


def test_both_forms_of_the_stream_say_the_same(tmp_path: Path) -> None:
    body = commit(record("hi"))["commit"]
    squares = [Square.create(tmp_path / name) for name in ("old", "new")]
    ingest(squares[0], put(tmp_path / "old.jsonl", commit(record("hi")), account(False, "deactivated", did=BOB)))
    state_of_bob = account(False, "deactivated", did=BOB)["account"]
    frames = [
        frame("commit", did=ANN, time="2024-09-09T19:46:02.329308Z", seq=1, **body),
        frame("account", did=BOB, time="2024-09-09T19:46:02.329308Z", seq=2, account=state_of_bob),
        frame("info", name="OutdatedCursor"),
        {"$type": "error", "error": "ConsumerTooSlow"},
    ]
    receipt = ingest(squares[1], put(tmp_path / "new.jsonl", *frames))
    assert receipt.counts["quarantined"] == {"not_a_message": 2}
    old, new = (
        {key: value for key, value in posts_of(square)[UID].items() if not key.startswith("source_")}
        for square in squares
    )
    assert old == new
    assert [e["event_id"] for e in events_of(squares[0])] == [e["event_id"] for e in events_of(squares[1])]


def test_an_update_replaces_the_text_in_any_order(tmp_path: Path) -> None:
    lines = [commit(record("first")), commit(record("second"), operation="update", us=US + 5)]
    for number, order in enumerate([lines, lines[::-1]]):
        square = Square.create(tmp_path / str(number))
        for part, line in enumerate(order):
            ingest(square, put(tmp_path / f"{number}{part}.jsonl", line))
        assert posts_of(square)[UID]["text"] == "second"


def test_a_deletion_wins_before_and_after_and_over_a_post_made_again(tmp_path: Path) -> None:
    made, gone = commit(record("secret")), commit(None, operation="delete", us=US + 5)
    again = commit(record("secret again"), us=US + 9)
    for number, order in enumerate(itertools.permutations([made, gone, again])):
        square = Square.create(tmp_path / str(number))
        for part, line in enumerate(order):
            ingest(square, put(tmp_path / f"{number}{part}.jsonl", line))
        row = posts_of(square)[UID]
        assert (row["state"], row["text"], row["text_raw"]) == ("deleted", None, None)


def test_a_deletion_seen_by_two_servers_is_one_event(square: Square, tmp_path: Path) -> None:
    gone = [commit(None, operation="delete", us=US + shift) for shift in (5, 70)]
    ingest(square, put(tmp_path / "a.jsonl", *gone))
    [only] = events_of(square)
    assert (only["kind"], only["target_uid"], only["reversible"]) == ("delete", UID, False)
    assert only["received_at"] == WITNESSED + dt.timedelta(microseconds=5)


def test_a_repost_of_what_is_deleted_goes_with_it(square: Square, tmp_path: Path) -> None:
    shared = {"$type": REPOST, "subject": ref(), "createdAt": STATED}
    ingest(
        square, put(tmp_path / "a.jsonl", commit(shared, did=BOB, collection=REPOST), commit(None, operation="delete"))
    )
    assert posts_of(square)[f"bsky:{uri(BOB, collection=REPOST)}"]["state"] == "deleted"


@pytest.mark.parametrize(
    ("status", "kind", "reversible", "suppressed"),
    [
        ("deleted", "author_delete", False, "deleted"),
        ("deactivated", "author_delete", True, "suppressed"),
        ("takendown", "suspend", True, "suppressed"),
        ("suspended", "suspend", True, "suppressed"),
        ("desynchronized", "suspend", True, "suppressed"),
        ("throttled", "suspend", True, "suppressed"),
        ("a word to come", "suspend", True, "suppressed"),
        (None, "suspend", True, "suppressed"),
    ],
)
def test_account_states(
    square: Square, tmp_path: Path, status: str | None, kind: str, reversible: bool, suppressed: str
) -> None:
    ingest(square, put(tmp_path / "a.jsonl", commit(record("hi")), account(False, status)))
    assert told(square) == [(kind, None, ANNS, "all", reversible)]
    assert state(square) == suppressed
    ingest(square, put(tmp_path / "b.jsonl", account(True, at="2024-09-11T00:00:00.000Z")))
    assert state(square) == ("deleted" if status == "deleted" else "live")
    assert posts_of(square)[UID]["text"] == (None if status == "deleted" else "hi")
    ingest(square, put(tmp_path / "c.jsonl", account(False, status, at="2024-09-10T12:00:00.000Z")))
    assert state(square) == ("deleted" if status == "deleted" else "live"), "an older state arrived later"


def test_an_account_that_is_throttled_and_active_is_active(square: Square, tmp_path: Path) -> None:
    ingest(square, put(tmp_path / "a.jsonl", commit(record("hi")), account(True, "throttled")))
    assert state(square) == "live"


def test_an_identity_gives_the_posts_after_it_their_handle(square: Square, tmp_path: Path) -> None:
    def named(handle: Any) -> Any:
        return {"did": ANN, "time_us": US, "kind": "identity", "identity": {"did": ANN, "handle": handle, "seq": 1}}

    keys = [f"3l3qo2vuowo2{sign}" for sign in "bcde"]
    lines: list[Any] = [commit(record(), key=keys[0])]
    for key, handle in zip(keys[1:], ("ann.example", "ann2.example", "handle.invalid"), strict=True):
        lines += [named(handle), commit(record(), key=key), commit(record(), key=key, did=BOB)]
    receipt = ingest(square, put(tmp_path / "a.jsonl", *lines))
    assert receipt.counts["quarantined"] == {"not_taken:identity": 3}
    handles = [posts_of(square)[f"bsky:{uri(key=key)}"]["author_handle"] for key in keys]
    assert handles == [None, "ann.example", "ann2.example", None]
    assert posts_of(square)[f"bsky:{uri(BOB, keys[1])}"]["author_handle"] is None


def test_sync_is_a_reset_of_the_repository(square: Square, tmp_path: Path) -> None:
    body = {"did": ANN, "rev": "3l3qo2vutsw2b", "blocks": "aGk=", "time": "2024-09-10T00:00:00.000Z"}
    both = [
        {"did": ANN, "time_us": US, "kind": "sync", "sync": body},
        frame("sync", did=ANN, time="2024-09-10T00:00:01.000Z", sync=body),
    ]
    ingest(square, put(tmp_path / "a.jsonl", *both))
    assert told(square) == [("repo_reset", None, ANNS, "all", True)]


def test_what_is_not_taken_is_counted_by_kind_and_keeps_no_content(square: Square, tmp_path: Path) -> None:
    collections = {
        "app.bsky.feed.like": "like",
        "app.bsky.graph.follow": "follow",
        "app.bsky.graph.block": "block",
        "app.bsky.graph.listitem": "listitem",
        "com.example.thing": "other",
    }
    lines = [commit({"subject": "did:plc:secret"}, collection=name) for name in collections]
    lines += [commit(None, collection="app.bsky.feed.like", operation="delete")]
    lines += [commit({"subject": ref(BOB, "f", "app.bsky.feed.generator")}, collection=REPOST)]
    receipt = ingest(square, put(tmp_path / "a.jsonl", *lines))
    wanted = {f"not_taken:{name}": 1 for name in collections.values()}
    assert receipt.counts == {
        "seen": 7,
        "kept": 0,
        "events": 0,
        "quarantined": {**wanted, "not_taken:like": 2, "not_taken:repost": 1},
    }
    assert {row["raw"] for row in quarantine_of(square)} == {None}


def test_gates_that_hide_are_kept_by_the_addresses_they_name(square: Square, tmp_path: Path) -> None:
    gates = [
        commit({"post": uri(), "hiddenReplies": [uri(BOB)], "allow": []}, collection="app.bsky.feed.threadgate"),
        commit({"post": uri(), "detachedEmbeddingUris": [uri(BOB)]}, collection="app.bsky.feed.postgate"),
        commit({"post": uri(), "allow": []}, collection="app.bsky.feed.threadgate"),
    ]
    receipt = ingest(square, put(tmp_path / "a.jsonl", commit(record(), did=BOB), *gates))
    assert receipt.counts["quarantined"] == {"not_taken:threadgate": 2, "not_taken:postgate": 1}
    raw = sorted((row["reason"], row["raw"]) for row in quarantine_of(square) if row["raw"])
    assert raw == [
        ("not_taken:postgate", json.dumps({"detachedEmbeddingUris": [uri(BOB)]})),
        ("not_taken:threadgate", json.dumps({"hiddenReplies": [uri(BOB)]})),
    ]
    assert posts_of(square)[f"bsky:{uri(BOB)}"]["state"] == "live", "whoever hides another's reply deletes nothing"


def profile(*labels: str, **kind: Any) -> Any:
    said = {"displayName": "Ann", "labels": {"values": [{"val": label} for label in labels]}} if labels else {}
    return commit(said, collection=PROFILE, key="self", **kind)


def test_an_account_for_signed_in_people_alone_is_held_back_until_it_is_not(square: Square, tmp_path: Path) -> None:
    ingest(square, put(tmp_path / "a.jsonl", commit(record("hi"))))
    ingest(square, put(tmp_path / "b.jsonl", profile("!no-unauthenticated", "bot", us=US + 10)))
    assert state(square) == "suppressed"
    ingest(square, put(tmp_path / "c.jsonl", profile("bot", operation="update", us=US + 20)))
    assert state(square) == "live"
    odd = commit({"labels": "!no-unauthenticated"}, collection=PROFILE, key="self", us=US + 30)
    ingest(square, put(tmp_path / "d.jsonl", odd))
    assert state(square) == "suppressed", "labels of an unknown shape may be a restriction"
    gone = commit(None, collection=PROFILE, key="self", operation="delete", us=US + 40)
    ingest(square, put(tmp_path / "e.jsonl", gone))
    assert state(square) == "live"


def declaration(allow: Any, key: str = "syntheticContentGeneration", **kind: Any) -> Any:
    return commit({"$type": INTENTS, key: allow}, collection=INTENTS, key="self", **kind)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"allow": False, "updatedAt": STATED}, "opt_out"),
        ({"allow": True, "updatedAt": STATED}, "opt_in"),
        ({"updatedAt": STATED}, None),
        ({"allow": None}, None),
        (None, None),
        ({"allow": "true"}, "opt_out"),
        ({"allow": 1}, "opt_out"),
        (True, "opt_out"),
        ("allow", "opt_out"),
    ],
)
def test_user_intents(square: Square, tmp_path: Path, said: Any, kind: str | None) -> None:
    """Two purposes, for generative AI is meant "at any stage"; what is no clear yes is a no, and silence is neither."""
    receipt = ingest(square, put(tmp_path / "a.jsonl", declaration(said)))
    expected = [(kind, None, ANNS, scope, True) for scope in ("retrieve", "train")] if kind else []
    assert told(square) == expected
    assert receipt.counts["quarantined"] == ({} if kind else {"not_taken:intent": 1})


def test_an_intent_under_its_other_names(square: Square, tmp_path: Path) -> None:
    deny = {"allow": False}
    ingest(square, put(tmp_path / "a.jsonl", declaration(deny, "org.user-intents.syntheticContentGeneration")))
    demo = commit({"syntheticContentGeneration": deny}, collection="org.user-intents.demo.declaration", did=BOB)
    ingest(square, put(tmp_path / "b.jsonl", demo, declaration(deny, "bulkDataset", did="did:plc:other")))
    assert {target for _, _, target, _, _ in told(square)} == {ANNS, f"bsky:{BOB}"}


def test_the_latest_intent_counts_for_all_posts_and_taking_it_back_does_not(square: Square, tmp_path: Path) -> None:
    from townsquare.consent import gate

    def out(purpose: str) -> bool:
        from townsquare.ingest import tables

        return ANNS in gate.opt_outs(tables.read_events(square), purpose).authors

    ingest(square, put(tmp_path / "a.jsonl", commit(record("hi")), declaration({"allow": False})))
    assert [out(purpose) for purpose in ("train", "tune", "retrieve", "display")] == [True, True, True, False]
    assert state(square) == "live"
    withdrawn = commit(None, collection=INTENTS, key="self", operation="delete", us=US + 10)
    ingest(square, put(tmp_path / "b.jsonl", withdrawn, declaration({}, us=US + 11)))
    assert out("train")
    ingest(square, put(tmp_path / "c.jsonl", declaration({"allow": True}, us=US + 20)))
    assert [out(purpose) for purpose in ("train", "tune", "retrieve")] == [False, False, False]
    ingest(square, put(tmp_path / "d.jsonl", declaration({"allow": False}, us=US + 15)))
    assert not out("train"), "an older refusal arrived later"


def test_odd_lines(square: Square, tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.jsonl",
        commit(record("hi")),
        {"did": ANN, "kind": "commit", "time_us": US},
        {"did": "ann", "kind": "account", "account": {"active": True}},
        {"did": ANN, "kind": "storm", "storm": {}},
        commit(record(), operation="upsert"),
        commit(record(), key="a b"),
        commit(None),
        commit(["text"]),  # type: ignore[arg-type]
        commit({"text": 5}),
        commit(None, collection=PROFILE),
        account("yes"),
        account(None),
        [],
        "text",
    )
    path.write_bytes(path.read_bytes() + b'\n{"did":\n\xff\n' + b"[" * 5000 + b"\n")
    receipt = ingest(square, path)
    assert receipt.counts == {
        "seen": 17,
        "kept": 1,
        "events": 0,
        "quarantined": {"broken_json": 3, "not_a_message": 9, "not_a_post": 3, "not_a_record": 1},
    }
    told_as = {row["source_locator"].rpartition(":")[2]: row["uid"] for row in quarantine_of(square)}
    assert [told_as[line] for line in ("7", "8", "9")] == [UID] * 3, "a deletion must find what it could not be"


def test_a_deletion_empties_what_was_quarantined(square: Square, tmp_path: Path) -> None:
    ingest(square, put(tmp_path / "a.jsonl", commit({"words": "a secret in an odd record"})))
    assert "secret" in quarantine_of(square)[0]["raw"]
    ingest(square, put(tmp_path / "b.jsonl", commit(None, operation="delete")))
    assert quarantine_of(square)[0]["raw"] is None


def test_a_file_of_another_kind_is_refused_with_a_remedy(square: Square, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        ingest(square, put(tmp_path / "a.jsonl", {"did": ANN, "kind": "commit"}))
    assert error.value.remedy


def test_the_key_of_a_line_is_the_posts_own(square: Square, tmp_path: Path) -> None:
    assert KEY in UID
    assert POST in UID
    ingest(square, put(tmp_path / "a.jsonl", {**commit(record("hi")), "cursor": 5, "seq": 9}))
    assert [row["source_locator"] for row in posts_of(square).values()] == ["a.jsonl:1"]
