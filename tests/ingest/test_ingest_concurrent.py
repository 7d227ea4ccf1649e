"""Ingests at the same time into one square: the same tables as one after the other; and other commands beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ingesting import ingest, posts_of
from processes import assert_alike, ended, killed, reached, start

from townsquare import receipts
from townsquare.errors import LockedError
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.run import run as take_down

LATE = "2024-05-01T00:00:00.000Z"


def _ndjson(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def _pages(numbers: range, **fields: Any) -> list[Any]:
    """A page a post; of two pages of one post the place decides."""
    return [
        {"data": {"id": str(i), "text": f"post {i} of {fields}", "author_id": str(i % 7), **fields}} for i in numbers
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two ingests that share posts, each with events about the other's, before and after its own."""
    tmp_path = tmp_path_factory.mktemp("files")
    gone = [{"id": str(i), "action": "delete", "reason": "deleted", "redacted_at": LATE} for i in range(1, 900, 11)]
    away = [{"data": {"user_protect": {"user": {"id": "3"}, "event_at": LATE}}}]
    back = [{"data": {"user_unprotect": {"user": {"id": "3"}, "event_at": "2024-06-01T00:00:00.000Z"}}}]
    cut = [{"data": {"id": str(i), "text": f"post {i} is cut…"}} for i in range(400, 500)]
    return {
        "one": [
            _ndjson(tmp_path / "1-away.jsonl", away),
            _ndjson(tmp_path / "2-pages.jsonl", [*_pages(range(900)), {"data": "odd"}]),
            _ndjson(tmp_path / "3-tweets.jsonl", gone[40:]),
        ],
        "two": [
            _ndjson(tmp_path / "4-tweets.jsonl", gone[:40]),
            _ndjson(tmp_path / "5-pages.jsonl", [*_pages(range(900), lang="en"), *cut, "odd"]),
            _ndjson(tmp_path / "6-back.jsonl", back),
        ],
    }


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory, files: dict[str, list[Path]]) -> Square:
    """What one after the other leaves."""
    square = Square.create(tmp_path_factory.mktemp("in-turn") / "square")
    for paths in files.values():
        ingest(square, *paths)
    states = [row["state"] for row in posts_of(square).values()]
    assert states.count("deleted") == len(range(1, 900, 11))  # and author 3 was away, and is back
    assert states.count("live") == 900 - len(range(1, 900, 11))
    return square


def test_two_ingests_at_once_leave_what_they_leave_in_turn(
    tmp_path: Path, files: dict[str, list[Path]], in_turn: Square
) -> None:
    square, gates = Square.create(tmp_path / "at-once"), [tmp_path / "gate-one", tmp_path / "gate-two"]
    both = [start(square, files[name], slab_rows=30, gate=gate) for name, gate in zip(files, gates, strict=True)]
    for process, gate in zip(both, gates, strict=True):
        reached(gate, process)
    for gate in gates:  # thirty commits each, of the same posts at the same time
        gate.touch()
    for process in both:
        ended(process)
    assert_alike(square, in_turn)
    assert {r.name: r.counts for r in receipts.read_all(square)} == {
        r.name: r.counts for r in receipts.read_all(in_turn)
    }


def test_one_of_two_is_killed_and_run_again(tmp_path: Path, files: dict[str, list[Path]], in_turn: Square) -> None:
    square, gate, never = Square.create(tmp_path / "at-once"), tmp_path / "gate", tmp_path / "never"
    one = start(square, files["one"], slab_rows=100, gate=gate)
    reached(gate, one)
    two = start(square, files["two"], slab_rows=100, gate=never)
    reached(never, two)
    assert killed(two)
    gate.touch()
    ended(one)
    assert [receipt.name for receipt in receipts.read_all(square)] == ["1-away-" + _hash(in_turn, "1-away")]
    ingest(square, *files["two"])
    assert_alike(square, in_turn)


def _hash(square: Square, stem: str) -> str:
    return next(str(r.name).rpartition("-")[2] for r in receipts.read_all(square) if r.name and r.name.startswith(stem))


def test_a_takedown_beside_an_ingest_is_refused_and_changes_nothing(
    tmp_path: Path, files: dict[str, list[Path]], in_turn: Square
) -> None:
    square, gate = Square.create(tmp_path / "busy"), tmp_path / "gate"
    process = start(square, files["one"], slab_rows=100, gate=gate)
    reached(gate, process)
    with pytest.raises(LockedError) as refused:
        take_down(square, TakedownConfig(post=("x:5",)))
    assert "in use by `townsquare ingest 1-away-" in str(refused.value)
    assert f"process {process.pid} " in str(refused.value)
    assert refused.value.exit_code == 6
    assert "Wait until it ends" in str(refused.value.remedy)
    gate.touch()
    ended(process)
    ingest(square, *files["two"])
    assert_alike(square, in_turn)
    assert posts_of(square)["x:5"]["state"] == "live"
    take_down(square, TakedownConfig(post=("x:5",)))
    assert posts_of(square)["x:5"]["state"] == "deleted"


def test_an_ingest_beside_a_takedown_is_refused_and_reads_nothing(square: Square, tmp_path: Path) -> None:
    path = _ndjson(tmp_path / "pages.jsonl", _pages(range(1, 5)))
    with square.lock("takedown 0123"), pytest.raises(LockedError, match="in use by `townsquare takedown 0123`"):
        run(square, IngestConfig(paths=(path,)))
    assert not square.posts.exists()
    ingest(square, path)
    assert len(posts_of(square)) == 4


def test_a_dry_run_beside_an_ingest_leaves_nothing(tmp_path: Path, files: dict[str, list[Path]]) -> None:
    square, gate = Square.create(tmp_path / "busy"), tmp_path / "gate"
    process = start(square, files["one"], slab_rows=100, gate=gate)
    reached(gate, process)
    receipt = run(square, IngestConfig(paths=tuple(files["two"]), dry_run=True))
    assert receipt.counts["seen"]
    gate.touch()
    ended(process)
    assert len(receipts.read_all(square)) == 1
