"""What a person named, as posts and authors, and as the events that take them down."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from townsquare import records
from townsquare.errors import InputError, StaleError
from townsquare.ingest import tables
from townsquare.ledger import Ledger
from townsquare.records import NETWORKS, author_key
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig

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


def resolve(square: Square, config: TakedownConfig) -> Targets:
    """Turn uids, author keys and @handles into targets. Raises InputError naming what is neither.

    In a list a name is an author when posts of that author are here, else a post.
    """
    posts, names, listed = list(config.post), list(config.author), _lines(config.list)
    handles_named = any(name.startswith("@") for name in (*names, *listed))
    here = Authors(square) if listed or handles_named else None
    for name in listed:
        (names if name.startswith("@") or (here and name in here.keys) else posts).append(name)
    for uid in posts:
        _check(uid, config.list)
    authors, handles = [], []
    remembered = remembered_handles(square) if handles_named else {}
    for name in names:
        if here is not None and name.startswith("@"):
            authors.append(here.by_handle(name, remembered))
            handles.append((handle_hash(name), authors[-1]))
        else:
            authors.append(_check(name, config.list))
    return Targets(tuple(sorted(set(posts))), tuple(sorted(set(authors))), tuple(sorted(set(handles))))


def handle_hash(handle: str) -> str:
    """One-way: a handle is remembered only as what the same handle hashes to."""
    return hashlib.sha256(handle.removeprefix("@").casefold().encode()).hexdigest()


class Authors:
    """The authors of the posts here, by key and by the handles that they have now."""

    def __init__(self, square: Square) -> None:
        columns = ["network", "author_id", "author_handle"]
        try:
            table = tables.posts_dataset(square).to_table(columns=columns).group_by(columns).aggregate([])
        except StaleError:  # a takedown may come before the first post
            table = records.POSTS.empty_table().select(columns)
        self.keys: set[str] = set()
        self._by_handle: dict[str, set[str]] = defaultdict(set)
        for network, author, handle in zip(*(table[name].to_pylist() for name in columns), strict=True):
            if author:
                key = author_key(network, author)
                self.keys.add(key)
                self._by_handle[(handle or "").casefold()].add(key)

    def known_as(self, handle: str, remembered: Handles) -> list[str]:
        """Authors who have the handle now, or else the one whom an earlier takedown named by it."""
        found = sorted(self._by_handle.get(handle.removeprefix("@").casefold(), ()))
        known = remembered.get(handle_hash(handle))
        return found or ([known] if known else [])

    def by_handle(self, handle: str, remembered: Handles) -> str:
        """The one author that has the handle. Raises InputError where there are several or none."""
        found = self.known_as(handle, remembered)
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


def remembered_handles(square: Square) -> dict[str, str]:
    """Authors by the hash of the handle that an earlier takedown named them by, the latest last."""
    with Ledger.open(square) as ledger:
        return {k: v for entry in ledger.entries("takedown_asked") for k, v in entry.body["handles"].items()}


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
