"""`lookup`: am I in it? Where a post or an author's posts stand now, in figures and ids, never in words."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.errors import InputError
from townsquare.ingest import tables
from townsquare.ledger import Ledger
from townsquare.records import NETWORKS, author_key
from townsquare.square import Square
from townsquare.takedown.copies import HOLDERS, models_of_runs, seen_by_runs
from townsquare.takedown.targets import Authors, remembered_handles


def lookup(square: Square, name: str) -> dict[str, Any]:
    """Everything that the square holds of a uid, an author (NETWORK:ID) or a @handle.

    Raises InputError for a name of no such form, StaleError when nothing was ingested yet.
    """
    posts = tables.posts_dataset(square).to_table(columns=["uid", "network", "author_id", "state", "source_id"])
    authors = _authors(square, name)
    by_author = pc.is_in(
        pc.binary_join_element_wise(posts["network"], posts["author_id"], ":"), pa.array(authors, pa.string())
    )
    mine = posts.filter(pc.or_(pc.equal(posts["uid"], name), pc.fill_null(by_author, False)))
    uids = frozenset(mine["uid"].to_pylist())
    runs = seen_by_runs(square, uids)
    events = _events(square, name, authors)
    return {
        "known": bool(uids or events),
        "authors": authors if name.startswith("@") else sorted({_key(row) for row in mine.to_pylist()} - {None}),
        "posts": dict(sorted(Counter(mine["state"].to_pylist()).items())),
        "sources": dict(sorted(Counter(mine["source_id"].to_pylist()).items())),
        "copies": _copies(square, uids),
        "runs_that_saw_them": runs,
        "models_that_saw_them": models_of_runs(square, runs),
        "events": events,
        "takedowns": _takedowns(square, {name, *authors}),
    }


def _key(row: dict[str, Any]) -> str | None:
    return author_key(row["network"], row["author_id"]) if row["author_id"] else None


def _authors(square: Square, name: str) -> list[str]:
    """Author keys that the name may mean: X's ids of posts and of authors look alike, so both are looked up."""
    if name.startswith("@"):
        return Authors(square).known_as(name, remembered_handles(square))
    if name.split(":", 1)[0] not in NETWORKS or not name.split(":", 1)[-1]:
        raise InputError(
            f"{name!r} names neither a post nor an author",
            remedy="Write a post as x:1626922779105759235, an author as x:2244994945 or @handle.",
        )
    return [name]


def _copies(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Rows of each copy beside the raw table that hold one of the posts."""
    counts: dict[str, int] = {}
    for part in HOLDERS:
        if part != "ingest":
            counts |= importlib.import_module(f"townsquare.{part}.copies").find(square, uids, [])
    return counts


def _events(square: Square, name: str, authors: list[str]) -> list[dict[str, Any]]:
    named = pa.array([name, *authors], pa.string())
    events = tables.read_events(square)
    about = pc.or_(*(pc.fill_null(pc.is_in(events[c], named), False) for c in ("target_uid", "target_author")))
    rows = events.filter(about).select(["kind", "scope", "reversible", "event_at", "received_at"]).to_pylist()
    return [
        {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in r.items()} for r in rows
    ]


def _takedowns(square: Square, names: set[str]) -> list[dict[str, Any]]:
    """Takedowns that named the post or the author, by their rows in the ledger."""
    with Ledger.open(square) as ledger:
        return [
            {"ledger_row": entry.seq, **{key: entry.body[key] for key in ("received_at", "applied_at")}}
            for entry in ledger.entries("takedown")
            if not names.isdisjoint([*entry.body["posts"], *entry.body["authors"]])
        ]
