"""Which side of the split a post is on: by time and by author, whole threads and near duplicates together."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from townsquare.curate.config import CurateConfig
from townsquare.curate.threads import components


def draw(seed: int, *parts: object) -> float:
    """A number from 0 to 1 that follows from the seed and the names alone, whatever the order of the posts."""
    said = "\0".join(map(str, (seed, *parts))).encode()
    return int.from_bytes(hashlib.blake2b(said, digest_size=7).digest(), "big") / (1 << 56)


def split_of(posts: pl.DataFrame, config: CurateConfig) -> pl.Series:
    """`train`, `validation` or `test` for each post (columns uid, author, created_at, reply_to, cluster).

    A group is what threads, shared parents and near-duplicate clusters join. It is for the test when its
    newest post is among the newest `test_share`, else for validation when the author of its first post is
    drawn: so training holds nothing newer than the test's first day, and no thread that such an author began.
    """
    group = _groups(posts)
    known = posts["created_at"].drop_nulls().sort()
    newest = int(len(known) * config.test_share)
    cutoff = known[-newest] if newest else None
    grouped = posts.select("uid", "created_at", "author", group=group)
    first = (
        grouped.sort("created_at", "uid", nulls_last=True)
        .group_by("group", maintain_order=True)
        .agg(pl.first("author"), pl.first("uid"), newest=pl.max("created_at"))
    )
    drawn = [
        draw(config.seed, "validation", author or uid) < config.validation_share
        for author, uid in first.select("author", "uid").iter_rows()
    ]
    late = pl.lit(False) if cutoff is None else (pl.col("newest") >= cutoff).fill_null(False)
    sides = first.select(
        "group",
        split=pl.when(late)
        .then(pl.lit("test"))
        .when(pl.Series(drawn, dtype=pl.Boolean))
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train")),
    )
    return grouped.join(sides, on="group", how="left", maintain_order="left")["split"]


def _groups(posts: pl.DataFrame) -> np.ndarray:
    rows = posts.select("uid", "reply_to", "cluster").with_row_index("row")
    parent = rows.select("row", uid="reply_to").join(rows.select("uid", above="row"), on="uid", how="inner")
    edges = [parent.select("row", "above")]
    for key in ("reply_to", "cluster"):
        shared = rows.filter(pl.col(key).is_not_null())
        edges.append(shared.select("row", above=pl.col("row").min().over(key)))
    joined = pl.concat(edges)
    return components(len(rows), joined["row"].to_numpy().astype(np.int64), joined["above"].to_numpy().astype(np.int64))
