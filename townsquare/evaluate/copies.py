"""Takedown in the kept answers: rows that cite or repeat a removed post go, the file written anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from townsquare.evaluate.replies import encoded
from townsquare.square import Square, write_atomically

KEPT = "answers.parquet"


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Drop every answer that cites or repeats one of the posts; returns how many. Half-written files go too."""
    removed = 0
    for path in _files(square):
        if path.name != KEPT:
            path.unlink()
            continue
        table = pq.read_table(path)
        holding = _holding(table, uids)
        if any(holding):
            write_atomically(path, encoded(table.filter(pa.array([not held for held in holding]))))
            removed += sum(holding)
    return {"evaluations": removed}


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count answers that cite or repeat one of the posts, and files that cannot be read but hold one."""
    hits = 0
    for path in _files(square):
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid:  # broken off while it was written
            data = path.read_bytes()
            hits += any(part.encode() in data for part in [*uids, *texts])
            continue
        by_uid = _holding(table, uids)
        said = zip(by_uid, table["question"].to_pylist(), table["answer"].to_pylist(), strict=True)
        hits += sum(held or any(text in q or text in a for text in texts) for held, q, a in said)
    return {"evaluations": hits}


def _files(square: Square) -> list[Path]:
    return sorted(path for path in square.evaluations.rglob("*") if path.is_file())


def _holding(table: pa.Table, uids: frozenset[str]) -> list[bool]:
    rows = zip(table["cited"].to_pylist(), table["holds"].to_pylist(), strict=True)
    return [not uids.isdisjoint(cited) or not uids.isdisjoint(holds) for cited, holds in rows]
