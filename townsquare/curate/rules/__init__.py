"""Rules: one a file. Each says of every post why it is left out, or nothing.

A rule is a module with NAME; CONTEXT, true where a post that it leaves out may still stand in a
conversation as what others reply to; ALONE, true where it looks at one post at a time; and `judge(posts, config)`,
which gives for each row a reason or null. Posts have the columns of `alone.judge`; for a rule that is not ALONE,
they are all usable posts, with those of `gated.gated` and `cluster` too. A rule therefore never hangs on which
rule went before it, and only the reason told does.
"""

from __future__ import annotations

from typing import Protocol

import polars as pl

from townsquare.curate.config import CurateConfig


class Rule(Protocol):
    NAME: str
    CONTEXT: bool
    ALONE: bool

    def judge(self, posts: pl.DataFrame, config: CurateConfig) -> pl.Series: ...


def all_rules() -> list[Rule]:
    """In the order in which they speak: the first reason is the one that is told."""
    from townsquare.curate.rules import (
        abuse,
        addresses_assistant,
        boilerplate,
        bot,
        brevity,
        campaign,
        information,
        language,
        promotion,
        superseded,
    )

    return [
        superseded, information, boilerplate, addresses_assistant, abuse, promotion, campaign, bot, language, brevity,
    ]  # fmt: skip


def first_of(posts: pl.DataFrame, reasons: dict[str, pl.Expr | pl.Series]) -> pl.Series:
    """For each row the first reason whose expression is true, or null."""
    spoken = [pl.when(rule.fill_null(False)).then(pl.lit(reason)) for reason, rule in reasons.items()]
    return posts.select(pl.coalesce(spoken).cast(pl.String).alias("reason"))["reason"]
