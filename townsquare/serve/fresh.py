"""Posts that came after the index was built: held in memory, and searched beside it at the next question.

Nothing is written, so that no other command ever waits, and a takedown has no further copy to reach: what this
holds of a removed post is refused by the live check at once, and dropped at the next question.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.consent import gate
from townsquare.ingest import tables
from townsquare.serve import chosen, index
from townsquare.serve.config import IndexConfig
from townsquare.serve.standing import standing_of, written
from townsquare.square import Square

if TYPE_CHECKING:
    from lance import LanceDataset

MOST_POSTS = 200_000
"""The newest that are held, about 1 KB each; for more the index is due."""

_names = itertools.count()


class Fresh:
    """The posts of ingests that the index does not know, as one more table to search. Safe for threads."""

    def __init__(self, square: Square) -> None:
        self._square = square
        self._lock = threading.Lock()
        self._as_of: tuple[object, ...] = ()
        self._rows = index.INDEX.empty_table()
        self._table: LanceDataset | None = None

    def table(self) -> LanceDataset | None:
        """Those that are stored by now, committed a moment ago or not; None when there are none."""
        with self._lock:
            as_of = (written(receipts.receipt_path(self._square, "index")), *standing_of(self._square))
            if as_of != self._as_of:
                self._read()
                self._as_of = as_of
            return self._table

    def _read(self) -> None:
        receipt = receipts.read(self._square, "index")
        if receipt is None or "sources" not in receipt.results:
            self._table = None  # what the index knows was not noted: it is due anew
        else:
            self._take(receipt.results["sources"], IndexConfig(**receipt.config))

    def _take(self, known: dict[str, str], config: IndexConfig) -> None:
        now = {receipt.name: receipt.fingerprint for receipt in receipts.read_all(self._square, "ingest")}
        old = sorted(name for name, fingerprint in known.items() if now.get(name) == fingerprint)
        where = f"source_id NOT IN ({index.quoted(old)})" if old else None
        found = tables.read_posts(self._square, chosen.NEEDED, where)
        if len(found) > MOST_POSTS:
            found = found.take(pc.sort_indices(found, [("created_at", "descending")])[:MOST_POSTS])
        allowed = pc.is_null(gate.refusals(found, tables.read_consent(self._square), "retrieve", gate.today()))
        found = found.filter(pc.and_(allowed, pc.is_null(chosen.own_reasons(found, allowed, config))))
        self._rows = _joined(self._rows, found)
        self._table = _searchable(self._rows)


def _joined(rows: pa.Table, found: pa.Table) -> pa.Table:
    """Index rows of the posts found; those that were made before for the same text are used again."""
    same = list(index.COLUMNS)
    before, now = pl.DataFrame(pl.from_arrow(rows)), pl.DataFrame(pl.from_arrow(found))
    kept = before.join(now.select(same), on=same, how="semi", nulls_equal=True)
    new = now.join(before.select(same), on=same, how="anti", nulls_equal=True)
    return pa.concat_tables([kept.to_arrow().cast(index.INDEX), index.rows(new.select(same).to_arrow())])


def _searchable(rows: pa.Table) -> LanceDataset | None:
    import lance

    if not len(rows):
        return None
    table = lance.write_dataset(rows, f"memory://fresh-{next(_names)}", schema=index.INDEX)
    index.add_search(table)  # without it words would be compared as they are written
    return table
