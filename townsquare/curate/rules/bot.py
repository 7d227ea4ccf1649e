"""Bot-like authors, judged from the posts at hand. Every post of such an author is left out.

Signs, added up: the network says so (1); most posts come from templates (1); posts come at a machine's
intervals (1); an application that posts on its own (0.5); more than 100 posts on an active day (0.5).
Fewer than FEWEST posts say too little to judge by, but for the network's word. Known errors: a newsroom's
scheduler with one headline form is taken for a bot; a bot that varies words and waits at random is not.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate import normal
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "bot"
CONTEXT = False
ALONE = False

FEWEST = 10
SAME = 0.5  # share of an author's posts whose template they used more than twice
EVEN = 0.1  # spread of the middle half of the intervals over their median
PER_DAY = 100
APPS = r"(?i)ifttt|dlvr\.?it|zapier|twittbot|cheap ?bots|botize|\brss\b|bot\b"


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    scored = posts.select("author").join(scores(posts), on="author", how="left", maintain_order="left")
    return first_of(scored, {"bot_like_author": pl.col("score") >= config.bot_score})


def scores(posts: pl.DataFrame) -> pl.DataFrame:
    """`author` and `score` for every known author."""
    repeated = (pl.len().over("author", "template") > 2) & (pl.col("letters") > 0)
    mine = (
        posts.filter(pl.col("author").is_not_null())
        .sort("author", "created_at", "uid", nulls_last=True)
        .with_columns(
            gap=pl.col("created_at").diff().over("author").dt.total_seconds().cast(pl.Float64),
            repeated=repeated,
            machine=normal.says(pl.col("source_app").fill_null(""), APPS),
            said=pl.col("author_kind").fill_null("").str.to_lowercase() == "bot",
        )
    )
    gap, many = pl.col("gap"), pl.len() >= FEWEST
    even = (gap.quantile(0.75) - gap.quantile(0.25)) <= EVEN * gap.median()
    days = pl.col("created_at").dt.date().n_unique()
    return (
        mine.group_by("author")
        .agg(
            score=pl.col("said").any().cast(pl.Float64)
            + (many & (pl.col("repeated").mean() >= SAME)).cast(pl.Float64)
            + (many & even.fill_null(False) & (gap.median() >= 60)).cast(pl.Float64)
            + 0.5 * (many & (pl.col("machine").mean() >= SAME)).cast(pl.Float64)
            + 0.5 * (pl.len() / days > PER_DAY).cast(pl.Float64)
        )
        .sort("author")
    )
