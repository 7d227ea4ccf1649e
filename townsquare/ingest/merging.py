"""One post from several sources: which row stays, and what it keeps of the others, whatever came first.

Fuller text beats cut text, a later observation an earlier one; the last resort is where the row came
from. Ids that never change, and all that protects a post, are kept from whichever source has them: each
such column is combined by a rule (the greatest, the most restrictive, all together) that gives the same
in any order and any number of times.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.consent import declarations
from townsquare.ingest import store
from townsquare.ingest.known import Known
from townsquare.records import POSTS
from townsquare.square import Square

TEXT_RANK = {"full": 3, "note_joined": 3, "html_stripped": 3, "truncated": 1, "missing": 0}
ORDER = ["rank", "observed_at", *store.PLACE]
FIXED = ("author_id", "reply_to", "reply_to_author", "conversation_root", "quote_of", "repost_of", "edit_of")
OPEN_TO_CLOSED = ("unknown", "public", "unlisted", "community", "followers", "circle", "protected", "direct")
DECLARED = ("consent_intent", "consent_source", "consent_seen_at")


def merged(square: Square, incoming: pa.Table, known: Known) -> tuple[pa.Table, pa.Table]:
    """What to write for the incoming posts (records.POSTS): (new ones, ones to put in the place of stored ones).

    Rows of the same uid are combined, with one another and with the one stored. Posts whose stored row
    would not change are left out.
    """
    uids = incoming["uid"].combine_chunks()
    clash = pa.array(known.again(uids))
    if not clash.true_count:
        return incoming, POSTS.empty_table()
    before = store.rows_of(square, "posts", uids.filter(clash))
    fresh = _filtered(incoming, pc.invert(clash))
    best = _combined(before.cast(POSTS), incoming.filter(clash).cast(POSTS))
    is_stored = pc.is_in(best["uid"], before["uid"].combine_chunks())
    return pa.concat_tables([fresh, best.filter(pc.invert(is_stored))]), best.filter(is_stored)


def _filtered(table: pa.Table, mask: pa.Array) -> pa.Table:
    """As Table.filter, which takes four times as long over many chunks, and a third longer where columns are empty."""
    parts, start = [], 0
    for batch in table.to_batches():
        here = mask.slice(start, len(batch))
        kept = here.true_count
        columns = [c.slice(0, kept) if c.null_count == len(c) else c.filter(here) for c in batch.columns]
        parts.append(pa.RecordBatch.from_arrays(columns, schema=table.schema))
        start += len(batch)
    return pa.Table.from_batches(parts, schema=table.schema)


def _combined(stored: pa.Table, incoming: pa.Table) -> pa.Table:
    frame = pl.concat(
        [
            pl.DataFrame(pl.from_arrow(stored)).with_columns(pl.lit(True).alias("is_stored")),
            pl.DataFrame(pl.from_arrow(incoming)).with_columns(pl.lit(False).alias("is_stored")),
        ]
    ).with_columns(pl.col("text_status").replace_strict(TEXT_RANK, default=0, return_dtype=pl.Int8).alias("rank"))
    # A stored row that is the incoming one again sorts after it, and so wins: nothing is written.
    frame = frame.sort([*ORDER, "is_stored"], nulls_last=False)
    rules = _rules()
    plain = [name for name in (*POSTS.names, "is_stored") if name not in rules and name != "uid"]
    best = frame.group_by("uid", maintain_order=True).agg(
        *(pl.col(name).last() for name in plain), *(rule.alias(name) for name, rule in rules.items())
    )
    kept = frame.filter(pl.col("is_stored")).select("uid", *(pl.col(name).alias(f"{name}_before") for name in rules))
    both = best.join(kept, on="uid", how="left", maintain_order="left")
    same = pl.all_horizontal([pl.col("is_stored"), *(pl.col(n).eq_missing(pl.col(f"{n}_before")) for n in rules)])
    return both.filter(~same).select(POSTS.names).to_arrow().cast(POSTS)


def _rules() -> dict[str, pl.Expr]:
    """How each column that is not simply the best row's is combined."""
    countries = pl.col("withheld_countries").explode().drop_nulls().unique().sort().implode()
    said = declarations.in_order()
    history = [pl.col("edit_history").list.len(), pl.col("edit_history").list.join(",")]
    return {
        **{name: pl.col(name).max() for name in FIXED},
        "visibility": _highest("visibility", OPEN_TO_CLOSED),
        "withheld_countries": pl.when(countries.list.len() > 0).then(countries),
        "withheld_copyright": pl.col("withheld_copyright").max(),
        "withheld_scope": pl.col("withheld_scope").max(),
        # The latest declaration is one whole: what it says, who saw it where, and when.
        **{name: pl.col(name).sort_by(said, nulls_last=False).last() for name in DECLARED},
        "edit_history": pl.col("edit_history").sort_by(history, nulls_last=False).last(),
        "is_latest_edit": pl.col("is_latest_edit").min(),
    }


def _highest(name: str, ascending: tuple[str, ...]) -> pl.Expr:
    rank = pl.col(name).replace_strict({word: i for i, word in enumerate(ascending)}, default=-1, return_dtype=pl.Int8)
    return pl.col(name).sort_by(rank, nulls_last=False).last()
