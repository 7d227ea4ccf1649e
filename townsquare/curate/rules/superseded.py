"""Posts that their author has since edited: the latest wording speaks.

Known errors: sources that do not tell edits apart keep every wording; near-duplicate clusters catch most.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "superseded"
CONTEXT = False
ALONE = True


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    return first_of(posts, {"edited_later": ~pl.col("is_latest_edit")})
