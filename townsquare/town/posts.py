"""A post of the town, with its hidden truth, before any format writes it."""

from __future__ import annotations

import dataclasses

from townsquare.town.world import Fact, Person


@dataclasses.dataclass(slots=True, eq=False)
class Post:
    """What was said, by whom, in answer to what; and what is true of it.

    `text` is what an importer must arrive at: links expanded, no mentions in front, nothing escaped.
    """

    person: Person
    text: str
    kind: str
    lang: str = "en"
    defects: tuple[str, ...] = ()
    fact: Fact | None = None
    version: int = 0
    ms: int = 0
    id: int = 0
    parent: Post | None = None
    missing_parent: int = 0
    quote: Post | None = None
    repost: Post | None = None
    links: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    quality: float = 1.0
    replies: int = 0
    likes: int = 0
    reposts: int = 0
    quotes: int = 0
    deleted_ms: int = 0
    deleted_early: bool = False
    history: tuple[int, ...] = ()
    state: str = "live"

    @property
    def uid(self) -> str:
        return f"x:{self.id}"

    @property
    def root(self) -> int:
        """The id of the conversation's first post, known or not."""
        post = self
        while post.parent is not None:
            post = post.parent
        return post.missing_parent or post.id
