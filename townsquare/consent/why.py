"""The gate explains itself: every rule that spoke of a post, by what it spoke, and what would change its word.

Content-free: ids, dates and the words of grants and exclusions, never a post's text or an author's name.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from townsquare.consent import gate, handles
from townsquare.consent.countries import EVERYWHERE
from townsquare.consent.gate import Consent
from townsquare.consent.grants import ANY, Grant
from townsquare.consent.opt_outs import scopes_of

Row = Mapping[str, Any]
Told = tuple[str, str | None]
"""What a rule saw, and, where it refuses, what would change that."""

ASKED = ("state_event_id", "consent_source", "consent_seen_at")
"""What is told beside the columns that the gate judges by."""

UNDONE_BY = {
    "protect": "unprotect", "suspend": "unsuspend", "author_delete": "author_undelete", "drop": "undrop",
    "opt_out": "opt_in",
}  # fmt: skip
NO_GRANT = "What changes the rules before; then this one has something to ask."
GONE = "Nothing: a deletion wins over every source, in any order."

HELD_BACK = {
    "possible_circle_post": (
        "its author used a Circle, and from August 2022 to November 2023 archives do not say which posts were for it",
        "Another source in which it is public, such as a page of X API v2 or of a stream.",
    ),
    "protected_period": (
        "it was made while its author's account was protected, by the archive's own history",
        "Another source in which it is public, such as a page of X API v2 or of a stream.",
    ),
}
"""Reasons of quarantine that are about consent: what they say, and what would change it."""


@dataclasses.dataclass(frozen=True)
class Spoken:
    """One rule's word on one post."""

    rule: str
    refuses: bool
    says: str
    change: str | None = None
    """What would change it; null where it does not refuse."""


@dataclasses.dataclass(frozen=True)
class _Case:
    post: Row
    consent: Consent
    purpose: str
    at: dt.date
    events: Sequence[Row]
    """Events that name the post, its author, its original or another version of it."""

    @property
    def author(self) -> str | None:
        known = self.post["author_id"]
        return f"{self.post['network']}:{known}" if known else None

    @property
    def holding(self) -> list[Grant]:
        return [g for g in self.consent.grants if _not_holding(g, self) is None]

    def exclusions(self) -> list[Any]:
        """Those that by themselves take the post out, as the gate itself says."""
        table = pa.Table.from_pylist([dict(self.post)], schema=gate.POSTS_READ)
        alone = ((pair[0], dataclasses.replace(self.consent, exclusions=[pair])) for pair in self.consent.exclusions)
        return [e for e, consent in alone if gate.judgements(table, consent, self.purpose, self.at)["excluded"]]


def why(post: pa.Table, consent: Consent, purpose: str, at: dt.date, events: Sequence[Row]) -> list[Spoken]:
    """Every rule, in the order in which they speak, for a table of one post (gate.COLUMNS and ASKED).

    Whether a rule refuses is the gate's own word, never a second opinion.
    """
    row = post.to_pylist()[0]
    case = _Case(row, consent, purpose, at, events)
    spoken = []
    for rule, refuses in gate.judgements(post, consent, purpose, at).items():
        says, change = TELLERS[rule](case, refuses)
        spoken.append(Spoken(rule, refuses, says, change if refuses else None))
    return spoken


def held_back(row: Row, *, here: bool) -> Spoken:
    """A quarantined input (records.QUARANTINE) of a post; it refuses unless the post is `here` from another source."""
    says, change = HELD_BACK.get(row["reason"], ("", "A source in which it can be read whole."))
    told = f"{row['reason']} in {row['source_id']} ({row['source_locator']})" + (f": {says}" if says else "")
    if here:
        return Spoken("quarantined", False, f"{told}; another source brought the post")
    return Spoken("quarantined", True, told, change)


def gone(event: Row) -> Spoken:
    """A deletion of a post that is not here: should it come, it will not be used."""
    return Spoken("deleted", True, f"it is not here, and would be deleted by {_event(event)}", GONE)


def _state(case: _Case, refuses: bool) -> Told:
    state = case.post["state"]
    if not refuses:
        return f"its state is {state}", None
    event = next((e for e in case.events if e["event_id"] == case.post["state_event_id"]), None)
    if event is None:
        return f"its state is {state}, by the event {case.post['state_event_id'] or 'unknown'}", GONE
    says = f"its state is {state}, by {_event(event)}"
    back = UNDONE_BY.get(event["kind"])
    if state != "suppressed":
        return says, GONE
    if back is None:
        return says, f"Nothing: no event takes back {event['kind']}."
    return (
        says,
        f"A later event {back} of {event['target_uid'] or event['target_author']}, unless another holds it too.",
    )


def _event(event: Row) -> str:
    target = event["target_uid"] or event["target_author"]
    scope = f" of {event['scope']}" if event["kind"].startswith("opt_") else ""
    return f"{event['kind']}{scope} {_day(event['event_at'])} (event {event['event_id']} of {target})"


def _day(moment: dt.datetime | None) -> str:
    return f"on {moment:%Y-%m-%d}" if moment else "at an unknown time"


def _grant(case: _Case, refuses: bool) -> Told:
    if not refuses:
        return "allowed by " + "; ".join(_in_words(g) for g in case.holding), None
    reasons = [f"{g.id} {_not_holding(g, case)}" for g in case.consent.grants]
    covers = ("--author", case.author) if case.author else ("--source", case.post["source_id"])
    return (
        f"no live grant allows to {case.purpose} it" + (": " + "; ".join(reasons) if reasons else ": there is none"),
        f"A grant, for example: townsquare grant add --grantor NAME --grantee NAME "
        f"{shlex.join(covers)} --purpose {case.purpose}",
    )


def _in_words(grant: Grant) -> str:
    until = f" until {grant.ends}" if grant.ends else ""
    return f"{grant.id} ({grant.grantor} to {grant.grantee}, {', '.join(grant.territory)}{until})"


def _not_holding(grant: Grant, case: _Case) -> str | None:
    """Why the grant does not cover the post on that day, or None where it does."""
    day = case.at.isoformat()
    covers = (
        ANY in grant.sources
        or case.post["source_id"] in grant.sources
        or case.post["network"] in grant.networks
        or case.author in grant.authors
    )
    checks = {
        "was revoked": grant.revoked,
        f"begins on {grant.starts}": grant.starts is not None and grant.starts > day,
        f"ended on {grant.ends}": grant.ends is not None and grant.ends < day,
        f"is for {', '.join(grant.purposes)}": case.purpose not in grant.purposes,
        "does not cover it": not covers,
    }
    return next((reason for reason, speaks in checks.items() if speaks), None)


def _visibility(case: _Case, refuses: bool) -> Told:
    seen = case.post["visibility"]
    if not case.holding:
        return f"it is {seen}, and no grant is there to reach it", NO_GRANT
    reaches = "; ".join(f"{g.id} reaches {', '.join(g.visibilities)}" for g in case.holding)
    # Of several sources the most closed visibility counts, so that another one opens nothing but the unknown.
    other = "A source that says who could see it, or a" if seen == "unknown" else "A"
    return f"it is {seen}; {reaches}", f"{other} grant with --visibility {seen}."


def _withheld(case: _Case, refuses: bool) -> Told:
    countries = [str(c) for c in case.post["withheld_countries"] or []]
    parts = [f"withheld in {', '.join(countries)}"] if countries else []
    parts += ["withheld after a copyright complaint"] if case.post["withheld_copyright"] else []
    says = f"it is {' and '.join(parts) or 'withheld nowhere'}"
    reaching = [g for g in case.holding if case.post["visibility"] in g.visibilities]
    if not reaching:
        return f"{says}, and no grant is there to reach it", NO_GRANT
    if parts:
        says += "; " + "; ".join(f"{g.id} holds in {', '.join(g.territory)}" for g in reaching)
    if case.post["withheld_copyright"] or not EVERYWHERE.isdisjoint(country.upper() for country in countries):
        return says, "Nothing: it is withheld everywhere."
    return says, "A grant whose --territory leaves those countries out."


def _opted_out(case: _Case, refuses: bool) -> Told:
    post, network = case.post, case.post["network"]
    names = {case.author, post["uid"], post["repost_of"]}
    if post["repost_of_author"]:
        names |= {f"{network}:{post['repost_of_author']}", handles.handle_key(network, post["repost_of_author"])}
    if not case.author and post["author_handle"]:
        names.add(handles.handle_key(network, post["author_handle"]))
    bearing = [
        event
        for event in sorted(case.events, key=lambda e: str(e["event_at"] or ""))
        if event["kind"] in ("opt_out", "opt_in")
        and (event["scope"] or "all") in {*scopes_of(case.purpose), "all"}
        and {event["target_uid"], event["target_author"]} & (names - {None})
    ]
    said = "; ".join(_event(event) for event in bearing) or f"nobody opted it out of {case.purpose}"
    if any(":@" in (event["target_author"] or "") for event in bearing):
        return said, "A source with the id of whoever has that handle, then a later opt_in of that id."
    return said, "A later opt_in of the same scope, or of all, that names the same author or post by id."


def _excluded(case: _Case, refuses: bool) -> Told:
    if not refuses:
        return "no exclusion bears on it", None
    found = case.exclusions()
    says = "; ".join(f"{e.id}: {e.reason} ({_bounds(e)})" for e in found)
    return says, "Lifting it: " + "; ".join(f"townsquare consent lift {e.id}" for e in found)


def _bounds(exclusion: Any) -> str:
    whom = [f"{len(exclusion.authors)} authors"] if exclusion.authors else []
    whom += [f"authors in {', '.join(exclusion.regions)}"] if exclusion.regions else []
    days = f", posts {exclusion.starts or 'from the first'} to {exclusion.ends or 'the last'}"
    unknown = "" if exclusion.unknown == "keep" else ", and what is not known to be outside"
    return (" and ".join(whom) or "everybody") + (days if exclusion.starts or exclusion.ends else "") + unknown


def _original(case: _Case, refuses: bool) -> Told:
    if refuses:
        return (
            "it repeats another author's words, and which post they are of is not known",
            "A source that names the original, such as a page of X API v2.",
        )
    return "it is no repost of an unknown original", None


def _denied(case: _Case, refuses: bool) -> Told:
    declared = case.consent.declared
    mine = [row for row in declared.iter_rows(named=True) if row["author"] == case.author] if case.author else []
    own = {name: case.post[f"consent_{name}"] for name in ("intent", "source", "seen_at")}
    last = mine[0] if mine else own
    if last["intent"] not in ("allow", "deny"):
        return "its author declares nothing", None
    source = f" by {last['source']}" if last["source"] else ""
    says = f"its author's latest declaration is {last['intent']}{source}, seen {_day(last['seen_at'])}"
    if last["seen_at"] is None:
        return says, "Nothing: when it was said is not known, so that no word of the author's can be told to be later."
    return says, "A later declaration of the author that allows it, when a source with it is ingested."


def _repost(case: _Case, refuses: bool) -> Told:
    if refuses:
        return (
            f"it is a repost of {case.post['repost_of']}",
            "Nothing: its original, where that is here, is used in its place.",
        )
    return "it is no repost", None


def _truncated(case: _Case, refuses: bool) -> Told:
    return f"its text is {case.post['text_status']}", "A source that has its whole text."


TELLERS: Mapping[str, Callable[[_Case, bool], Told]] = {
    "deleted": _state,
    "suppressed": _state,
    "no_grant": _grant,
    "not_public": _visibility,
    "withheld": _withheld,
    "opted_out": _opted_out,
    "excluded": _excluded,
    "unknown_original": _original,
    "denied_by_author": _denied,
    "repost": _repost,
    "truncated": _truncated,
}
