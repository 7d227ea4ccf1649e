"""Rows gathered into slabs, large enough that what a commit costs does not count, and each committed whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.ingest import events as event_states
from townsquare.ingest import named_by_handle, removed, store
from townsquare.ingest.known import Known
from townsquare.ingest.merging import merged
from townsquare.ingest.rows import Item
from townsquare.records import EVENTS, POSTS, QUARANTINE
from townsquare.square import Square

SLAB_ROWS = 250_000
ROWS_AS_OBJECTS = 20_000  # a row as a Python object takes ten times the memory that it takes in a table


@dataclasses.dataclass(frozen=True)
class Slab:
    """What one commit writes (records.POSTS, EVENTS, QUARANTINE)."""

    posts: pa.Table
    events: pa.Table
    quarantine: pa.Table


class Gathering:
    """Items on their way into slabs."""

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {"post": [], "event": [], "quarantine": []}
        self._tables: dict[str, list[pa.Table]] = {"post": [], "event": [], "quarantine": []}
        self._as_objects = self._held = 0

    def add(self, item: Item) -> None:
        if item[0] == "posts":
            self._tables["post"].append(item[1])
            self._held += len(item[1])
            return
        self._rows[item[0]].append(item[1])
        self._as_objects += 1
        self._held += 1
        if self._as_objects >= ROWS_AS_OBJECTS:
            self._settle()

    @property
    def full(self) -> bool:
        return self._held >= SLAB_ROWS

    def _settle(self) -> None:
        for kind, schema in (("post", POSTS), ("event", EVENTS), ("quarantine", QUARANTINE)):
            if self._rows[kind]:
                self._tables[kind].append(pa.Table.from_pylist(self._rows[kind], schema=schema))
            self._rows[kind] = []
        self._as_objects = 0

    def take(self) -> Slab:
        """All that was gathered, to begin anew."""
        self._settle()
        posts, events, quarantine = (
            pa.concat_tables([schema.empty_table(), *self._tables[kind]])
            for kind, schema in (("post", POSTS), ("event", EVENTS), ("quarantine", QUARANTINE))
        )
        self.__init__()  # type: ignore[misc]
        return Slab(posts, events, quarantine)


def commit(square: Square, slab: Slab, known: Known) -> None:
    """Events first, so that no reader ever sees a post that was already deleted."""
    with store.writing(square):
        store.put_first(square, "events", slab.events)
        named_by_handle.resolve(square, slab.posts)
        if len(slab.posts):
            events = store.dataset(square, "events").to_table()
            fresh, changed = merged(square, slab.posts, known)
            store.append(square, "posts", _in_state(square, fresh, slab.posts, events))
            store.upsert(square, "posts", _in_state(square, changed, slab.posts, events))
            known.stored(fresh["uid"])
        store.put_first(square, "quarantine", slab.quarantine)


def _in_state(square: Square, posts: pa.Table, coming: pa.Table, events: pa.Table) -> pa.Table:
    """The posts in the states that the events give them; a repost's hangs on its original's, coming or stored."""
    if not len(events) or not len(posts):
        return posts
    columns = list(event_states.READS)
    missing = pc.unique(posts["repost_of"].filter(pc.is_valid(posts["repost_of"])))
    stored = store.rows_of(square, "posts", missing, columns)
    others = pa.concat_tables([stored, coming.select(columns)])
    others = others.filter(pc.is_in(others["uid"], missing))
    others = others.filter(pc.invert(pc.is_in(others["uid"], posts["uid"].combine_chunks())))
    known = pa.concat_tables([others, posts.select(columns)])
    wanted = event_states.states(known, events)
    removed.remember(square, event_states.leaving(posts, wanted))
    in_state = event_states.with_states(posts, wanted)
    if pc.any(pc.equal(in_state["state"], "deleted")).as_py():
        store.mark_purge(square)  # the post may stand in the table with its content until now
    return in_state
