"""Settings of the curate stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from townsquare.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class CurateConfig:
    """What is worth learning from, and how it is split."""

    languages: tuple[str, ...] = ()
    """Languages to keep, as ISO 639-1 codes such as en; none named keeps all. Posts too short to tell stay."""
    shortest_letters: int = 10
    """Letters and digits below which a post is no document and no learned reply, though it may be context."""
    near_duplicate: float = 0.8
    """Jaccard similarity of 5-character shingles from which two posts count as the same."""
    campaign_authors: int = 5
    """Authors who post the same text or template within a week, from which it is a copy campaign."""
    bot_score: float = 1.0
    """Score from which an author counts as a bot: 1 for one strong sign (see rules/bot.py)."""
    promotion_score: float = 2.0
    """Score from which a post counts as promotion: 1 for each sign of selling (see rules/promotion.py)."""
    abuse: Literal["drop", "flag"] = "drop"
    """What becomes of insults (see rules/abuse.py): left out, or kept with the score `abusive` on the document."""
    conversation_posts: int = 8
    """Posts of a reply path that one conversation holds at most."""
    grounded_share: float = 0.5
    """Share of answered questions that are told with numbered posts at hand, the answer among them."""
    test_share: float = 0.03
    """Share of posts, the newest, that are kept for the test."""
    validation_share: float = 0.03
    """Share of authors whose threads are kept for validation."""
    decontaminate: tuple[Path, ...] = ()
    """A file or folder of an evaluation set, whose texts no post may hold; a town's own questions always are one."""
    chitchat: bool = False
    """Whether to add open two-person talk (the chitchat-dataset package) to the conversations."""
    runner: Literal["native", "ray"] = "native"
    """Who judges posts one by one, with the same result: this machine, or the Ray cluster at RAY_ADDRESS."""
    seed: int = 1
    """Decides which questions are grounded, in which order posts stand, and which authors validate."""

    def __post_init__(self) -> None:
        for name in ("near_duplicate", "grounded_share", "test_share", "validation_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} cannot be {value}", remedy="Give a share from 0 to 1.")
        if not self.near_duplicate >= 0.5:
            raise ConfigError(
                f"near_duplicate cannot be {self.near_duplicate}",
                remedy="Give 0.5 to 1: below that, different posts fall together and the search misses pairs.",
            )
        if self.test_share + self.validation_share > 0.5:
            raise ConfigError("test_share and validation_share leave too little to train on", remedy="Lower them.")
        for name, least in (("shortest_letters", 1), ("campaign_authors", 2), ("conversation_posts", 2)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} cannot be {getattr(self, name)}", remedy=f"Give {least} or more.")
        for code in self.languages:
            if not (code.isascii() and code.isalpha() and code.islower() and len(code) in (2, 3)):
                raise ConfigError(f"languages cannot hold {code!r}", remedy="Write codes such as en or nl.")
