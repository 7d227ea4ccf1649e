"""The gate: the one function that says, for every post, why it may not be used for a purpose, or that it may.

It fails closed: a post that no rule speaks for is refused. All rules are columns over a whole table.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from townsquare.consent.grants import ANY, Grant
from townsquare.errors import GrantError

LEARNING = ("train", "tune")

COLUMNS = (
    "uid", "network", "source_id", "author_id", "text_status", "repost_of", "repost_of_author", "visibility",
    "withheld_countries", "withheld_copyright", "consent_intent", "state",
)  # fmt: skip
"""The columns of the posts table that the gate reads."""


@dataclasses.dataclass(frozen=True)
class OptOuts:
    """Authors (NETWORK:ID) and posts (uid) that opted out of `purpose` or of everything, as of now."""

    authors: frozenset[str] = frozenset()
    posts: frozenset[str] = frozenset()


def opt_outs(events: pa.Table, purpose: str) -> OptOuts:
    """Fold opt_out and opt_in events (records.EVENTS), by time, into who is out for a purpose now.

    An event without a time counts as earliest; at the same moment the opt-out wins. Who opts out of
    training is out for tuning too: lists of opt-outs know no other word for learning. An opt-in takes
    back what it names and no more: after an opt-out of everything, only an opt-in to everything counts.
    """
    scopes = ["all", purpose, *(["train"] if purpose == "tune" else [])]
    rows = (
        pl.DataFrame(pl.from_arrow(events.select(["kind", "target_uid", "target_author", "scope", "event_at"])))
        .filter(pl.col("kind").is_in(["opt_out", "opt_in"]))
        .with_columns(pl.col("kind").eq("opt_out").alias("out"), pl.col("scope").fill_null("all"))
        .sort(["event_at", "out"], nulls_last=False)
    )
    out: dict[str, set[str]] = {"target_author": set(), "target_uid": set()}
    for scope in scopes:
        said = rows.filter((pl.col("scope") == scope) | ((pl.col("scope") == "all") & ~pl.col("out")))
        for column, names in out.items():
            last = said.filter(pl.col(column).is_not_null()).group_by(column, maintain_order=True).agg(pl.last("out"))
            names |= set(last.filter(pl.col("out"))[column])
    return OptOuts(frozenset(out["target_author"]), frozenset(out["target_uid"]))


def refusals(posts: pa.Table, *, grants: Sequence[Grant], opted_out: OptOuts, purpose: str, at: dt.date) -> pa.Array:
    """For each row the first reason why it may not be used for `purpose`, or null where it may.

    `posts` has at least COLUMNS of records.POSTS. Reasons, in the order in which they speak: deleted,
    suppressed, no_grant, not_public, withheld, opted_out, unknown_original; and for train and tune
    denied_by_author, repost, truncated.
    """
    frame = pl.DataFrame(pl.from_arrow(posts.select(list(COLUMNS))))
    spoken = pl.coalesce(
        [pl.when(rule.fill_null(True)).then(pl.lit(reason)) for reason, rule in _rules(grants, opted_out, purpose, at)]
    )
    return frame.select(spoken.cast(pl.String).alias("reason"))["reason"].to_arrow().cast(pa.string())


def _rules(grants: Sequence[Grant], opted_out: OptOuts, purpose: str, at: dt.date) -> list[tuple[str, pl.Expr]]:
    """(reason, expression that is true where it refuses); null counts as true."""
    live = [grant for grant in grants if grant.live(at) and purpose in grant.purposes]
    author = pl.concat_str([pl.col("network"), pl.lit(":"), pl.col("author_id")])
    covered = pl.any_horizontal([pl.lit(False), *(_covers(grant, author) for grant in live)])
    seen = pl.any_horizontal(
        [
            pl.lit(False),
            *(_covers(g, author) & pl.col("visibility").is_in(list(g.visibilities)) for g in live),
        ]
    )
    rules = [
        ("deleted", pl.col("state").is_in(["deleted", "tombstone"])),
        ("suppressed", pl.col("state") != "live"),
        ("no_grant", ~covered),
        ("not_public", ~seen),
        (
            "withheld",
            (pl.col("withheld_countries").list.len().fill_null(0) > 0) | pl.col("withheld_copyright").fill_null(False),
        ),
        (
            "opted_out",
            author.is_in(sorted(opted_out.authors)).fill_null(False) | pl.col("uid").is_in(sorted(opted_out.posts)),
        ),
    ]
    # A repost whose original is unknown carries words of somebody whose takedown could not find it.
    rules.append(("unknown_original", pl.col("repost_of").is_null() & pl.col("repost_of_author").is_not_null()))
    if purpose in LEARNING:
        rules += [
            ("denied_by_author", pl.col("consent_intent").fill_null("undefined") == "deny"),
            ("repost", pl.col("repost_of").is_not_null()),
            ("truncated", pl.col("text_status").is_in(["truncated", "missing"])),
        ]
    return rules


def _covers(grant: Grant, author: pl.Expr) -> pl.Expr:
    if ANY in grant.sources:
        return pl.lit(True)
    return (
        pl.col("source_id").is_in(list(grant.sources))
        | pl.col("network").is_in(list(grant.networks))
        | author.is_in(list(grant.authors)).fill_null(False)
    )


def explain(
    post: pa.Table, *, grants: Sequence[Grant], opted_out: OptOuts, purpose: str, at: dt.date
) -> list[tuple[str, bool]]:
    """Every rule for a table of one post: (reason, whether it refuses)."""
    frame = pl.DataFrame(pl.from_arrow(post.select(list(COLUMNS))))
    rules = _rules(grants, opted_out, purpose, at)
    answers = frame.select([rule.fill_null(True).alias(reason) for reason, rule in rules]).row(0)
    return [(reason, bool(answer)) for (reason, _), answer in zip(rules, answers, strict=True)]


def require_any(reasons: pa.Array, purpose: str) -> None:
    """Raise GrantError, with the counts by reason and the command to type, when nothing at all is allowed."""
    counts = Counter(reason for reason in reasons.to_pylist())
    if None in counts:
        return
    told = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common()) or "there are no posts"
    raise GrantError(
        f"no post may be used to {purpose}: {told}",
        remedy=(
            "Record who allows it, for example: townsquare grant add --grantor NAME --grantee NAME "
            f"--source '*' --purpose {purpose}"
        ),
    )


def today() -> dt.date:
    """The current day, UTC: the day on which grants must hold."""
    return dt.datetime.now(dt.UTC).date()
