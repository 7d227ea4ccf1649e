"""Preference pairs: two replies to one post, by different authors, at much the same time, one better liked by far.

Biases that stay: fame, wit and agreement earn likes; followers are not known. Unknown likes make no pair.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from townsquare.curate.conversations import Threads
from townsquare.records import PAIRS, scores_of

TIMES, MORE = 2, 3  # chosen has at least twice the likes plus three
HOURS_APART = 24
SEEN_DAYS_APART = 1  # counts that were taken at different times do not compare


def build(threads: Threads) -> pa.Table:
    """At most one pair a parent: its best liked reply, and the least liked of those that compare with it."""
    posts = threads.posts.with_columns(
        parent=pl.Series(threads.trees.parent), author=pl.Series(threads.authors, dtype=pl.String)
    ).with_row_index("row")
    replies = posts.filter(pl.Series(threads.answering) & ~pl.col("context") & pl.col("likes").is_not_null())
    columns = ["row", "parent", "author", "created_at", "observed_at", "likes"]
    best = (
        replies.select(columns)
        .sort("likes", "created_at", "row", descending=[True, False, False], nulls_last=True)
        .unique("parent", keep="first", maintain_order=True)
    )
    apart = (pl.col("created_at") - pl.col("created_at_right")).abs() <= pl.duration(hours=HOURS_APART)
    seen = (pl.col("observed_at") - pl.col("observed_at_right")).abs() <= pl.duration(days=SEEN_DAYS_APART)
    unseen = pl.col("observed_at").is_null() & pl.col("observed_at_right").is_null()
    chosen = (
        best.join(replies.select(columns), on="parent", how="inner")
        .filter(pl.col("author") != pl.col("author_right"))
        .filter(pl.col("likes") >= TIMES * pl.col("likes_right") + MORE)
        .filter(apart & (seen.fill_null(False) | unseen))
        .sort("likes_right", "row_right")
        .unique("parent", keep="first", maintain_order=True)
    )
    rows = [
        {
            "pair_id": f"{threads.uids[good]}>{threads.uids[bad]}",
            "prompt": [{"role": "user", "text": threads.texts[above], "uids": [threads.uids[above]]}],
            "chosen": threads.texts[good],
            "rejected": threads.texts[bad],
            "uids": [threads.uids[above], threads.uids[good], threads.uids[bad]],
            "split": threads.splits[good],
            "scores": scores_of({"likes_chosen": likes, "likes_rejected": fewer}),
        }
        for above, good, bad, likes, fewer in chosen.select(
            "parent", "row", "row_right", "likes", "likes_right"
        ).iter_rows()
    ]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["pair_id"]), schema=PAIRS)
