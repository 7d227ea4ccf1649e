"""Takedown in the corpus: a new version without the rows that hold a post, the old versions physically gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from townsquare import receipts
from townsquare.curate import card, overrules, tables
from townsquare.square import Square, current_version, next_version, publish, write_json
from townsquare.traces import Texts, Traces, as_traces, rows_holding, rows_naming

PARTIAL = ".partial"
TEXTS = {
    "documents": ("text",),
    "conversations": ("turns.list.element.text",),
    "pairs": ("prompt.list.element.text", "chosen", "rejected"),
    "dropped": (),
}
"""Where each table has words, as Parquet names its columns."""


def erase(square: Square, uids: frozenset[str], texts: Texts = ()) -> dict[str, int]:
    """Drop every row that holds one of `uids`; returns how many by table. All other versions are removed too."""
    live = current_version(square.corpus)
    counts = dict.fromkeys(tables.SCHEMAS, 0)
    if live is not None:
        held = {name: holding(_ids(live, name), uids) for name in tables.SCHEMAS}
        counts = {name: int(rows.sum()) for name, rows in held.items()}
        if any(counts.values()):
            live = _rewrite(square, live, held)
        _revise(square, live)
    for old in square.corpus.glob("v[0-9]*"):
        if old != live:
            shutil.rmtree(old)
    shutil.rmtree(square.corpus / PARTIAL, ignore_errors=True)
    return {f"corpus_{name}": count for name, count in counts.items()} | {"overrules": overrules.erase(square, uids)}


def _ids(folder: Path, name: str) -> pa.Table:
    column = "uid" if "uid" in tables.SCHEMAS[name].names else "uids"
    return pq.read_table(folder / f"{name}.parquet", columns=[column])


def _rewrite(square: Square, live: Path, held: dict[str, np.ndarray]) -> Path:
    partial, version = square.corpus / PARTIAL, next_version(square.corpus)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    manifest = json.loads((live / "manifest.json").read_text(encoding="utf-8"))
    for name, rows in held.items():
        if rows.any():
            tables.write(partial, name, tables.read(live, name).filter(pa.array(~rows)))
        else:
            shutil.copyfile(live / f"{name}.parquet", partial / f"{name}.parquet")
        manifest["rows"][name] = len(rows) - int(rows.sum())
    write_json(partial / "manifest.json", manifest)
    card.write(partial)
    partial.rename(version)
    publish(version)
    return version


def _revise(square: Square, live: Path) -> None:
    """The receipt says what is there now, beside what curation made; also where a kill came between the two."""
    receipt = receipts.read(square, "curate")
    if receipt is None or receipt.results.get("revised", receipt.results).get("version") == live.name:
        return
    rows = json.loads((live / "manifest.json").read_text(encoding="utf-8"))["rows"]
    receipts.revise(square, receipt, version=live.name, rows=rows, outputs={"corpus": receipts.sha256_of(live)})


def holding(table: pa.Table, uids: frozenset[str]) -> np.ndarray:
    """True for the rows that hold any of `uids`."""
    return rows_naming(table["uid" if "uid" in table.column_names else "uids"], uids)


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count rows, in every version on disk and in what a broken-off run left, that hold a post by uid or by text.

    Words in a Parquet file's dictionaries and statistics that no row has count too.
    """
    counts = {f"corpus_{name}": 0 for name in tables.SCHEMAS} | {"overrules": overrules.find(square, uids)}
    for folder in [*sorted(square.corpus.glob("v[0-9]*")), square.corpus / PARTIAL]:
        for name in tables.SCHEMAS:
            path = folder / f"{name}.parquet"
            if path.is_file():
                counts[f"corpus_{name}"] += _hits(path, name, uids, texts)
    return counts


def _hits(path: Path, name: str, uids: frozenset[str], texts: Texts) -> int:
    traces = as_traces(texts)
    try:
        file = pq.ParquetFile(path, read_dictionary=list(TEXTS[name]))
    except pa.ArrowInvalid:  # cut off while it was written: no reader can get at rows in it, and erase removes it
        return 0
    hits = int(rows_holding(_statistics(file), traces, joined=True).sum())
    for group in range(file.metadata.num_row_groups):  # one by one: Arrow reads nested dictionaries in one piece only
        hits += _hits_in_group(file.read_row_group(group), name, uids, traces)
    return hits


def _hits_in_group(table: pa.Table, name: str, uids: frozenset[str], traces: Traces) -> int:
    rows, loose = holding(table, uids), 0
    for column in TEXTS[name] if len(traces) else ():
        words, owners = _words(table[column.split(".")[0]].combine_chunks())
        held = rows_holding(words.dictionary, traces, joined=True)
        used = np.asarray(words.indices)
        rows[owners[held[used]]] = True
        loose += int(held.sum()) - len(np.unique(used[held[used]]))
    return int(rows.sum()) + loose


def _statistics(file: pq.ParquetFile) -> list[str]:
    """The least and greatest texts that the file notes of its columns."""
    meta = file.metadata
    noted = (
        meta.row_group(group).column(column).statistics
        for group in range(meta.num_row_groups)
        for column in range(meta.num_columns)
    )
    return [text for s in noted if s is not None and s.has_min_max for text in (s.min, s.max) if isinstance(text, str)]


def _words(column: pa.Array) -> tuple[pa.DictionaryArray, np.ndarray]:
    """A column's texts as a dictionary, and for each text the row that it belongs to."""
    if pa.types.is_list(column.type):
        return column.flatten().field("text"), np.asarray(pc.list_parent_indices(column))
    return column, np.arange(len(column))
