"""What authors declare of themselves on their network (Bluesky's user intents, Mastodon's `indexable`).

A declaration stands on rows of posts, and is the author's: the latest one holds for every post of theirs,
those that came in before it too.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

READS = ("network", "author_id", "consent_intent", "consent_source", "consent_seen_at")
"""The columns of the posts table in which declarations stand."""

SAID = f"{READS[2]} IN ('allow', 'deny')"
"""Which rows declare something, as a condition on the posts table: `undefined` says nothing, and takes nothing back."""


def in_order() -> list[pl.Expr]:
    """Columns to sort declarations by, the one that holds last; nulls sort first.

    A refusal without a time is never taken back, for nobody can say that anything came after it; at the
    same moment the refusal wins.
    """
    denied = pl.col("consent_intent") == "deny"
    return [
        pl.col("consent_intent").is_not_null(),
        pl.col("consent_intent").is_in(["allow", "deny"]),
        denied & pl.col("consent_seen_at").is_null(),
        pl.col("consent_seen_at"),
        denied,
        pl.col("consent_source"),
    ]


def latest(posts: pa.Table) -> pl.DataFrame:
    """One row an author who declared: author (NETWORK:ID), intent (allow, deny), source, seen_at."""
    frame = pl.DataFrame(pl.from_arrow(posts.select(list(READS))))
    said = frame.filter(pl.col("consent_intent").is_in(["allow", "deny"]) & pl.col("author_id").is_not_null())
    last = said.sort(in_order(), nulls_last=False).unique(["network", "author_id"], keep="last", maintain_order=True)
    return last.select(
        author=pl.concat_str([pl.col("network"), pl.lit(":"), pl.col("author_id")]),
        intent="consent_intent",
        source="consent_source",
        seen_at="consent_seen_at",
    )
