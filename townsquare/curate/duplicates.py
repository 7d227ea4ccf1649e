"""Of posts that are the same, the best copy stays: the most engagement, then the oldest, then the least uid."""

from __future__ import annotations

import polars as pl

EXACT, NEAR = "exact_duplicate", "near_duplicate"
REASONS = {EXACT: "same_text", NEAR: "nearly_the_same_text"}


def ranked(posts: pl.DataFrame) -> pl.DataFrame:
    """Best copy first. Unknown engagement and unknown age stand last."""
    return posts.sort("engagement", "created_at", "uid", descending=[True, False, False], nulls_last=True)


def copies(posts: pl.DataFrame) -> pl.DataFrame:
    """`uid`, `rule` and `reason` of every post that is not the best copy of its text or of its cluster."""
    order = ranked(posts.filter(pl.col("fold") != ""))
    once = order.unique("fold", keep="first", maintain_order=True)
    exact = order.join(once.select("uid"), on="uid", how="anti")
    in_cluster = once.filter(pl.col("cluster").is_not_null())
    best = in_cluster.unique("cluster", keep="first", maintain_order=True)
    near = in_cluster.join(best.select("uid"), on="uid", how="anti")
    return pl.concat(
        part.select("uid", rule=pl.lit(rule), reason=pl.lit(REASONS[rule]))
        for part, rule in ((exact, EXACT), (near, NEAR))
    )
