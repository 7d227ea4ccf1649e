"""Posts that say nothing in words: empty, only links or mentions, only emoji, one word over and over, all shouted.

Known errors: a scream of joy in capitals under a match report goes; chants of two words stay.
"""

from __future__ import annotations

import polars as pl

from townsquare.curate import normal
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import first_of

NAME = "information"
CONTEXT = False
ALONE = True

SHOUTED = 0.8  # share of capitals among letters that have a case
SHOUTED_LETTERS = 24  # below it, an acronym or a name may be all there is
REPEATED = 0.34  # distinct words over words
REPEATED_WORDS = 6
RUN = r"(?:a{9}|e{9}|h{9}|i{9}|o{9}|u{9}|[!]{9}|[?]{9}|(?:ha){9}|(?:lol ?){5})"


def judge(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    bare = normal.without_links(pl.col("text")).str.replace_all(normal.MENTION, " ")
    words = pl.col("fold").str.split(" ")
    upper, lower = (bare.str.count_matches(kind).cast(pl.Float64) for kind in (r"\p{Lu}", r"\p{Ll}"))
    return first_of(
        posts,
        {
            "empty": pl.col("text").str.strip_chars() == "",
            "only_links": bare.str.strip_chars() == "",
            "only_emoji": bare.str.replace_all(normal.EMOJI, "").str.strip_chars() == "",
            "no_words": bare.str.count_matches(r"[\p{L}\p{N}]") == 0,
            "repetition": ((words.list.len() >= REPEATED_WORDS) & (words.list.n_unique() < REPEATED * words.list.len()))
            | (pl.col("fold").str.replace_all(RUN, "").str.len_chars() < 0.5 * pl.col("fold").str.len_chars()),
            "all_caps": (upper > SHOUTED * (upper + lower)) & (upper >= SHOUTED_LETTERS),
        },
    )
