"""Takedown in the kept answers: rows that cite or repeat a removed post go, the file written anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from townsquare.evaluate.replies import encoded
from townsquare.square import Square, write_atomically
from townsquare.traces import Texts, Traces, as_traces, rows_holding, rows_naming

KEPT = "answers.parquet"
NAMELESS = "cases.parquet"  # ids of questions and hashes; no post can stand in it


def erase(square: Square, uids: frozenset[str], texts: Texts = ()) -> dict[str, int]:
    """Drop every answer that cites or repeats one of the posts; returns how many. Half-written files go too."""
    removed, traces = 0, as_traces(texts)
    for path in _files(square):
        if path.name != KEPT:
            path.unlink()
            continue
        table = pq.read_table(path)
        holding = _holding(table, uids) | _said(table, traces)
        if holding.any():
            write_atomically(path, encoded(table.filter(pa.array(~holding))))
            removed += int(holding.sum())
    return {"evaluations": removed}


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count answers that cite or repeat one of the posts, and files that cannot be read but hold one."""
    hits, traces = 0, as_traces(texts)
    for path in _files(square):
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid:  # broken off while it was written
            data = path.read_bytes().decode("utf-8", "replace")
            hits += any(uid in data for uid in uids) or bool(rows_holding([data], traces).any())
            continue
        hits += int((_holding(table, uids) | _said(table, traces)).sum())
    return {"evaluations": hits}


def _files(square: Square) -> list[Path]:
    return sorted(path for path in square.evaluations.rglob("*") if path.is_file() and path.name != NAMELESS)


def _said(table: pa.Table, traces: Traces) -> np.ndarray:
    return rows_holding(table["question"], traces) | rows_holding(table["answer"], traces)


def _holding(table: pa.Table, uids: frozenset[str]) -> np.ndarray:
    return rows_naming(table["cited"], uids) | rows_naming(table["holds"], uids)
