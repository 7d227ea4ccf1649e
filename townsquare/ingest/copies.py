"""Takedown in the raw tables: tombstones emptied, quarantined inputs emptied, old versions physically gone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import TYPE_CHECKING

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.ingest import events as event_states
from townsquare.ingest import held_back, store
from townsquare.square import Square
from townsquare.traces import Texts, Traces, as_traces, rows_holding

if TYPE_CHECKING:
    from lance import LanceDataset

BATCH_ROWS = 1 << 16


def erase(square: Square, uids: frozenset[str], texts: Texts = ()) -> dict[str, int]:
    """Remove the posts' content for good. Suppressed posts keep theirs, unread, until they are freed or deleted."""
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    deleted = _in_state(square, "deleted")
    emptied_quarantine = held_back.blank(square, *_gone(square, uids))
    store.purge(square)
    return {"posts": len(deleted & uids), "quarantine": emptied_quarantine}


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count rows, in every version of the tables, that still hold content of the posts.

    What a live post says in the newest version is its author's, whoever else has said it.
    """
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    wanted, traces = pa.array(list(uids), pa.string()), as_traces(texts)
    gone = _gone(square, uids)
    newest = store.dataset(square, "posts").version
    return {
        "posts": sum(
            _in_posts(table, wanted, traces, live_too=table.version < newest) for table in _versions(square, "posts")
        ),
        "quarantine": sum(
            int((held_back.holds(rows, *gone) | held_back.holds_text(rows, traces)).sum())
            for rows in (table.to_table(columns=list(held_back.READS)) for table in _versions(square, "quarantine"))
        ),
    }


def _in_state(square: Square, state: str) -> set[str]:
    posts = store.dataset(square, "posts").to_table(columns=["uid"], filter=f"state = '{state}'")
    return set(posts["uid"].to_pylist())


def _gone(square: Square, uids: frozenset[str]) -> tuple[set[str], set[str]]:
    """The posts among `uids` that are not merely suppressed, and all posts and authors that events name for good."""
    events = store.dataset(square, "events").to_table()
    named, authors = event_states.named_for_good(events)
    return _in_state(square, "deleted") | (set(uids) - _in_state(square, "suppressed")) | named, authors


def _versions(square: Square, name: str) -> Iterator[LanceDataset]:
    for version in store.dataset(square, name).versions():
        yield lance.dataset(store.path(square, name), version=version["version"])


def _in_posts(table: LanceDataset, wanted: pa.Array, traces: Traces, *, live_too: bool) -> int:
    """Rows with content of one of the posts, or that say one of the texts; where not `live_too`, no live post does."""
    hits = 0
    for batch in table.to_batches(columns=["uid", "state", *store.CONTENT_COLUMNS], batch_size=BATCH_ROWS):
        # A suppressed post keeps its text by design; its reversal brings it back without another ingest.
        rows = batch.filter(pc.not_equal(batch["state"], "suppressed"))
        has_content = reduce(pc.or_, (pc.is_valid(rows[name]) for name in store.CONTENT_COLUMNS))
        held = np.array(pc.and_(pc.is_in(rows["uid"], wanted), has_content), bool)
        searched = np.flatnonzero(live_too | np.asarray(pc.not_equal(rows["state"], "live")))
        said = rows.take(pa.array(searched))
        held[searched] |= rows_holding(said["text"], traces) | rows_holding(said["text_raw"], traces)
        hits += int(held.sum())
    return hits
