"""Preference pairs: two replies to one post, by different authors, one better liked by far, alike in all that earns
likes besides: when they were posted, how old they were when their likes were counted, when that was, and how far their
authors reach. What is not known of one is never taken for zero: it makes no pair with one of which it is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from townsquare.curate.conversations import Threads
from townsquare.records import PAIRS, score, scores_of

TIMES, MORE = 2, 3  # chosen has at least twice the likes plus three
HOURS_APART = 24
SEEN_DAYS_APART = 1  # counts that were taken at different times do not compare
AGES = 2  # the older reply was at most twice as old as the younger, plus an hour, when its likes were counted
REACHES = 2  # likewise of the likes that their authors' other posts get, plus one
FEWEST_OTHERS = 3  # posts with known likes from which an author's reach is told
BEST = 3  # of a parent's replies, so many are tried as the better one


def build(threads: Threads) -> pa.Table:
    """At most one pair a parent: of those that compare, the two whose likes are farthest apart (as a ratio)."""
    replies = _replies(threads)
    best = (
        replies.sort("likes", "created_at", "row", descending=[True, False, False], nulls_last=True)
        .group_by("parent", maintain_order=True)
        .head(BEST)
    )
    chosen = (
        best.join(replies, on="parent", how="inner")
        .filter(pl.col("author") != pl.col("author_right"))
        .filter(pl.col("likes") >= TIMES * pl.col("likes_right") + MORE)
        .filter(_posted_together() & _seen_together() & _alike("age_hours", AGES) & _alike("reach", REACHES))
        .with_columns(ratio=(pl.col("likes") + 1) / (pl.col("likes_right") + 1))
        .sort("ratio", "row", "row_right", descending=[True, False, False])
        .unique("parent", keep="first", maintain_order=True)
    )
    rows = [_pair(threads, row) for row in chosen.iter_rows(named=True)]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["pair_id"]), schema=PAIRS)


def _replies(threads: Threads) -> pl.DataFrame:
    """Replies to another author whose likes are known, with their age when those were counted (hours) and reach."""
    posts = threads.posts.with_columns(
        parent=pl.Series(threads.trees.parent), author=pl.Series(threads.authors, dtype=pl.String)
    ).with_row_index("row")
    age = (pl.col("observed_at") - pl.col("created_at")).dt.total_seconds() / 3600
    posts = posts.with_columns(reach=_reach(), age_hours=pl.when(age >= 0).then(age))
    above = posts["created_at"].gather(np.maximum(threads.trees.parent, 0))
    delay = (pl.col("created_at") - above).dt.total_seconds() / 3600
    posts = posts.with_columns(delay_hours=pl.when(delay >= 0).then(delay))
    replies = posts.filter(pl.Series(threads.answering) & ~pl.col("context") & pl.col("likes").is_not_null())
    names = ("author", "created_at", "observed_at", "likes", "age_hours", "delay_hours", "reach")
    return replies.select("row", "parent", *names)


def _reach() -> pl.Expr:
    """The likes that an author's other posts get: their geometric mean, of likes plus one, less one. Followers are in
    no source's posts."""
    said = pl.col("likes").log1p()
    others = said.count().over("author") - said.is_not_null().cast(pl.Int64)
    mean = (said.sum().over("author") - said.fill_null(0.0)) / others
    return pl.when(others >= FEWEST_OTHERS).then(mean.exp() - 1)


def _posted_together() -> pl.Expr:
    apart = (pl.col("created_at") - pl.col("created_at_right")).abs()
    return (apart <= pl.duration(hours=HOURS_APART)).fill_null(False)


def _seen_together() -> pl.Expr:
    seen = (pl.col("observed_at") - pl.col("observed_at_right")).abs() <= pl.duration(days=SEEN_DAYS_APART)
    return seen.fill_null(False) | (pl.col("observed_at").is_null() & pl.col("observed_at_right").is_null())


def _alike(column: str, times: float) -> pl.Expr:
    """Whether both are known and at most so many times apart, each plus one; or both are unknown."""
    one, other = pl.col(column) + 1, pl.col(f"{column}_right") + 1
    alike = (one <= times * other) & (other <= times * one)
    return alike.fill_null(False) | (one.is_null() & other.is_null())


def _pair(threads: Threads, row: dict[str, Any]) -> dict[str, Any]:
    above, good, bad = row["parent"], row["row"], row["row_right"]
    told = {
        f"{name}_{side}": row[name + suffix]
        for name in ("likes", "age_hours", "delay_hours", "reach")
        for side, suffix in (("chosen", ""), ("rejected", "_right"))
    }
    return {
        "pair_id": f"{threads.uids[good]}>{threads.uids[bad]}",
        "prompt": [{"role": "user", "text": threads.texts[above], "uids": [threads.uids[above]]}],
        "chosen": threads.texts[good],
        "rejected": threads.texts[bad],
        "uids": [threads.uids[above], threads.uids[good], threads.uids[bad]],
        "split": threads.splits[good],
        "scores": scores_of({name: value for name, value in told.items() if value is not None}),
    }


def biases(pairs: pa.Table) -> dict[str, dict[str, Any]]:
    """For length (characters), age, delay after the post that is answered (where counts were taken together, the less
    of it the older) and author reach, how being the chosen reply goes with it: `r`, the point-biserial
    correlation with the logarithm of one plus it, and `n`, the pairs in which it is known. 0 is no lean; null where
    nothing can be told."""
    rows = pairs.select(["chosen", "rejected", "scores"]).to_pylist()
    sides: dict[str, list[tuple[float | None, float | None]]] = {
        "length": [(float(len(row["chosen"])), float(len(row["rejected"]))) for row in rows],
        "age": [_both(row["scores"], "age_hours") for row in rows],
        "delay": [_both(row["scores"], "delay_hours") for row in rows],
        "author_reach": [_both(row["scores"], "reach") for row in rows],
    }
    return {name: _lean([pair for pair in found if None not in pair]) for name, found in sides.items()}


def _both(scores: Sequence[dict[str, Any]], name: str) -> tuple[float | None, float | None]:
    return score(scores, f"{name}_chosen"), score(scores, f"{name}_rejected")


def _lean(pairs: Sequence[tuple[float | None, float | None]]) -> dict[str, Any]:
    values = np.log1p(np.array(pairs, np.float64).reshape(-1, 2))
    spread = float(values.std()) if len(pairs) else 0.0
    if math.isclose(spread, 0.0, abs_tol=1e-12):
        return {"r": None, "n": len(pairs)}
    return {"r": round(float(values[:, 0].mean() - values[:, 1].mean()) / (2 * spread), 4), "n": len(pairs)}
