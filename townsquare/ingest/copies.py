"""Takedown in the raw tables: tombstones emptied, quarantined inputs emptied, old versions physically gone."""

from __future__ import annotations

from collections.abc import Sequence

import lance
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.ingest import events as event_states
from townsquare.ingest import held_back, store
from townsquare.square import Square


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Remove the posts' content for good. Suppressed posts keep theirs, unread, until they are freed or deleted."""
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    states = store.dataset(square, "posts").to_table(columns=["uid", "state"])
    emptied = pc.and_(pc.equal(states["state"], "deleted"), pc.is_in(states["uid"], _array(uids)))
    emptied_quarantine = held_back.blank(square, *_gone(square, uids))
    store.purge(square)
    return {"posts": int(pc.sum(emptied).as_py() or 0), "quarantine": emptied_quarantine}


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count rows, in every version of the tables, that still hold content of the posts."""
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    wanted, said = _array(uids), pa.array(list(texts), pa.string())
    uids_gone, authors_gone = _gone(square, uids)
    return {
        "posts": sum(
            _in_posts(table, wanted, said) for table in _versions(square, "posts", ["uid", "state", "text", "text_raw"])
        ),
        "quarantine": sum(
            by_id or by_text
            for table in _versions(square, "quarantine", list(held_back.READS))
            for by_id, by_text in zip(
                held_back.holds(table, uids_gone, authors_gone), held_back.holds_text(table, texts), strict=True
            )
        ),
    }


def _array(uids: frozenset[str]) -> pa.Array:
    return pa.array(sorted(uids), pa.string())


def _gone(square: Square, uids: frozenset[str]) -> tuple[set[str], set[str]]:
    """The posts among `uids` that are not merely suppressed, and all posts and authors that events name for good."""
    posts = store.dataset(square, "posts").to_table(columns=["uid", *event_states.READS[1:], "state"])
    events = store.dataset(square, "events").to_table()
    suppressed = set(posts.filter(pc.equal(posts["state"], "suppressed"))["uid"].to_pylist())
    named, authors = event_states.gone(events, event_states.states(posts, events))
    return (set(uids) - suppressed) | named, authors


def _versions(square: Square, name: str, columns: list[str]) -> list[pa.Table]:
    newest = store.dataset(square, name)
    numbers = [version["version"] for version in newest.versions()]
    return [lance.dataset(store.path(square, name), version=n).to_table(columns=columns) for n in numbers]


def _in_posts(table: pa.Table, wanted: pa.Array, texts: pa.Array) -> int:
    # A suppressed post keeps its text by design; its reversal brings it back without another ingest.
    table = table.filter(pc.not_equal(table["state"], "suppressed"))
    has_text = pc.or_(pc.is_valid(table["text"]), pc.is_valid(table["text_raw"]))
    by_uid = pc.and_(pc.is_in(table["uid"], wanted), has_text)
    by_text = pc.or_(*(pc.is_in(pc.fill_null(table[name], ""), texts) for name in ("text", "text_raw")))
    return int(pc.sum(pc.or_(by_uid, by_text)).as_py() or 0)
