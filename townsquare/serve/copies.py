"""Takedown in the index: rows gone, the dictionary of words built anew, older versions physically removed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import lance
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.serve import index
from townsquare.square import Square

CHUNK = 5_000


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Take the posts out of the index, and out of every file of it; returns how many rows were removed."""
    shutil.rmtree(square.index / ".partial", ignore_errors=True)
    if not index.path(square).is_dir():
        return {"index": 0}
    table, ordered, removed = index.dataset(square), sorted(uids), 0
    for start in range(0, len(ordered), CHUNK):
        condition = f"uid IN ({index.quoted(ordered[start : start + CHUNK])})"
        found = table.count_rows(filter=condition)
        if found:
            table.delete(condition)
            removed += found
    # Also where no row is left to delete: an erasure that was cut off may have left its old versions.
    if removed or len(table.versions()) > 1:
        table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
        index.add_search(index.dataset(square))
    return {"index": removed}


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count rows, in every version of the index, that are one of the posts or say one of the texts."""
    if not index.path(square).is_dir():
        return {"index": 0}
    wanted, said = pa.array(sorted(uids), pa.string()), pa.array(list(texts), pa.string())
    hits = 0
    for version in index.dataset(square).versions():
        table = lance.dataset(index.path(square), version=version["version"]).to_table(columns=["uid", "text"])
        held = pc.or_(pc.is_in(table["uid"], wanted), pc.is_in(table["text"], said))
        hits += int(pc.sum(held).as_py() or 0)
    return {"index": hits}
