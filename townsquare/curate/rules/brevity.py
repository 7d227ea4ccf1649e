"""Posts too short to learn from alone ("yes!", "lol"). They may stand in a conversation as what was replied to.

Known errors: a bare time or price that answers a question is not learned.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "brevity"
CONTEXT = True
ALONE = True


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    return first_of(posts, {"too_short": pl.col("letters") < config.shortest_letters})
