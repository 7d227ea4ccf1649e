"""What the stored events say of each post now: live, suppressed or deleted. Deletion beats all."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from townsquare.ingest import store
from townsquare.records import POSTS
from townsquare.square import Square

# kind: (family, whether it holds the post back). The last event of a family decides.
FAMILIES = {
    "delete": ("delete", True),
    "author_delete": ("account", True),
    "author_undelete": ("account", False),
    "protect": ("protect", True),
    "unprotect": ("protect", False),
    "suspend": ("suspend", True),
    "unsuspend": ("suspend", False),
    "drop": ("drop", True),
    "undrop": ("drop", False),
    "withheld": ("withheld", True),
    "opt_out": ("opt_out", True),
    "opt_in": ("opt_out", False),
}
CHUNK = 5_000


def _holding(events: pa.Table, target: str) -> pl.DataFrame:
    """One row a held-back target: (target, state, event_id). `target` is target_uid or target_author."""
    columns = ["event_id", "kind", target, "scope", "reversible", "event_at"]
    frame = pl.DataFrame(pl.from_arrow(events.select(columns))).filter(pl.col(target).is_not_null())
    frame = frame.filter(pl.col("kind").is_in(list(FAMILIES)) & (pl.col("scope").fill_null("all") == "all"))
    frame = frame.with_columns(
        pl.col("kind").replace_strict({k: v[0] for k, v in FAMILIES.items()}, return_dtype=pl.String).alias("family"),
        pl.col("kind").replace_strict({k: v[1] for k, v in FAMILIES.items()}, return_dtype=pl.Boolean).alias("holds"),
        (~pl.col("reversible") & pl.col("kind").is_in(["delete", "author_delete"])).alias("for_good"),
    )
    # Permanent events count whatever came after; of the others the last of each family does. Events
    # without a time count as earliest, and at the same moment holding back wins.
    for_good = frame.filter(pl.col("for_good")).with_columns(pl.lit("deleted").alias("state"))
    last = (
        frame.filter(~pl.col("for_good"))
        .sort(["event_at", "holds", "event_id"], nulls_last=False)
        .unique([target, "family"], keep="last", maintain_order=True)
        .filter(pl.col("holds"))
        .with_columns(pl.lit("suppressed").alias("state"))
    )
    both = pl.concat([for_good, last]).select(pl.col(target).alias("target"), "state", "event_id")
    # "deleted" sorts before "suppressed", and the smallest event id makes the choice one of content.
    return both.sort(["target", "state", "event_id"]).unique("target", keep="first", maintain_order=True)


def states(posts: pa.Table, events: pa.Table) -> pl.DataFrame:
    """(uid, wanted, wanted_event) for every post; a repost goes with a deleted original."""
    columns = ["uid", "network", "author_id", "repost_of"]
    frame = pl.DataFrame(pl.from_arrow(posts.select(columns))).with_columns(
        pl.concat_str([pl.col("network"), pl.lit(":"), pl.col("author_id")]).alias("author")
    )
    by_uid, by_author = _holding(events, "target_uid"), _holding(events, "target_author")
    originals = by_uid.filter(pl.col("state") == "deleted")
    found = []
    for column, holding in (("uid", by_uid), ("author", by_author), ("repost_of", originals)):
        hits = frame.join(holding, left_on=column, right_on="target", how="inner")
        found.append(hits.select("uid", "state", "event_id"))
    deleted_by_author = pl.concat(found).filter(pl.col("state") == "deleted").select("uid", "event_id")
    orphans = frame.join(deleted_by_author, left_on="repost_of", right_on="uid", how="inner")
    found.append(orphans.select("uid", pl.lit("deleted").alias("state"), "event_id"))
    held = pl.concat(found).sort(["uid", "state", "event_id"]).unique("uid", keep="first", maintain_order=True)
    return (
        frame.select("uid")
        .join(held, on="uid", how="left")
        .select("uid", pl.col("state").fill_null("live").alias("wanted"), pl.col("event_id").alias("wanted_event"))
    )


def with_states(posts: pa.Table, events: pa.Table) -> pa.Table:
    """The posts (records.POSTS) in the states that the events give them, deleted ones emptied."""
    wanted = states(posts, events)
    state, event = wanted["wanted"].to_arrow(), wanted["wanted_event"].to_arrow()
    posts = _put(_put(posts, "state", state), "state_event_id", event)
    gone = pa.compute.equal(posts["state"], "deleted")
    if pa.compute.any(gone).as_py():
        for name in store.CONTENT_COLUMNS:
            kind = POSTS.field(name).type
            posts = _put(posts, name, pa.compute.if_else(gone, pa.scalar(None, kind), posts[name]))
        missing = pa.compute.if_else(gone, pa.scalar("missing"), posts["text_status"])
        posts = _put(posts, "text_status", missing)
    return posts


def _put(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    field = POSTS.field(name)
    return table.set_column(table.schema.get_field_index(name), field, values.cast(field.type))


def apply(square: Square) -> dict[str, int]:
    """Bring every stored post into the state that the stored events give it; returns how many changed to each."""
    posts, events = store.dataset(square, "posts"), store.dataset(square, "events").to_table()
    if not len(events):
        return {}
    now = posts.to_table(columns=["uid", "network", "author_id", "repost_of", "state", "state_event_id"])
    frame = pl.DataFrame(pl.from_arrow(now.select(["uid", "state", "state_event_id"])))
    changed = frame.join(states(now, events), on="uid").filter(
        (pl.col("state") != pl.col("wanted")) | pl.col("state_event_id").ne_missing(pl.col("wanted_event"))
    )
    uids = changed["uid"].to_list()
    for start in range(0, len(uids), CHUNK):
        part = uids[start : start + CHUNK]
        rows = posts.to_table(filter=pa.compute.field("uid").isin(part))
        store.upsert(square, "posts", with_states(rows, events))
    return dict(changed.group_by("wanted").len().sort("wanted").iter_rows())
