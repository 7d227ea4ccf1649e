"""The gate: the one function that says, for every post, why it may not be used for a purpose, or that it may.

It fails closed: a post that no rule speaks for is refused. All rules are columns over a whole table.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

import polars as pl
import pyarrow as pa

from townsquare.consent import countries, declarations, handles
from townsquare.consent.exclusions import Exclusion, excluded, exclusions_of
from townsquare.consent.grants import ANY, Grant, grants_of, verified_entries
from townsquare.consent.opt_outs import opt_outs
from townsquare.consent.regions import Whereabouts, whereabouts
from townsquare.errors import GrantError
from townsquare.records import POSTS
from townsquare.square import Square

LEARNING = ("train", "tune")
GENERATIVE = (*LEARNING, "retrieve")
"""The purposes that an author's declaration bears on: Bluesky's refuses generative AI at any stage, Mastodon's
`indexable: false` being searched."""

COLUMNS = (
    "uid", "network", "source_id", "author_id", "author_handle", "created_at", "text_status", "repost_of",
    "repost_of_author", "visibility", "withheld_countries", "withheld_copyright", "consent_intent", "state",
)  # fmt: skip
"""The columns of the posts table that the gate reads."""
POSTS_READ = pa.schema([POSTS.field(name) for name in COLUMNS])


@dataclasses.dataclass(frozen=True, eq=False)
class Consent:
    """Everything that the gate holds posts against: contracts, and what authors and owners have said."""

    grants: Sequence[Grant]
    exclusions: Sequence[tuple[Exclusion, Whereabouts | None]]
    """Those that were not lifted, each with its regions' authors."""
    events: pa.Table
    """Opt-outs and opt-ins (opt_outs.READS)."""
    declared: pl.DataFrame
    """Each author's latest declaration, as declarations.latest gives it."""


def consent_of(square: Square, events: pa.Table, declared: pa.Table) -> Consent:
    """What was said, as of now: the ledger's grants and exclusions, the stored events, and of the posts table the
    columns and rows that declare something (declarations.READS, SAID). Raises ProofError for an altered record."""
    entries = verified_entries(square)
    standing = [exclusion for exclusion in exclusions_of(entries) if not exclusion.lifted]
    held = [(e, whereabouts(square, e.regions_sha256, e.regions) if e.regions_sha256 else None) for e in standing]
    return Consent(grants_of(entries), held, events, declarations.latest(declared))


def refusals(posts: pa.Table, consent: Consent, purpose: str, at: dt.date) -> pa.Array:
    """For each row the first reason why it may not be used for `purpose`, or null where it may.

    `posts` has at least COLUMNS of records.POSTS. Reasons, in the order in which they speak: deleted,
    suppressed, no_grant, not_public, withheld, opted_out, excluded, unknown_original; for train, tune and
    retrieve denied_by_author; and for train and tune repost, truncated.
    """
    frame = pl.DataFrame(pl.from_arrow(posts.select(list(COLUMNS))))
    spoken = pl.coalesce(
        [pl.when(rule.fill_null(True)).then(pl.lit(reason)) for reason, rule in _rules(consent, purpose, at).items()]
    )
    return frame.select(spoken.cast(pl.String).alias("reason"))["reason"].to_arrow().cast(pa.string())


class Permit:
    """Which posts may be used for all of some purposes on a day. To ask often costs little: the rules are made once."""

    def __init__(self, consent: Consent, purposes: Sequence[str], at: dt.date) -> None:
        rules = [rule for purpose in purposes for rule in _rules(consent, purpose, at).values()]
        self._allows = ~pl.any_horizontal([rule.fill_null(True) for rule in rules])

    def allowed(self, posts: pa.Table) -> pa.Array:
        """For each row whether no rule refuses; `posts` has at least COLUMNS of records.POSTS."""
        frame = pl.DataFrame(pl.from_arrow(posts.select(list(COLUMNS))))
        return frame.select(allows=self._allows)["allows"].to_arrow()


def judgements(post: pa.Table, consent: Consent, purpose: str, at: dt.date) -> dict[str, bool]:
    """Every rule, in order, for a table of one post: whether it refuses."""
    frame = pl.DataFrame(pl.from_arrow(post.select(list(COLUMNS))))
    rules = _rules(consent, purpose, at)
    return dict(frame.select(rule.fill_null(True).alias(reason) for reason, rule in rules.items()).row(0, named=True))


def _rules(consent: Consent, purpose: str, at: dt.date) -> dict[str, pl.Expr]:
    """For each reason, in order, an expression that is true where it refuses; null counts as true."""
    author = pl.concat_str([pl.col("network"), pl.lit(":"), pl.col("author_id")])
    covered, seen, free = _granted(consent.grants, purpose, at, author)
    out = opt_outs(consent.events, purpose)
    rules = {
        "deleted": pl.col("state").is_in(["deleted", "tombstone"]),
        "suppressed": pl.col("state") != "live",
        "no_grant": ~covered,
        "not_public": ~seen,
        "withheld": ~free,
        "opted_out": _among(author, out.authors)
        | _among(pl.col("uid"), out.posts)
        | _among(pl.col("repost_of"), out.posts)
        | _of_handle(author.is_null(), pl.col("author_handle"), out.handles)
        | _original(out.authors, out.handles),
        "excluded": pl.any_horizontal(
            [pl.lit(False), *(excluded(e, w, author) for e, w in consent.exclusions if purpose in e.purposes)]
        ),
        # A repost whose original is unknown carries words of somebody whose takedown could not find it.
        "unknown_original": pl.col("repost_of").is_null() & pl.col("repost_of_author").is_not_null(),
    }
    if purpose in GENERATIVE:
        rules["denied_by_author"] = _denied(consent.declared, author)
    if purpose in LEARNING:
        rules["repost"] = pl.col("repost_of").is_not_null()
        rules["truncated"] = pl.col("text_status").is_in(["truncated", "missing"])
    return rules


def _granted(grants: Sequence[Grant], purpose: str, at: dt.date, author: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Whether a live grant covers the post; covers it and reaches its visibility; and holds nowhere it is withheld.

    Grants of the same reach are one expression, however many authors gave one each.
    """
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Grant]] = defaultdict(list)
    for grant in grants:
        if grant.live(at) and purpose in grant.purposes:
            alike[grant.visibilities, grant.territory].append(grant)
    covered, seen, free = [pl.lit(False)], [pl.lit(False)], [pl.lit(False)]
    for (visibilities, territory), same in alike.items():
        covers = _covers(same, author)
        covered.append(covers)
        seen.append(covers & pl.col("visibility").is_in(list(visibilities)))
        free.append(seen[-1] & ~_withheld(territory))
    return pl.any_horizontal(covered), pl.any_horizontal(seen), pl.any_horizontal(free)


def _covers(grants: Sequence[Grant], author: pl.Expr) -> pl.Expr:
    sources = {source for grant in grants for source in grant.sources}
    if ANY in sources:
        return pl.lit(True)
    return (
        _among(pl.col("source_id"), sources)
        | _among(pl.col("network"), {network for grant in grants for network in grant.networks})
        | _among(author, {author for grant in grants for author in grant.authors})
    )


def _withheld(territory: Collection[str]) -> pl.Expr:
    """Whether the post is withheld anywhere in the territory."""
    countries_named = pl.col("withheld_countries").fill_null([])
    where = countries_named.list.len() > 0
    if countries.WORLDWIDE not in territory:
        inside = countries.expanded(territory) | countries.wider(territory) | countries.EVERYWHERE
        named = pl.element().str.to_uppercase().is_in(sorted(inside)).fill_null(True)
        where = countries_named.list.eval(named).list.any()
    return where | pl.col("withheld_copyright").fill_null(False)


def _among(column: pl.Expr, names: Collection[str]) -> pl.Expr:
    return (
        column.is_in(pl.Series(sorted(names), dtype=pl.String).implode()).fill_null(False) if names else pl.lit(False)
    )


def _of_handle(where: pl.Expr, handle: pl.Expr, keys: Collection[str]) -> pl.Expr:
    """Whether the handle is one of those that opted out. Only `where` no id says more: handles change hands."""
    if not keys:
        return pl.lit(False)
    return where & _among(handles.handle_keys(pl.col("network"), handle), keys)


def _original(authors: Collection[str], keys: Collection[str]) -> pl.Expr:
    """Whether a repost's original is of somebody who opted out: by id, or, where only that is known, by handle."""
    who = pl.col("repost_of_author")
    by_id = _among(pl.concat_str([pl.col("network"), pl.lit(":"), who]), authors)
    return by_id | _of_handle(who.is_not_null(), who, keys)


def _denied(declared: pl.DataFrame, author: pl.Expr) -> pl.Expr:
    """Whether the author's latest declaration refuses; a post's own counts where its author is not known."""
    deny, allow = (declared.filter(pl.col("intent") == intent)["author"].to_list() for intent in ("deny", "allow"))
    own = pl.col("consent_intent").fill_null("undefined") == "deny"
    return _among(author, deny) | (own & ~_among(author, allow))


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
            f"--source '*' --purpose {purpose}\nWhat holds one post back: townsquare consent why UID --for {purpose}"
        ),
    )


def today() -> dt.date:
    """The current day, UTC: the day on which grants must hold."""
    return dt.datetime.now(dt.UTC).date()
