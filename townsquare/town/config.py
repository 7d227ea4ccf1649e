"""Settings of the town."""

from __future__ import annotations

import dataclasses

from townsquare.errors import ConfigError

FEWEST_POSTS = 100


@dataclasses.dataclass(frozen=True)
class TownConfig:
    """How large the town is, and which of all towns it is."""

    posts: int = 20_000
    """Posts to write; people, places and facts grow with them. From 2,000 on there are 100 answerable questions."""
    seed: int = 1
    """Which town: the same posts and seed make the same bytes."""

    def __post_init__(self) -> None:
        if self.posts < FEWEST_POSTS:
            raise ConfigError(f"posts cannot be {self.posts}", remedy=f"Give {FEWEST_POSTS} or more.")
