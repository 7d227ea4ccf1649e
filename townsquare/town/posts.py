"""A post of the town, with its hidden truth, before any format writes it."""

from __future__ import annotations

import dataclasses

from townsquare.town.networks import post_uid
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
    private: bool = False
    state: str = "live"

    @property
    def uid(self) -> str:
        return post_uid(self.person.network, self.person.account, self.id, repost=self.repost is not None)

    @property
    def parent_uid(self) -> str | None:
        """What it answers, whether anyone has that or not: of a lost post the author is taken to be the same."""
        if self.parent is not None:
            return self.parent.uid
        lost = self.missing_parent
        return post_uid(self.person.network, self.person.account, lost, repost=False) if lost else None

    @property
    def root(self) -> int:
        """The id of the conversation's first post, known or not."""
        post = self
        while post.parent is not None:
            post = post.parent
        return post.missing_parent or post.id
