"""Takedown in the index: rows gone, old versions gone, and a dictionary of words as if the posts had never been.

Compacting rewrites the dictionary in the Lance of today; that it is built anew as well keeps this from
hanging on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.serve import index
from townsquare.square import Square

CHUNK = 5_000


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Remove the posts' rows for good; returns how many. What a killed build left behind goes too."""
    shutil.rmtree(square.index / ".partial", ignore_errors=True)
    if not index.path(square).is_dir():
        return {"index": 0}
    table = index.dataset(square)
    before, ordered = table.count_rows(), sorted(uids)
    for start in range(0, len(ordered), CHUNK):
        table.delete(f"uid IN ({index.quoted(ordered[start : start + CHUNK])})")
        table = index.dataset(square)
    removed = before - table.count_rows()
    # Also where nothing was removed now: a run that was killed may have deleted rows and not yet their bytes.
    table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
    index.add_search(index.dataset(square))
    return {"index": removed}


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count rows, in every version of every table in the index's folder, of those posts or with those texts."""
    return {
        "index": sum(_in_table(path, uids, texts) for path in sorted(square.index.rglob("*.lance")) if path.is_dir())
    }


def _in_table(path: Path, uids: frozenset[str], texts: Sequence[str]) -> int:
    import lance

    wanted, hits = pa.array(sorted(uids), pa.string()), 0
    for version in lance.dataset(path).versions():
        table = lance.dataset(path, version=version["version"]).to_table(columns=["uid", "text"])
        by_uid = pc.is_in(table["uid"], wanted).to_pylist()
        said = table["text"].to_pylist()
        hits += sum(hit or any(text in own for text in texts) for hit, own in zip(by_uid, said, strict=True))
    return hits
