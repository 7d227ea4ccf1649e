"""Takedown in the corpus: a new version without the rows that hold a post, the old versions physically gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.curate import tables
from townsquare.square import Square, current_version, next_version, publish, write_json

PARTIAL = ".partial"
TEXT_COLUMNS = {
    "documents": ("text",), "conversations": ("turns",), "pairs": ("prompt", "chosen", "rejected"), "dropped": ()
}  # fmt: skip


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Drop every row that holds one of `uids`; returns how many by table. All other versions are removed too."""
    live = current_version(square.corpus)
    counts = dict.fromkeys(tables.SCHEMAS, 0)
    if live is not None:
        for name in tables.SCHEMAS:
            counts[name] = int(pc.sum(holding(tables.read(live, name), uids)).as_py() or 0)
        if any(counts.values()):
            live = _rewrite(square, live, uids)
    for old in square.corpus.glob("v[0-9]*"):
        if old != live:
            shutil.rmtree(old)
    shutil.rmtree(square.corpus / PARTIAL, ignore_errors=True)
    return {f"corpus_{name}": count for name, count in counts.items()}


def _rewrite(square: Square, live: Path, uids: frozenset[str]) -> Path:
    partial, version = square.corpus / PARTIAL, next_version(square.corpus)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    manifest = json.loads((live / "manifest.json").read_text(encoding="utf-8"))
    for name in tables.SCHEMAS:
        table = tables.read(live, name)
        table = table.filter(pc.invert(holding(table, uids)))
        tables.write(partial, name, table)
        manifest["rows"][name] = len(table)
    write_json(partial / "manifest.json", manifest)
    partial.rename(version)
    publish(version)
    return version


def holding(table: pa.Table, uids: frozenset[str]) -> pa.ChunkedArray:
    """True for the rows that hold any of `uids`."""
    wanted = pa.array(sorted(uids), pa.string())
    if "uid" in table.column_names:
        return pc.is_in(table["uid"], wanted)
    lists = table["uids"].combine_chunks()
    parents = pc.list_parent_indices(lists).filter(pc.is_in(pc.list_flatten(lists), wanted))
    return pc.is_in(pa.array(range(len(table)), pa.int64()), pc.unique(parents))


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count rows, in every version on disk and in what a broken-off run left, that hold a post by uid or by text."""
    counts = {f"corpus_{name}": 0 for name in tables.SCHEMAS}
    for folder in [*sorted(square.corpus.glob("v[0-9]*")), square.corpus / PARTIAL]:
        for name in tables.SCHEMAS:
            if (folder / f"{name}.parquet").is_file():
                counts[f"corpus_{name}"] += _hits(_opened(folder, name), name, uids, texts)
    return counts


def _opened(folder: Path, name: str) -> pa.Table:
    try:
        return tables.read(folder, name)
    except pa.ArrowInvalid:  # cut off while it was written: no reader can get at rows in it, and erase removes it
        return tables.SCHEMAS[name].empty_table()


def _hits(table: pa.Table, name: str, uids: frozenset[str], texts: Sequence[str]) -> int:
    by_uid = pa.array(holding(table, uids)) if len(table) else pa.array([], pa.bool_())
    if not texts or not TEXT_COLUMNS[name]:
        return int(pc.sum(by_uid).as_py() or 0)
    said = zip(*(_said(table[column]) for column in TEXT_COLUMNS[name]), strict=True)
    return sum(
        bool(hit) or any(text in part for text in texts for part in parts)
        for hit, parts in zip(by_uid.to_pylist(), said, strict=True)
    )


def _said(column: pa.ChunkedArray) -> Iterator[str]:
    for value in column.to_pylist():
        yield value if isinstance(value, str) else "\n".join(turn["text"] for turn in value)
