"""Who opted out: opt_out and opt_in events (records.EVENTS), folded by time."""

from __future__ import annotations

import dataclasses

import polars as pl
import pyarrow as pa

from townsquare.consent import handles

READS = ("event_id", "kind", "target_uid", "target_author", "scope", "event_at", "source_id")
"""The columns of the events table that are read here."""

KINDS = ("opt_out", "opt_in")


@dataclasses.dataclass(frozen=True)
class OptOuts:
    """Authors (NETWORK:ID), handles (handles.handle_key) and posts (uid) that are out for a purpose, as of now."""

    authors: frozenset[str] = frozenset()
    handles: frozenset[str] = frozenset()
    posts: frozenset[str] = frozenset()


def scopes_of(purpose: str) -> tuple[str, ...]:
    """The scopes of an opt-out that bear on a purpose.

    Who opts out of training is out for tuning too: lists of opt-outs know no other word for learning.
    """
    return ("all", "tune", "train") if purpose == "tune" else ("all", purpose)


def opt_outs(events: pa.Table, purpose: str) -> OptOuts:
    """Who is out for a purpose now.

    An event without a time counts as earliest; at the same moment the opt-out wins. An opt-in takes
    back what it names and no more: after an opt-out of everything, only an opt-in to everything counts.
    """
    rows = (
        pl.DataFrame(pl.from_arrow(events.select(list(READS))))
        .filter(pl.col("kind").is_in(KINDS))
        .with_columns(pl.col("kind").eq("opt_out").alias("out"), pl.col("scope").fill_null("all"))
        .with_columns(
            handle=pl.when(handles.is_handle_key(pl.col("target_author"))).then("target_author"),
            author=pl.when(~handles.is_handle_key(pl.col("target_author"))).then("target_author"),
        )
        .sort(["event_at", "out"], nulls_last=False)
    )
    out: dict[str, set[str]] = {"author": set(), "handle": set(), "target_uid": set()}
    for scope in scopes_of(purpose):
        said = rows.filter((pl.col("scope") == scope) | ((pl.col("scope") == "all") & ~pl.col("out")))
        for column, names in out.items():
            last = said.filter(pl.col(column).is_not_null()).group_by(column, maintain_order=True).agg(pl.last("out"))
            names |= set(last.filter(pl.col("out"))[column])
    return OptOuts(frozenset(out["author"]), frozenset(out["handle"]), frozenset(out["target_uid"]))
