"""How things stand: the tables, the gate and what was read of them, kept between questions until something changes.

Whether it did is asked anew for every question, of names and times of files alone: so a takedown, an opt-out or a
revoked grant takes effect at the next question, before any index is rebuilt, and what this held of it is dropped.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from townsquare.consent import gate
from townsquare.ingest import tables
from townsquare.ledger import chain
from townsquare.serve import index
from townsquare.serve.live import NEEDED, PURPOSES, Post, posts_in
from townsquare.serve.meaning import Reading
from townsquare.square import Square

if TYPE_CHECKING:
    from lance import LanceDataset

BEFORE, AFTER = 4, 6
"""Posts that a card shows of a thread, before and after its own."""
MOST_REPLIES = 200
READINGS = 4096
"""Texts whose reading is kept, about 5 KB each."""
MOST_POSTS = 20_000
"""Posts whose standing is kept, about 1 KB each."""
MOST_WORDS = 100_000

Stamp = tuple[object, ...]
T = TypeVar("T")


class Standing:
    """The newest `Now` of a square. Safe for threads."""

    def __init__(self, square: Square) -> None:
        self._square = square
        self._lock = threading.Lock()
        self._now: Now | None = None

    def now(self) -> Now:
        """As things stand at this moment. What is not there is missed when it is first read (StaleError)."""
        with self._lock:
            self._now = Now.of(self._square, self._now)
            return self._now

    def read(self, ask: Callable[[Now], T]) -> T:
        """What `ask` makes of how things stand, asked anew where that changed under it.

        A takedown removes the files of older versions at once: who was reading one begins again with what replaced it.
        """
        while True:
            now = self.now()
            try:
                return ask(now)
            except (OSError, ValueError):  # Arrow's error for a file that is not there is a ValueError
                if self.now() is now:
                    raise


class Now:
    """One state of a square, for reading. It stays what it is; a later one may differ."""

    def __init__(self, square: Square, stamps: tuple[Stamp, Stamp, Stamp], before: Now | None) -> None:
        self.square, self.stamps = square, stamps
        same = before.stamps if before else ((), (), ())
        words, rows = functools.partial(index.dataset, square), functools.partial(tables.posts_dataset, square)
        self.words: Counts = before.words if before and same[0] == stamps[0] else Counts(words)
        self._rows: Rows = before._rows if before and same[1] == stamps[1] else Rows(rows)
        self._posts: dict[str, Post | None] = {}  # None: it may not be shown
        self.reading = functools.lru_cache(maxsize=READINGS)(Reading.of)
        self.stated = functools.lru_cache(maxsize=READINGS)(Reading.of_statements)

    @classmethod
    def of(cls, square: Square, before: Now | None) -> Now:
        """The state now: `before` itself where nothing changed since."""
        posts, *said = standing_of(square)
        stamps = (_version(index.path(square)), posts, tuple(said))
        return before if before and before.stamps == stamps else cls(square, stamps, before)

    @functools.cached_property
    def _permit(self) -> gate.Permit:
        return gate.Permit(tables.read_consent(self.square), PURPOSES, gate.today())

    def allowed(self, uids: Collection[str]) -> dict[str, Post]:
        """Those of the posts that the gate lets be both retrieved and displayed, by uid."""
        known = self._posts
        if new := [uid for uid in uids if uid not in known]:
            found = self._rows.take(new)
            shown = {post.uid: post for post in posts_in(found.filter(self._permit.allowed(found)))}
            if len(known) > MOST_POSTS:
                self._posts = known = {uid: known[uid] for uid in uids if uid in known}
            known.update({uid: shown.get(uid) for uid in new})
        return {uid: post for uid in uids if (post := known[uid]) is not None}

    def around(self, uid: str) -> tuple[list[Post], list[Post]]:
        """What may be shown of the thread around a post: what it replies to, first post first, and first replies."""
        before: list[Post] = []
        here = self.allowed([uid]).get(uid)
        while here and here.reply_to and len(before) < BEFORE and here.reply_to not in {post.uid for post in before}:
            here = self.allowed([here.reply_to]).get(here.reply_to)
            before[:0] = [here] if here else []
        where = f"reply_to = {index.quoted([uid])}"
        replies = self._rows.table.to_table(columns=["uid"], filter=where, limit=MOST_REPLIES)["uid"].to_pylist()
        after = sorted(self.allowed(replies).values(), key=lambda post: (post.created_at or "", post.uid))
        return before, after[:AFTER]


class Counts:
    """The index, and how many of its posts hold a word: each word is looked up once."""

    def __init__(self, opened: Callable[[], LanceDataset]) -> None:
        self._opened = opened
        self._held: dict[str, int] = {}

    @functools.cached_property
    def table(self) -> LanceDataset:
        """The index. Raises StaleError when there is none."""
        return self._opened()

    def count(self, word: str) -> int:
        """How many posts hold a word, by the index's own stems."""
        if word not in self._held:
            if len(self._held) >= MOST_WORDS:
                self._held.clear()
            self._held[word] = index.count(self.table, word)
        return self._held[word]

    @functools.cached_property
    def newest(self) -> dt.datetime | None:
        """When the newest post was written."""
        return index.newest(self.table)

    @functools.cached_property
    def rows(self) -> int:
        return int(self.table.count_rows())


class Rows:
    """The posts table, and in which row each uid is: a look-up takes microseconds where a scan takes as long as all."""

    def __init__(self, opened: Callable[[], LanceDataset]) -> None:
        self._opened = opened

    @functools.cached_property
    def table(self) -> LanceDataset:
        """The posts table. Raises StaleError when nothing was ingested yet."""
        return self._opened()

    @functools.cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all uids, ascending, and the row of each: 16 bytes a post."""
        hashes = _hashes(self.table.to_table(columns=["uid"])["uid"])
        order = np.argsort(hashes)
        return hashes[order], order

    def take(self, uids: Collection[str]) -> pa.Table:
        """The rows (live.NEEDED) of these uids; of uids that are not here none."""
        wanted = pa.array(sorted(uids), pa.string())
        hashes, rows = self._places
        first, end = (np.searchsorted(hashes, _hashes(wanted), side) for side in ("left", "right"))
        held = np.unique(np.concatenate([rows[a:b] for a, b in zip(first, end, strict=True)] or [rows[:0]]))
        found = self.table.take(held.tolist(), columns=list(NEEDED)) if len(held) else self._none()
        return found.filter(pa.compute.is_in(found["uid"], wanted))  # two uids may have one hash

    def _none(self) -> pa.Table:
        return pa.schema([self.table.schema.field(name) for name in NEEDED]).empty_table()


def _hashes(uids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return pl.Series(pl.from_arrow(uids), dtype=pl.String).hash().to_numpy()


def standing_of(square: Square) -> tuple[Stamp, Stamp, Stamp, dt.date]:
    """What differs when the posts, the events, the ledger or the day do."""
    posts, events = (_version(square.posts / f"{name}.lance") for name in ("posts", "events"))
    return posts, events, chain.state(square), gate.today()


def written(path: Path) -> Stamp:
    """What differs when a file was written anew; empty when there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return ()
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _version(table: Path) -> Stamp:
    """What tells one version of a table from every other, and from a table put in its place."""
    folder = table / "_versions"
    try:
        return (*written(folder), *sorted(os.listdir(folder)))
    except FileNotFoundError:
        return ()
