"""The Lance tables of posts, events and quarantine: upserts that end alike in any order of arrival."""

from __future__ import annotations

import datetime as dt
import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.errors import StaleError
from townsquare.records import EVENTS, POSTS, QUARANTINE
from townsquare.square import Square

if TYPE_CHECKING:
    from lance import LanceDataset

SCHEMAS = {"posts": POSTS, "events": EVENTS, "quarantine": QUARANTINE}
KEYS = {"posts": ["uid"], "events": ["event_id"], "quarantine": ["source_sha256", "source_locator", "reason"]}
PLACE = ["source_sha256", "source_locator", "source_id"]
FIRST = {"events": ["reversible", "received_at", *PLACE], "quarantine": PLACE}
"""Of rows with the same key the least by these stays: the permanent event before the reversible, then the earlier."""

FEW_ROWS = 0.005  # of a table: to take a row by itself costs 0.2 ms, to pass over one 0.001 ms
BATCH_ROWS = 32_768

CONTENT_COLUMNS = (
    "text_raw", "text", "author_handle", "media", "links", "content_warning", "labels", "lang", "source_app",
)  # fmt: skip
"""What a tombstone no longer has: everything that the author wrote or showed."""


def path(square: Square, name: str) -> Path:
    return square.posts / f"{name}.lance"


def dataset(square: Square, name: str) -> LanceDataset:
    """One of the three tables. Raises StaleError when nothing was ingested yet."""
    import lance

    if not path(square, name).is_dir():
        raise StaleError("there are no posts in this square yet", remedy="Run first: townsquare ingest PATH")
    return lance.dataset(path(square, name))


def read(square: Square, name: str, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
    """Rows of the newest version; `where` is an SQL condition on columns.

    A takedown removes the files of older versions at once: who was reading one begins anew with what replaced it.
    """
    while True:
        table = dataset(square, name)
        try:
            return table.to_table(columns=None if columns is None else list(columns), filter=where)
        except (OSError, ValueError):  # Arrow's error for a file that is not there is a ValueError
            if dataset(square, name).version == table.version:
                raise


def ensure(square: Square) -> None:
    """Make the tables that are missing, empty."""
    import lance

    for name, schema in SCHEMAS.items():
        if not path(square, name).is_dir():
            lance.write_dataset(schema.empty_table(), path(square, name), schema=schema)


def upsert(square: Square, name: str, table: pa.Table) -> None:
    """Insert rows, or put them in the place of those with the same key; a replay changes nothing."""
    if len(table):
        merge = dataset(square, name).merge_insert(KEYS[name])
        merge.when_matched_update_all().when_not_matched_insert_all().execute(table.cast(SCHEMAS[name]))


def append(square: Square, name: str, table: pa.Table) -> None:
    """Add rows whose keys are known to be new."""
    import lance

    if len(table):
        lance.write_dataset(table.cast(SCHEMAS[name]), path(square, name), mode="append")


def rows_of(square: Square, name: str, uids: pa.Array, columns: Sequence[str] | None = None) -> pa.Table:
    """The stored rows of these uids, or some of their columns, in the order of the table."""
    table = dataset(square, name)
    stored = table.to_table(columns=["uid"])["uid"].combine_chunks()  # Arrow fails on an array of no chunks at all
    return rows_at(table, np.asarray(pc.indices_nonzero(pc.is_in(stored, uids))), columns)


def rows_at(table: LanceDataset, at: np.ndarray, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows at ascending offsets: few are taken one by one, many by passing over the table."""
    names = list(columns or table.schema.names)
    if len(at) <= FEW_ROWS * table.count_rows():
        return table.take(at.tolist(), columns=names)
    parts, start = [], 0
    for batch in table.to_batches(columns=names, batch_size=BATCH_ROWS):
        low, high = np.searchsorted(at, (start, start + len(batch)))
        if high > low:
            parts.append(batch.take(pa.array(at[low:high] - start)))
        start += len(batch)
    return pa.Table.from_batches(parts, schema=pa.schema([table.schema.field(name) for name in names]))


@contextmanager
def writing(square: Square) -> Iterator[None]:
    """Wait until no other process writes these tables, and keep others waiting until the block ends.

    Ingests may run beside one another; what one reads of the tables to decide what to write, no other
    may change before it is written.
    """
    square.posts.mkdir(parents=True, exist_ok=True)
    with (square.posts / ".writing").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def put_first(square: Square, name: str, table: pa.Table) -> None:
    """Insert events or quarantine rows; of several with the same key the first by FIRST stays."""
    if not len(table):
        return
    keys, order = KEYS[name], FIRST[name]
    columns = list(dict.fromkeys([*keys, *order]))
    incoming = pl.DataFrame(pl.from_arrow(table.select(columns))).with_row_index("row")
    stored = pl.DataFrame(pl.from_arrow(dataset(square, name).to_table(columns=columns)))
    stored = stored.join(incoming.select(keys), on=keys, how="semi").with_columns(pl.lit(None, pl.UInt32).alias("row"))
    both = pl.concat([stored, incoming.select(stored.columns)])
    best = both.sort([*order, "row"], nulls_last=[*([True] * len(order)), False]).unique(keys, keep="first")
    rows = best["row"].drop_nulls().sort()
    upsert(square, name, table.take(rows.to_arrow()))


# A marker outlives a kill between the commit that takes content away and the removal of older versions.


def mark_purge(square: Square) -> None:
    _marker(square).touch()


def purge_due(square: Square) -> bool:
    return _marker(square).exists()


def _marker(square: Square) -> Path:
    return square.posts / ".purge"


def purge(square: Square) -> None:
    """Make deletions physical: rewrite files with deleted rows, and drop every older version of the tables."""
    for name in SCHEMAS:
        table = dataset(square, name)
        table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
        table.cleanup_old_versions(older_than=dt.timedelta(0), delete_unverified=True)
    _marker(square).unlink(missing_ok=True)
