"""An organisation's own opt-out list."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from pathlib import Path

import pytest
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.consent import gate
from townsquare.consent.grants import Grant
from townsquare.ingest import tables
from townsquare.records import PURPOSES
from townsquare.square import Square

HEADER = "network,author_id,handle,post_id,kind,reason,requested_at,requester_ref,evidence_ref,scope,expires\n"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_become_events(square: Square, tmp_path: Path, form: str) -> None:
    rows = [
        "x,123,,,opt_out,asked,2024-01-10T00:00:00Z,MY-SECRET-REF,evidence,all,2030-01-01",
        "x,,,456,,,2024-01-11,,,train,",
        "bsky,did:plc:abc,,,opt_in,,2024-01-12,,,retrieve,",
        "x,x:789,,x:790,,,2024-01-13,,,,",
        "x,,@Ann,,opt_out,,2024-01-14,MY-SECRET-REF,,all,",
        "x,,ann,,opt_in,,2024-01-15,MY-SECRET-REF,,all,",
        "x,,@,,opt_out,,2024-01-15,MY-SECRET-REF,,all,",
        "x,900,bo,,opt_out,,2024-01-16,,,display,",
        "myspace,5,,,opt_out,,2024-01-14,,,all,",
        "x,5,,,opt_out,,2024-01-14,,,likes,",
    ]
    path = tmp_path / f"list.{form}"
    names = HEADER.strip().split(",")
    records = [dict(zip(names, row.split(","), strict=True)) for row in rows]
    as_json = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(HEADER + "\n".join(rows) if form == "csv" else as_json, encoding="utf-8-sig")
    receipt = ingest(square, path)
    assert receipt.counts["quarantined"] == {"no_id": 1, "opt_in_by_handle": 1, "unknown_network_or_scope": 2}
    found = {(e["kind"], e["target_uid"], e["target_author"], e["scope"], e["event_at"].day) for e in events_of(square)}
    assert found == {
        ("opt_out", None, "x:123", "all", 10),
        ("opt_out", "x:456", None, "train", 11),
        ("opt_in", None, "bsky:did:plc:abc", "retrieve", 12),
        ("opt_out", "x:790", None, "all", 13),
        ("opt_out", None, f"x:@{ANN}", "all", 14),
        ("opt_out", None, "x:900", "display", 16),
    }
    stored = json.dumps([quarantine_of(square), events_of(square)], default=str)
    assert "SECRET" not in stored
    assert "ann" not in stored.casefold()


ANN = hashlib.sha256(b"x:ann").hexdigest()


def test_cut_rows_opt_nobody_out(square: Square, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(HEADER + "x,123,,,,,2024-01-10,,,all,\nx,12")
    assert ingest(square, path).counts == {"seen": 2, "kept": 0, "events": 1, "quarantined": {"broken_row": 1}}
    path = tmp_path / "list.jsonl"
    path.write_text('{"network": "x", "author_id": 1.5e18, "requested_at": ""}\n{"network": "x", "author_id": "12\n')
    assert ingest(square, path).counts["quarantined"] == {"no_id": 1, "broken_row": 1}


def test_an_opt_out_of_everything_suppresses_and_of_one_purpose_does_not(square: Square, tmp_path: Path) -> None:
    posts, out = tmp_path / "posts.csv", tmp_path / "out.csv"
    posts.write_text("id,text,author\n1,one,ann\n2,two,bob\n")
    out.write_text(HEADER + "table,ann,,,,,2024-01-10,,,train,\ntable,bob,,,,,2024-01-10,,,all,\n")
    ingest(square, out)
    ingest(square, posts)
    states = tables.read_posts(square, ["author_id", "state"]).to_pylist()
    assert {row["author_id"]: row["state"] for row in states} == {"ann": "live", "bob": "suppressed"}
    out.write_text(HEADER + "table,bob,,,opt_in,,2024-02-10,,,all,\n")
    ingest(square, out)
    assert set(tables.read_posts(square, ["state"])["state"].to_pylist()) == {"live"}


def test_a_row_that_cannot_be_read_is_counted_and_not_kept(square: Square, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(HEADER + "x,,somebody,\n")
    ingest(square, path)
    (row,) = quarantine_of(square)
    assert (row["reason"], row["raw"]) == ("broken_row", None)


def allowed(square: Square, purpose: str = "train") -> set[str]:
    """Uids that the gate lets through under a grant of everything."""
    posts = tables.read_posts(square)
    grant = Grant(id="g", grantor="A", grantee="B", purposes=PURPOSES, sources=("*",))
    consent = dataclasses.replace(tables.read_consent(square), grants=[grant])
    reasons = gate.refusals(posts, consent, purpose, dt.date(2026, 1, 1)).to_pylist()
    return {uid for uid, reason in zip(posts["uid"].to_pylist(), reasons, strict=True) if reason is None}


def named(square: Square, path: Path, *handles: str, scope: str = "all") -> None:
    rows = "".join(f"x,,{handle},,opt_out,,2024-03-01,,,{scope},\n" for handle in handles)
    path.write_text(HEADER + rows)
    ingest(square, path)


def page(path: Path, *posts: tuple[str, str, str]) -> Path:
    """A page of X's API: (post id, author id, handle) each."""
    data = [
        {"id": i, "author_id": who, "text": f"post {i}", "created_at": "2024-02-01T00:00:00.000Z"}
        for i, who, _ in posts
    ]
    users = [{"id": who, "username": handle, "name": "N"} for _, who, handle in posts]
    path.write_text(json.dumps({"data": data, "includes": {"users": users}}))
    return path


@pytest.mark.parametrize("list_first", [True, False])
@pytest.mark.parametrize("scope", ["all", "train"])
def test_a_handle_opts_out_whoever_posts_under_it(square: Square, tmp_path: Path, list_first: bool, scope: str) -> None:
    posts = page(tmp_path / "page.json", ("1000001", "7", "Ann"), ("1000002", "8", "bo"))
    if list_first:
        named(square, tmp_path / "out.csv", "@ann", scope=scope)
    ingest(square, posts)
    if not list_first:
        named(square, tmp_path / "out.csv", "@ann", scope=scope)
    assert allowed(square) == {"x:1000002"}
    states = {uid: post["state"] for uid, post in posts_of(square).items()}
    assert states == {"x:1000001": "suppressed" if scope == "all" else "live", "x:1000002": "live"}
    assert allowed(square, "display") == ({"x:1000002"} if scope == "all" else {"x:1000001", "x:1000002"})
    # Later posts are out under that handle and under another one.
    ingest(square, page(tmp_path / "page2.json", ("1000003", "7", "ann_new"), ("1000004", "9", "ANN")))
    assert allowed(square) == {"x:1000002"}
    before = {event["event_id"] for event in events_of(square)}
    named(square, tmp_path / "again.csv", "ANN", scope=scope)
    assert {event["event_id"] for event in events_of(square)} == before


def test_who_opts_in_by_id_is_back_and_nobody_else(square: Square, tmp_path: Path) -> None:
    named(square, tmp_path / "out.csv", "ann")
    ingest(square, page(tmp_path / "page.json", ("1000001", "7", "ann"), ("1000002", "9", "Ann")))
    assert allowed(square) == set()
    back = tmp_path / "in.csv"
    back.write_text(HEADER + "x,9,,,opt_in,,2024-04-01,,,all,\n")
    ingest(square, back)
    assert allowed(square) == {"x:1000002"}
    ingest(square, page(tmp_path / "page2.json", ("1000003", "9", "ann"), ("1000004", "7", "ann")))
    assert allowed(square) == {"x:1000002", "x:1000003"}


def test_handles_are_of_one_network(square: Square, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text(HEADER + "masto,,ann,,opt_out,,2024-03-01,,,all,\n")
    ingest(square, tmp_path / "out.csv")
    ingest(square, page(tmp_path / "page.json", ("1000001", "7", "ann")))
    assert allowed(square) == {"x:1000001"}


def test_a_damaged_first_line_is_no_header(square: Square, tmp_path: Path) -> None:
    rows = [{"network": "x", "author_id": str(i), "requested_at": "2024-01-10"} for i in (1, 2)]
    path = tmp_path / "list.jsonl"
    path.write_text('"' + "\n".join(json.dumps(row) for row in rows) + "\n")
    receipt = ingest(square, path)
    assert receipt.counts["seen"] == sum(receipt.counts["quarantined"].values()) == 2
    assert [row["source_locator"] for row in quarantine_of(square)] == ["list.jsonl:1", "list.jsonl:2"]
