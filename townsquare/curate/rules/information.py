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
    fold, bare = pl.col("fold"), pl.col("bare")
    posts = posts.select(
        "text",
        "fold",
        bare=normal.without_links(pl.col("text")).str.replace_all(normal.MENTION, " ").str.strip_chars(),
        words=fold.str.split(" "),
    )
    words = pl.col("words").list
    return first_of(
        posts,
        {
            "empty": pl.col("text").str.strip_chars() == "",
            "only_links": bare == "",
            "only_emoji": ~bare.str.contains(normal.NO_EMOJI),
            "no_words": ~bare.str.contains(r"[\p{L}\p{N}]"),
            "repetition": ((words.len() >= REPEATED_WORDS) & (words.n_unique() < REPEATED * words.len()))
            | (fold.str.replace_all(RUN, "").str.len_chars() < 0.5 * fold.str.len_chars()),
            "all_caps": _shouted(posts["bare"]),
        },
    )


def _shouted(texts: pl.Series) -> pl.Series:
    """Whether most letters are capitals, where there are many: only in those few texts are small letters counted."""
    capitals = pl.DataFrame({"text": texts}).with_row_index("row").with_columns(upper=_count(r"\p{Lu}"))
    many = capitals.filter(pl.col("upper") >= SHOUTED_LETTERS)
    shouted = many.filter(pl.col("upper") > SHOUTED * (pl.col("upper") + _count(r"\p{Ll}")))["row"]
    return capitals["row"].is_in(shouted.implode())


def _count(kind: str) -> pl.Expr:
    return pl.col("text").str.count_matches(kind).cast(pl.Float64)
