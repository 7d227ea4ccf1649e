"""Posts as curation sees them: the gate has spoken on every row before any rule does."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pyarrow as pa

from townsquare.consent import gate
from townsquare.consent.gate import Consent
from townsquare.consent.inputs import grants_input, in_force_input
from townsquare.ingest import tables
from townsquare.receipts import Input
from townsquare.square import Square

COLUMNS = (
    "created_at", "observed_at", "text", "lang", "reply_to", "likes", "reposts", "replies", "quotes", "source_app",
    "author_kind", "is_latest_edit", "sensitive",
)  # fmt: skip


def inputs(square: Square, at: dt.date) -> list[Input]:
    """What the gate and the rules read: posts, grants, and which grants hold on the day.

    Opt-outs are events. Those that an ingest brings are part of the posts; those of a takedown need no
    input of their own, since a takedown takes the posts out of the corpus that is there.
    """
    return [tables.posts_input(square), grants_input(square), in_force_input(square, at)]


def read_gated(square: Square, at: dt.date) -> pl.DataFrame:
    """Every post of the square, by uid, as `gated` gives it."""
    columns = list(dict.fromkeys([*gate.COLUMNS, *COLUMNS]))
    return gated(tables.read_posts(square, columns), tables.read_consent(square), at)


def gated(posts: pa.Table, consent: Consent, at: dt.date) -> pl.DataFrame:
    """The posts with `train_refusal` and `tune_refusal`: the gate's reason, or null where a post may be used.

    Raises GrantError when no post may be used for either purpose.
    """
    refusals: dict[str, pa.Array] = {purpose: gate.refusals(posts, consent, purpose, at) for purpose in gate.LEARNING}
    if refusals["tune"].null_count == 0:
        gate.require_any(refusals["train"], "train")
    frame = pl.DataFrame(pl.from_arrow(posts)).with_columns(
        pl.Series(f"{purpose}_refusal", pl.from_arrow(reasons), dtype=pl.String)
        for purpose, reasons in refusals.items()
    )
    return frame.select(
        "uid",
        "network",
        "author_id",
        *[name for name in COLUMNS if name != "text"],
        *[f"{purpose}_refusal" for purpose in gate.LEARNING],
        author=pl.concat_str([pl.col("network"), pl.lit(":"), pl.col("author_id")]),
        text=pl.col("text").fill_null(""),
        engagement=_engagement(),
    )


def _engagement() -> pl.Expr:
    """All reactions that are known, added; null where none is known, for unknown is not zero."""
    counts = ["likes", "reposts", "replies", "quotes"]
    known = pl.any_horizontal(pl.col(name).is_not_null() for name in counts)
    return pl.when(known).then(pl.sum_horizontal(counts))


def usable(posts: pl.DataFrame) -> pl.DataFrame:
    """The posts that may be used for some purpose."""
    return posts.filter(pl.col("train_refusal").is_null() | pl.col("tune_refusal").is_null())
