"""An organisation's own opt-out list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ingesting import events_of, ingest, quarantine_of

from townsquare.ingest import tables
from townsquare.square import Square

HEADER = "network,author_id,handle,post_id,kind,reason,requested_at,requester_ref,evidence_ref,scope,expires\n"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_become_events(square: Square, tmp_path: Path, form: str) -> None:
    rows = [
        "x,123,,,opt_out,asked,2024-01-10T00:00:00Z,MY-SECRET-REF,evidence,all,2030-01-01",
        "x,,,456,,,2024-01-11,,,train,",
        "bsky,did:plc:abc,,,opt_in,,2024-01-12,,,retrieve,",
        "x,x:789,,x:790,,,2024-01-13,,,,",
        "x,,ann,,opt_out,,2024-01-14,MY-SECRET-REF,,all,",
        "myspace,5,,,opt_out,,2024-01-14,,,all,",
        "x,5,,,opt_out,,2024-01-14,,,likes,",
    ]
    path = tmp_path / f"list.{form}"
    names = HEADER.strip().split(",")
    records = [dict(zip(names, row.split(","), strict=True)) for row in rows]
    as_json = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(HEADER + "\n".join(rows) if form == "csv" else as_json, encoding="utf-8-sig")
    receipt = ingest(square, path)
    assert receipt.counts["quarantined"] == {"no_id": 1, "unknown_network_or_scope": 2}
    found = {(e["kind"], e["target_uid"], e["target_author"], e["scope"], e["event_at"].day) for e in events_of(square)}
    assert found == {
        ("opt_out", None, "x:123", "all", 10),
        ("opt_out", "x:456", None, "train", 11),
        ("opt_in", None, "bsky:did:plc:abc", "retrieve", 12),
        ("opt_out", "x:790", None, "all", 13),
    }
    assert "SECRET" not in json.dumps([quarantine_of(square), events_of(square)], default=str)


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
