"""Copy campaigns: one text, template or near copy of it, posted by many accounts within a week.

Short texts are exempt, for many people do say "happy new year everyone". Known errors: a petition or a chain
letter that people share in earnest is dropped whole; accounts that post as one over months pass.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "campaign"
CONTEXT = False
ALONE = False

DAYS = 7
WORDS = 6  # a shorter text is said by chance


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    long_enough = pl.col("template").str.count_matches(" ") + 1 >= WORDS
    by_template = long_enough & _many_authors("template", config)
    by_cluster = long_enough & pl.col("cluster").is_not_null() & _many_authors("cluster", config)
    return first_of(posts, {"same_template": by_template, "near_copies": by_cluster})


def _many_authors(key: str, config: CurateConfig) -> pl.Expr:
    """Whether enough authors share the key in the week around a post: weeks counted twice, half a week apart."""
    day = pl.col("created_at").dt.epoch("s") // 86_400
    weeks = ((day // DAYS), ((day + DAYS // 2) // DAYS))
    return pl.any_horizontal(
        pl.col("author").n_unique().over([pl.col(key), week]) >= config.campaign_authors for week in weeks
    )
