"""What the stored events say of each post now: live, suppressed or deleted. Deletion beats all."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from townsquare.ingest import held_back, removed, store
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
READS = ("uid", "network", "author_id", "repost_of", "edit_history")
CHUNK = 50_000


def holding(events: pa.Table, target: str) -> pl.DataFrame:
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
    """(uid, wanted, wanted_event) for every post (columns READS).

    A deleted version of an edited post takes all versions with it, and a repost shares its original's state.
    """
    frame = pl.DataFrame(pl.from_arrow(posts.select(list(READS)))).with_columns(
        pl.concat_str([pl.col("network"), pl.lit(":"), pl.col("author_id")]).alias("author")
    )
    by_uid, by_author = holding(events, "target_uid"), holding(events, "target_author")
    versions = frame.select("uid", "edit_history").explode("edit_history", empty_as_null=True)
    own = pl.concat(
        [
            _join(frame, "uid", by_uid),
            _join(frame, "author", by_author),
            _join(versions, "edit_history", by_uid.filter(pl.col("state") == "deleted")),
        ]
    )
    # An original may be held back by an event that names it though it is not here, or by its author's.
    originals = pl.concat([by_uid, _first(own).rename({"uid": "target"})])
    reposts = frame.filter(pl.col("repost_of").is_not_null())
    held = _first(pl.concat([own, _join(reposts, "repost_of", originals)]))
    return (
        frame.select("uid")
        .join(held, on="uid", how="left", maintain_order="left")
        .select("uid", pl.col("state").fill_null("live").alias("wanted"), pl.col("event_id").alias("wanted_event"))
    )


def _join(frame: pl.DataFrame, column: str, held: pl.DataFrame) -> pl.DataFrame:
    return frame.join(held, left_on=column, right_on="target", how="inner").select("uid", "state", "event_id")


def _first(held: pl.DataFrame) -> pl.DataFrame:
    return held.sort(["uid", "state", "event_id"]).unique("uid", keep="first", maintain_order=True)


def with_states(posts: pa.Table, wanted: pl.DataFrame) -> pa.Table:
    """The posts (records.POSTS) in the states of `states`, deleted ones emptied.

    What tells which source's row won, `text_status` among it, stays: a tombstone must lose and win as
    its post would have, or the outcome hung on whether a deletion came before a better copy.
    """
    here = pl.DataFrame(pl.from_arrow(posts.select(["uid"]))).join(wanted, on="uid", how="left", maintain_order="left")
    posts = _put(posts, "state", here["wanted"].to_arrow())
    posts = _put(posts, "state_event_id", here["wanted_event"].to_arrow())
    gone = pa.compute.equal(posts["state"], "deleted")
    if pa.compute.any(gone).as_py():
        for name in store.CONTENT_COLUMNS:
            kind = POSTS.field(name).type
            posts = _put(posts, name, pa.compute.if_else(gone, pa.scalar(None, kind), posts[name]))
    return posts


def _put(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    field = POSTS.field(name)
    return table.set_column(table.schema.get_field_index(name), field, values.cast(field.type))


def apply(square: Square) -> dict[str, int]:
    """Bring every stored post into the state that the stored events give it; returns how many changed to each.

    Content that this takes away is physically there until `store.purge`, which is then due.
    """
    events = store.dataset(square, "events").to_table()
    if not len(events):
        return {}
    posts = store.dataset(square, "posts")  # stays at this version, so that offsets hold
    now = posts.to_table(columns=[*READS, "state", "state_event_id"])
    wanted = states(now, events)
    frame = pl.DataFrame(pl.from_arrow(now.select(["uid", "state", "state_event_id"]))).with_row_index("offset")
    differs = (pl.col("state") != pl.col("wanted")) | pl.col("state_event_id").ne_missing(pl.col("wanted_event"))
    changed = frame.join(wanted, on="uid", maintain_order="left").filter(differs)
    if (changed["wanted"] == "deleted").any():
        store.mark_purge(square)
    for part in changed.iter_slices(CHUNK):
        rows = store.rows_at(posts, part["offset"].to_numpy()).cast(POSTS)
        removed.remember(square, leaving(rows, wanted))
        store.upsert(square, "posts", with_states(rows, wanted))
    removed.cut_quotes(square)
    held_back.blank(square, *gone(events, wanted))
    return dict(changed.group_by("wanted").len().sort("wanted").iter_rows())


def leaving(posts: pa.Table, wanted: pl.DataFrame) -> pa.Table:
    """Those of the posts that are to be emptied."""
    deleted = wanted.filter(pl.col("wanted") == "deleted")["uid"].to_arrow()
    return posts.filter(pa.compute.is_in(posts["uid"], deleted.cast(pa.string())))


def gone(events: pa.Table, wanted: pl.DataFrame) -> tuple[set[str], set[str]]:
    """Uids and authors whose content must be in no table: deleted posts, and what events name for good, here or not."""
    uids, authors = named_for_good(events)
    return uids | set(wanted.filter(pl.col("wanted") == "deleted")["uid"]), authors


def named_for_good(events: pa.Table) -> tuple[set[str], set[str]]:
    """Uids and authors that permanent events name."""
    uids, authors = (
        set(holding(events, column).filter(pl.col("state") == "deleted")["target"])
        for column in ("target_uid", "target_author")
    )
    return uids, authors
