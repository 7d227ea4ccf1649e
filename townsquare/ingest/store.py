"""The Lance tables of posts, events and quarantine: upserts that end alike in any order of arrival."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from townsquare.errors import StaleError
from townsquare.records import EVENTS, POSTS, QUARANTINE
from townsquare.square import Square

if TYPE_CHECKING:
    from lance import LanceDataset

SCHEMAS = {"posts": POSTS, "events": EVENTS, "quarantine": QUARANTINE}
KEYS = {"posts": ["uid"], "events": ["event_id"], "quarantine": ["source_sha256", "source_locator", "reason"]}
TEXT_RANK = {"full": 3, "note_joined": 3, "html_stripped": 3, "truncated": 1, "missing": 0}
RANK = ("uid", "text_status", "observed_at", "source_sha256", "source_locator")
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


def insert_missing(square: Square, name: str, table: pa.Table) -> None:
    """Insert only the rows whose key is not there yet."""
    if len(table):
        dataset(square, name).merge_insert(KEYS[name]).when_not_matched_insert_all().execute(table.cast(SCHEMAS[name]))


def _ranked(table: pa.Table) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(table.select(list(RANK))))
    return frame.with_columns(
        pl.col("text_status").replace_strict(TEXT_RANK, default=0, return_dtype=pl.Int8).alias("rank")
    ).drop("text_status")


def winners(square: Square, table: pa.Table) -> pa.Table:
    """Of the incoming posts those that stay: the best of each uid, if better than what is stored.

    Fuller text beats cut text, a later observation an earlier one; the last resort is where it came
    from, so that the outcome never hangs on the order of arrival.
    """
    order = ["rank", "observed_at", "source_sha256", "source_locator"]
    incoming = _ranked(table).with_row_index("row").sort(order, nulls_last=False).unique("uid", keep="last")
    scanner = dataset(square, "posts").scanner(columns=list(RANK))
    stored = _ranked(scanner.to_table()).join(incoming.select("uid"), on="uid", how="semi")
    both = pl.concat(
        [stored.with_columns(pl.lit(None, pl.UInt32).alias("row")), incoming.select([*stored.columns, "row"])]
    )
    # A stored row that is the incoming one again sorts after it, and so wins: nothing is written.
    both = both.with_columns(pl.col("row").is_null().alias("is_stored"))
    best = both.sort([*order, "is_stored"], nulls_last=False).unique("uid", keep="last")
    rows = best.filter(~pl.col("is_stored"))["row"].sort()
    return table.take(rows.to_arrow())


def purge(square: Square) -> None:
    """Make deletions physical: rewrite files with deleted rows, and drop every older version of the tables."""
    for name in SCHEMAS:
        table = dataset(square, name)
        table.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
        table.cleanup_old_versions(older_than=dt.timedelta(0), delete_unverified=True)
