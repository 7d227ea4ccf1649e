"""Takedown in the index and in opinions: rows gone, old versions gone, a dictionary as if the posts had never been.

Compacting rewrites the dictionary in the Lance of today. Where one does not, it is built anew, which takes as long
as building the index.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from townsquare import receipts
from townsquare.serve import index, opinions
from townsquare.square import Square
from townsquare.traces import Texts, as_traces, rows_holding, rows_naming

if TYPE_CHECKING:
    from lance import LanceDataset

CHUNK = 5_000


def erase(square: Square, uids: frozenset[str], texts: Texts = ()) -> dict[str, int]:
    """Remove the posts' rows, and opinions of answers that cite or repeat them, for good; returns how many.

    What a killed build left behind goes too.
    """
    shutil.rmtree(square.index / ".partial", ignore_errors=True)
    counts = {"index": 0, "opinions": opinions.erase(square, uids, texts)}
    if not index.path(square).is_dir():
        return counts
    table = index.dataset(square)
    here = table.to_table(columns=["uid"])["uid"]
    held = here.filter(pa.array(rows_naming(here, uids))).to_pylist()
    for start in range(0, len(held), CHUNK):
        table.delete(f"uid IN ({index.quoted(held[start : start + CHUNK])})")
        table = index.dataset(square)
    # A run that was killed may have deleted rows and not yet their bytes, or their words in the dictionary.
    if held or not _settled(table):
        table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
        table = index.dataset(square)
        table.cleanup_old_versions(older_than=dt.timedelta(0), delete_unverified=True)
        if not _settled(table):
            _forget_words(table)
    _revise(square)
    return counts | {"index": len(held)}


def _forget_words(table: LanceDataset) -> None:
    """A new dictionary; none where no row is left to build one from, and the old one must go all the same."""
    import lance

    if not table.count_rows():
        for name in [described.name for described in table.describe_indices()]:
            table.drop_index(name)
    index.add_search(lance.dataset(table.uri))


def _settled(table: LanceDataset) -> bool:
    """One version, no deleted row, and a dictionary of these rows."""
    whole = all(fragment.deletion_file() is None for fragment in table.get_fragments())
    return len(table.versions()) == 1 and whole and not _loose_words(Path(table.uri))


def _revise(square: Square) -> None:
    """The receipt says what is there now, beside what the stage made; also where a kill came between the two."""
    receipt = receipts.read(square, "index")
    table = index.dataset(square)
    if receipt is None or receipt.results.get("revised", {}).get("kept", receipt.counts["kept"]) == table.count_rows():
        return
    receipts.revise(square, receipt, kept=table.count_rows())


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count rows, in every version of every table in the index's folder, of those posts or with those texts; and
    what the dictionaries of the full-text indexes on disk hold beyond the live rows."""
    counts = {"index": 0, "index_dictionary": 0}
    for path in sorted(square.index.rglob("*.lance")):
        if path.is_dir():
            counts["index"] += _rows(path, uids, texts)
            counts["index_dictionary"] += _loose_words(path)
    return counts | {"opinions": opinions.find(square, uids, texts)}


def _rows(path: Path, uids: frozenset[str], texts: Texts) -> int:
    import lance

    traces, hits = as_traces(texts), 0
    for version in lance.dataset(path).versions():
        table = lance.dataset(path, version=version["version"]).to_table(columns=["uid", "text"])
        hits += int((rows_naming(table["uid"], uids) | rows_holding(table["text"], traces)).sum())
    return hits


def _loose_words(path: Path) -> int:
    """Entries of the full-text indexes on disk that no live row accounts for: documents that are no row, and words
    that are in no document. A word is told by its list of documents, for the dictionary itself is compressed."""
    import lance

    live = np.asarray(lance.dataset(path).to_table(columns=[], with_row_id=True)["_rowid"])
    loose = 0
    for documents, words in _parts(path / "_indices"):
        loose += int((~np.isin(np.asarray(documents["_rowid"]), live)).sum())
        loose += int((np.asarray(words["_length"]) == 0).sum())
    return loose


def _parts(folder: Path) -> Iterator[tuple[pa.Table, pa.Table]]:
    """For each part of each index: its documents (_rowid), and its words (_length: how many documents each is in)."""
    from lance.file import LanceFileReader

    for path in sorted(folder.glob("*/*docs.lance")):
        lists = path.with_name(path.name.replace("docs", "invert"))
        yield (
            LanceFileReader(str(path)).read_all().to_table(),
            LanceFileReader(str(lists), columns=["_length"]).read_all().to_table(),
        )
