"""How the town's posts become files: one source format a module, each with a Writer. A new network is one new file."""

from __future__ import annotations

import dataclasses
import datetime as dt
import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from townsquare.town.posts import Post
from townsquare.town.world import World


@dataclasses.dataclass
class Expected:
    """What ingest must make of one source file: kept + events + quarantined is all that it sees there."""

    name: str
    format: str
    kept: int = 0
    events: int = 0
    quarantined: dict[str, int] = dataclasses.field(default_factory=dict)


class Writer(Protocol):
    """Takes every post in the order of time, keeps what belongs into its files, and closes them."""

    def __init__(self, folder: Path, world: World) -> None: ...

    def post(self, post: Post) -> None: ...

    def close(self) -> list[Expected]: ...


def writers(folder: Path, world: World) -> list[Writer]:
    """One writer of each format. File names begin with the place in which they are to be ingested."""
    from townsquare.town.formats import bluesky, mastodon, opt_out, x_api_v2, x_archive, x_compliance, x_stream

    modules = (x_compliance, x_api_v2, x_stream, bluesky, mastodon, x_archive, opt_out)
    return [module.Writer(folder, world) for module in modules]


class Later:
    """Lines that a stream has at a later time than now."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []

    def add(self, ms: int, line: str) -> None:
        heapq.heappush(self._waiting, (ms, line))

    def until(self, ms: float) -> Iterator[str]:
        """Those whose time has come, in its order."""
        while self._waiting and self._waiting[0][0] <= ms:
            yield heapq.heappop(self._waiting)[1]


def iso(ms: int) -> str:
    """A moment, in milliseconds since 1970, as X writes it: whole seconds, UTC."""
    return dt.datetime.fromtimestamp(ms // 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def escaped(text: str) -> str:
    """Text as X sends it: only &, < and > are escaped."""
    if "&" in text or "<" in text or ">" in text:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text


def short_link(post: Post, number: int) -> str:
    """The t.co link that stands for a post's link of that number."""
    return f"https://t.co/{(post.id * 31 + number) % 36**10:010x}"[:23]
