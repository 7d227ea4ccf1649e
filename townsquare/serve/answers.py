"""What the assistant hands back: an answer, its sentences, and the posts that they rest on."""

from __future__ import annotations

import dataclasses
from typing import Any

from townsquare.serve.engines import Spent

CHARACTERS_PER_TOKEN = 3
"""A cautious guess: English posts have about 4."""


@dataclasses.dataclass(frozen=True)
class Citation:
    """A post as it may be shown beside an answer, under the number that the answer's sentences use."""

    number: int
    uid: str
    author_handle: str | None
    author: str
    """The author's key, NETWORK:AUTHOR_ID."""
    created_at: str | None
    """ISO 8601, UTC."""
    text: str
    url: str | None
    network: str


@dataclasses.dataclass(frozen=True)
class Sentence:
    """One sentence of an answer, and what the check found out about it."""

    text: str
    """Without its citation marks."""
    citations: tuple[int, ...]
    supported: bool
    """Whether a cited post says so: its names, numbers and most of its words stand there."""
    quoted: bool
    """Whether it is a post's own words."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A whole answer after the check; `text` is what the sentences and their marks read as, or the JSON asked for."""

    text: str
    sentences: tuple[Sentence, ...]
    citations: tuple[Citation, ...]
    as_of: str | None
    """ISO date of the newest post in the index; None when it holds none with a date."""
    found: bool
    """Whether the index held a post about the question."""
    engine: str
    """The model's name."""
    spent: Spent | None = None
    """The tokens that the engine read and wrote for it."""
    refused: bool = False
    """Whether JSON was asked for and `text` says instead why there is none."""
    tokens: tuple[dict[str, Any], ...] | None = None
    """What the engine told of the tokens of those sentences that stand (engines.Piece); None: it was not asked."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, field by field."""
        return dataclasses.asdict(self)
