"""A small square with an index, and an engine that says what a test tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from townsquare.consent.grants import Grant, add_grant
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.model.chat import Turn
from townsquare.receipts import Receipt
from townsquare.serve.assistant import Assistant
from townsquare.serve.config import IndexConfig, ServeConfig
from townsquare.serve.engines import Sampling
from townsquare.serve.run import run as build_index
from townsquare.square import Square

Row = tuple[str, str, str, str | None, str]  # id, author, text, reply to, created at

POSTS: list[Row] = [
    ("1", "ann", "When does Harbour Bakery open?", None, "2024-01-01T10:00:00Z"),
    ("2", "bob", "At 7:30 I think", "1", "2024-01-01T11:00:00Z"),
    ("3", "cid", "Harbour Bakery opens at 8:00 these days. Bring coffee.", None, "2024-02-01T11:00:00Z"),
    ("4", "dee", "Lovely place: Harbour Bakery is owned by Mira Holt", None, "2024-02-02T11:00:00Z"),
    ("5", "eve", "Lowfield Otters beat Marsh Rovers 3-1 yesterday!", None, "2024-02-03T11:00:00Z"),
    ("6", "fay", "no idea, sorry mate, honestly", "1", "2024-02-04T11:00:00Z"),
    ("7", "gil", "The old library is quiet when it rains in spring", None, "2024-02-05T11:00:00Z"),
]


class Says:
    """An engine that always says the same, a few characters at a time, and remembers what it was asked."""

    name = "says"
    parallel = 1
    offers = frozenset({"json"})

    def __init__(self, text: str | Callable[[str], str]) -> None:
        self._text = text
        self.asked: list[list[Turn]] = []
        self.closed = False

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str]:
        self.asked.append(list(messages))
        text = self._text if isinstance(self._text, str) else self._text(messages[-1][1])
        yield from (text[start : start + 3] for start in range(0, len(text), 3))

    def close(self) -> None:
        self.closed = True


def write_posts(square: Square, posts: Sequence[Row], name: str = "posts") -> None:
    """Ingest posts as a JSONL table; uids are table:ID."""
    path: Path = square.root.parent / f"{name}.jsonl"
    keys = ("id", "author", "text", "reply_to", "created_at")
    path.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in posts), encoding="utf-8")
    ingest(square, IngestConfig(paths=(path,), name=name))


def allow(square: Square, *purposes: str, name: str = "all") -> None:
    add_grant(square, Grant(name, "Owner", "User", purposes or ("retrieve", "display"), sources=("*",)))


def indexed(square: Square, posts: Sequence[Row] = POSTS) -> Receipt:
    """Ingest, allow and index."""
    write_posts(square, posts)
    allow(square)
    return build_index(square, IndexConfig())


def assistant(square: Square, says: str | Callable[[str], str] = "") -> Assistant:
    return Assistant(square, ServeConfig(), Says(says))
