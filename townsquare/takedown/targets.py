"""What a person named, as posts and authors; and which posts a set of events reaches."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.errors import InputError
from townsquare.ingest import tables
from townsquare.records import NETWORKS, author_key
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig

REMOVED_STATES = ("deleted", "tombstone", "suppressed")


@dataclasses.dataclass(frozen=True)
class Targets:
    """Uids and author keys (NETWORK:ID). A handle that is unknown here names nobody and is refused."""

    posts: tuple[str, ...]
    authors: tuple[str, ...]


def resolve(square: Square, config: TakedownConfig) -> Targets:
    """Turn uids, author keys and @handles into targets. Raises InputError naming what is neither."""
    posts, names = list(config.post), list(config.author)
    for name in _lines(config.list):
        (names if name.startswith("@") or _is_author(square, name) else posts).append(name)
    for uid in posts:
        _check(uid, config.list)
    authors: list[str] = []
    for name in names:
        authors += _by_handle(square, name) if name.startswith("@") else [_check(name, config.list)]
    return Targets(tuple(sorted(set(posts))), tuple(sorted(set(authors))))


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list cannot be read: {error}", place=str(path), remedy="Mend the path.") from error


def _check(name: str, path: Path | None) -> str:
    if not re.match(rf"({'|'.join(NETWORKS)}):.+", name):
        raise InputError(
            f"{name!r} names neither a post nor an author",
            place=str(path) if path else None,
            remedy="Write a post as x:1626922779105759235, an author as x:2244994945 or @handle.",
        )
    return name


def _authors(square: Square) -> pa.Table:
    table = tables.read_posts(square, columns=["network", "author_id", "author_handle"])
    return table.group_by(["network", "author_id", "author_handle"]).aggregate([])


def _is_author(square: Square, name: str) -> bool:
    return any(author_key(r["network"], r["author_id"] or "") == name for r in _authors(square).to_pylist())


def _by_handle(square: Square, handle: str) -> list[str]:
    wanted = handle.removeprefix("@").casefold()
    found = [
        author_key(row["network"], row["author_id"])
        for row in _authors(square).to_pylist()
        if row["author_id"] and (row["author_handle"] or "").casefold() == wanted
    ]
    if not found:
        raise InputError(
            f"nobody here has the handle {handle}",
            remedy="Name the author by id, as x:2244994945: then it holds for posts that come later too.",
        )
    return found


def removed_uids(square: Square) -> frozenset[str]:
    """Every post that no copy may hold now: its state in the posts table is not live."""
    states = tables.read_posts(square, columns=["uid", "state"])
    gone = states.filter(pc.is_in(states["state"], pa.array(REMOVED_STATES)))
    return frozenset(gone["uid"].to_pylist())


def texts_only_of(square: Square, uids: frozenset[str], shortest: int = 24) -> list[str]:
    """Texts of those posts that a search can tell apart: long enough, and in no post that stays.

    A text that somebody else also wrote may rightly stand in a copy, so it proves nothing.
    """
    posts = tables.read_posts(square, columns=["uid", "text"])
    leaving = pc.is_in(posts["uid"], pa.array(sorted(uids), pa.string()))
    mine = {text for text in posts.filter(leaving)["text"].to_pylist() if text and len(text) >= shortest}
    kept = posts.filter(pc.invert(leaving))["text"].to_pylist()
    mine -= set(kept)
    if not mine:
        return []
    haystack = "\n".join(text for text in kept if text)
    return sorted(text for text in mine if text not in haystack)


def event_rows(targets: Targets, config: TakedownConfig, source: str) -> Sequence[dict[str, object]]:
    """One event (records.EVENTS) a target; its id follows from kind, target and reason, so a replay is the same."""
    import datetime as dt
    import hashlib

    from townsquare import records

    rows = []
    pairs = [(uid, None) for uid in targets.posts] + [(None, author) for author in targets.authors]
    for uid, author in pairs:
        kind = config.kind or ("delete" if uid else "author_delete")
        digest = hashlib.sha256(f"{source}|{kind}|{uid}|{author}|{config.reason}".encode()).hexdigest()
        now = dt.datetime.now(dt.UTC)
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
                "event_at": now,
                "received_at": now,
                "source_id": "takedown",
                "source_sha256": digest,
                "source_locator": source,
            }
        )
    return rows
