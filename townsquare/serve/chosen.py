"""Which posts go into the index: those that the gate lets be retrieved, less those that answer nothing."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.consent import gate
from townsquare.ingest import tables
from townsquare.serve import index, words
from townsquare.serve.config import IndexConfig
from townsquare.square import Square

NEEDED = tuple(dict.fromkeys([*gate.COLUMNS, *index.COLUMNS, "is_latest_edit"]))


def reasons_to_leave_out(square: Square, posts: pa.Table, config: IndexConfig, at: dt.date) -> pa.Array:
    """For each post why it is not in the index, or null: the gate's reasons first, then those of the index.

    Raises GrantError when the gate lets none through.
    """
    reasons = gate.refusals(posts, tables.read_consent(square), "retrieve", at)
    gate.require_any(reasons, "retrieve")
    own = own_reasons(posts, pc.is_null(reasons), config)
    return pc.coalesce(reasons, own)


def own_reasons(posts: pa.Table, allowed: pa.Array, config: IndexConfig) -> pa.Array:
    """repost, superseded, short or copy. Of texts that are alike the earliest post stays."""
    order = pc.sort_indices(posts, [("created_at", "ascending"), ("uid", "ascending")])
    columns = ("text", "text_status", "repost_of", "repost_of_author", "is_latest_edit")
    row = {name: posts[name].to_pylist() for name in columns}
    may = allowed.to_pylist()
    found: list[str | None] = [None] * len(posts)
    seen: set[str] = set()
    for i in order.to_pylist():
        if not may[i]:
            continue
        print_ = words.fingerprint(row["text"][i] or "")
        if row["repost_of"][i] is not None or row["repost_of_author"][i] is not None:
            found[i] = "repost"
        elif row["is_latest_edit"][i] is False:
            found[i] = "superseded"
        elif row["text_status"][i] == "missing" or len(print_.split()) < config.shortest_words:
            found[i] = "short"
        elif print_ in seen:
            found[i] = "copy"
        else:
            seen.add(print_)
    return pa.array(found, pa.string())
