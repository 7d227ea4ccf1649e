"""Opt-outs that name a handle, resolved: whoever has posts here under that handle is out, by id and from then on.

The handle itself is stored nowhere: the list's event holds its one-way hash. Who changes the handle later
stays out, and who comes later under the handle is out too. Where the handle changed hands, all whose posts
came under it are out: an opt-in, which names an id, brings back who never asked.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from townsquare.consent import handles
from townsquare.ingest import store
from townsquare.ingest.rows import event_id
from townsquare.records import EVENTS
from townsquare.square import Square

READS = ["network", "author_id", "author_handle"]
BY_HANDLE = "kind = 'opt_out' AND target_author LIKE '%:@%'"


def resolve(square: Square, posts: pa.Table | None = None) -> None:
    """Add an opt-out by id for each author of the posts (of all stored ones when none are given) whose handle is out.

    The event is the one that a list would make that names the id, so that a replay adds nothing.
    """
    named = pl.DataFrame(pl.from_arrow(store.dataset(square, "events").to_table(filter=BY_HANDLE)))
    named = named.filter(handles.is_handle_key(pl.col("target_author")))
    if not len(named):
        return
    if posts is None:
        posts = store.dataset(square, "posts").to_table(columns=READS, filter="author_handle IS NOT NULL")
    authors = (
        pl.DataFrame(pl.from_arrow(posts.select(READS)))
        .filter(pl.col("author_id").is_not_null() & pl.col("author_handle").is_not_null())
        .unique()
        .select(
            author=pl.concat_str([pl.col("network"), pl.lit(":"), pl.col("author_id")]),
            target_author=handles.handle_keys(pl.col("network"), pl.col("author_handle")),
        )
    )
    found = authors.join(named, on="target_author").with_columns(target_author="author").sort("author", "event_id")
    rows = [row | {"event_id": event_id(row)} for row in found.select(EVENTS.names).iter_rows(named=True)]
    store.put_first(square, "events", pa.Table.from_pylist(rows, schema=EVENTS))
