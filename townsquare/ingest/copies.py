"""Takedown in the raw tables: tombstones emptied, quarantined inputs emptied, old versions physically gone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.ingest import events as event_states
from townsquare.ingest import held_back, store
from townsquare.square import Square
from townsquare.traces import Texts, Traces, as_traces, rows_holding


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Remove the posts' content for good. Suppressed posts keep theirs, unread, until they are freed or deleted."""
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    deleted = _in_state(square, "deleted")
    emptied_quarantine = held_back.blank(square, *_gone(square, uids))
    store.purge(square)
    return {"posts": len(deleted & uids), "quarantine": emptied_quarantine}


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count rows, in every version of the tables, that still hold content of the posts."""
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    wanted, traces = _array(uids), as_traces(texts)
    gone = _gone(square, uids)
    return {
        "posts": sum(
            _in_posts(table, wanted, traces)
            for table in _versions(square, "posts", ["uid", "state", *store.CONTENT_COLUMNS])
        ),
        "quarantine": sum(
            int((held_back.holds(table, *gone) | held_back.holds_text(table, traces)).sum())
            for table in _versions(square, "quarantine", list(held_back.READS))
        ),
    }


def _array(uids: frozenset[str]) -> pa.Array:
    return pa.array(sorted(uids), pa.string())


def _in_state(square: Square, state: str) -> set[str]:
    posts = store.dataset(square, "posts").to_table(columns=["uid"], filter=f"state = '{state}'")
    return set(posts["uid"].to_pylist())


def _gone(square: Square, uids: frozenset[str]) -> tuple[set[str], set[str]]:
    """The posts among `uids` that are not merely suppressed, and all posts and authors that events name for good."""
    events = store.dataset(square, "events").to_table()
    named, authors = event_states.named_for_good(events)
    return _in_state(square, "deleted") | (set(uids) - _in_state(square, "suppressed")) | named, authors


def _versions(square: Square, name: str, columns: list[str]) -> Iterator[pa.Table]:
    for version in store.dataset(square, name).versions():
        yield lance.dataset(store.path(square, name), version=version["version"]).to_table(columns=columns)


def _in_posts(table: pa.Table, wanted: pa.Array, traces: Traces) -> int:
    # A suppressed post keeps its text by design; its reversal brings it back without another ingest.
    table = table.filter(pc.not_equal(table["state"], "suppressed"))
    has_content = reduce(pc.or_, (pc.is_valid(table[name]) for name in store.CONTENT_COLUMNS))
    by_uid = np.asarray(pc.and_(pc.is_in(table["uid"], wanted), has_content))
    by_text = rows_holding(table["text"], traces)
    other = np.flatnonzero(np.asarray(pc.fill_null(pc.not_equal(table["text"], table["text_raw"]), True)))
    by_text[other] |= rows_holding(table["text_raw"].take(pa.array(other)), traces)
    return int((by_uid | by_text).sum())
