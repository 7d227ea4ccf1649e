"""What a person named, as posts and authors; and which posts, with which texts, the stored events reach."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from townsquare import records
from townsquare.errors import InputError, StaleError
from townsquare.ingest import tables
from townsquare.records import NETWORKS, author_key
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.traces import texts_held

REMOVED_STATES = ("deleted", "tombstone", "suppressed")
SHORTEST_TEXT = 24  # characters; a shorter text is too often somebody else's too

Handles = Mapping[str, str]
"""Hash of a handle to the author who had it when a takedown named them by it: their posts no longer say."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """Uids and author keys (NETWORK:ID); and of authors named by handle (hash of the handle, author key)."""

    posts: tuple[str, ...]
    authors: tuple[str, ...]
    handles: tuple[tuple[str, str], ...] = ()

    def kinds(self, config: TakedownConfig) -> Mapping[str, str]:
        """The kind of event for each target."""
        posts: dict[str, str] = dict.fromkeys(self.posts, config.kind or "delete")
        return posts | dict.fromkeys(self.authors, config.kind or "author_delete")


def resolve(square: Square, config: TakedownConfig, remembered: Handles) -> Targets:
    """Turn uids, author keys and @handles into targets. Raises InputError naming what is neither.

    In a list a name is an author when posts of that author are here, else a post.
    """
    here = _Authors(square)
    posts, names = list(config.post), list(config.author)
    for name in _lines(config.list):
        (names if name.startswith("@") or name in here.keys else posts).append(name)
    for uid in posts:
        _check(uid, config.list)
    authors, handles = [], []
    for name in names:
        if name.startswith("@"):
            authors.append(here.by_handle(name, remembered))
            handles.append((handle_hash(name), authors[-1]))
        else:
            authors.append(_check(name, config.list))
    return Targets(tuple(sorted(set(posts))), tuple(sorted(set(authors))), tuple(sorted(set(handles))))


def handle_hash(handle: str) -> str:
    """One-way: a handle is remembered only as what the same handle hashes to."""
    return hashlib.sha256(handle.removeprefix("@").casefold().encode()).hexdigest()


class _Authors:
    """The authors of the posts here, by key and by the handles that they have now."""

    def __init__(self, square: Square) -> None:
        columns = ["network", "author_id", "author_handle"]
        try:
            table = tables.read_posts(square, columns=columns).group_by(columns).aggregate([])
        except StaleError:  # a takedown may come before the first post
            table = records.POSTS.empty_table().select(columns)
        self.keys: set[str] = set()
        self._by_handle: dict[str, set[str]] = defaultdict(set)
        for row in table.to_pylist():
            if row["author_id"]:
                key = author_key(row["network"], row["author_id"])
                self.keys.add(key)
                self._by_handle[(row["author_handle"] or "").casefold()].add(key)

    def by_handle(self, handle: str, remembered: Handles) -> str:
        found = sorted(self._by_handle.get(handle.removeprefix("@").casefold(), ()))
        if not found and handle_hash(handle) in remembered:
            return remembered[handle_hash(handle)]
        if len(found) > 1:
            raise InputError(
                f"several authors have the handle {handle}: {', '.join(found)}",
                remedy="Name the one that is meant by id, as --author " + found[0],
            )
        if not found:
            raise InputError(
                f"nobody here has the handle {handle}",
                remedy="Name the author by id, as x:2244994945: then it holds for posts that come later too.",
            )
        return found[0]


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list cannot be read: {error}", place=str(path), remedy="Mend the path.") from error


def _check(name: str, path: Path | None) -> str:
    if not re.fullmatch(rf"({'|'.join(NETWORKS)}):\S.*", name):
        raise InputError(
            f"{name!r} names neither a post nor an author",
            place=str(path) if path else None,
            remedy="Write a post as x:1626922779105759235, an author as x:2244994945 or @handle.",
        )
    return name


def removed_uids(square: Square) -> frozenset[str]:
    """Every post that no copy may hold now: its state in the posts table is not live."""
    states = tables.read_posts(square, columns=["uid", "state"])
    gone = states.filter(pc.is_in(states["state"], pa.array(REMOVED_STATES)))
    return frozenset(gone["uid"].to_pylist())


def texts_only_of(square: Square, uids: frozenset[str], shortest: int = SHORTEST_TEXT) -> list[str]:
    """Texts of those posts that a search can tell apart: long enough, and in no post that stays.

    A text that somebody else also wrote may rightly stand in a copy, so it proves nothing. Both the
    text as received and the clean one count: copies hold either.
    """
    posts = tables.read_posts(square, columns=["uid", "text", "text_raw"])
    leaving = pc.is_in(posts["uid"], pa.array(sorted(uids), pa.string()))
    going, kept = posts.filter(leaving), posts.filter(pc.invert(leaving))
    mine = {text for text in _texts(going) if text and len(text) >= shortest}
    return sorted(mine - texts_held(_texts(kept), mine))


def _texts(posts: pa.Table) -> list[str | None]:
    said: list[str | None] = posts["text"].to_pylist()
    return said + [raw for raw, text in zip(posts["text_raw"].to_pylist(), said, strict=True) if raw != text]


def event_rows(targets: Targets, config: TakedownConfig, source: str, at: dt.datetime) -> pa.Table:
    """One event (records.EVENTS) a target; its id follows from kind, target and reason, so a replay is the same."""
    rows = []
    for target, kind in targets.kinds(config).items():
        uid, author = (target, None) if target in targets.posts else (None, target)
        digest = hashlib.sha256(f"{source}|{kind}|{uid}|{author}|{config.reason}".encode()).hexdigest()
        rows.append(
            dict.fromkeys(records.EVENTS.names)
            | {
                "event_id": f"takedown:{digest[:32]}",
                "kind": kind,
                "target_uid": uid,
                "target_author": author,
                "scope": "all",
                "reversible": kind not in ("delete", "author_delete"),
                "reason": config.reason,
                "event_at": at,
                "received_at": at,
                "source_id": "takedown",
                "source_sha256": digest,
                "source_locator": source,
            }
        )
    return pa.Table.from_pylist(rows, schema=records.EVENTS)
