"""What the owner's page shows: where the square stands, its runs, who lends, what is owed and spent, who may ask what.

Ids, names of parties and figures; never a post's text. The ledger is verified once and read once.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Sequence
from typing import Any

from townsquare import status
from townsquare.consent.grants import Grant, grants_of
from townsquare.errors import ProofError
from townsquare.fleet.book import HOUR, Book, book_of
from townsquare.fleet.charging import key_of, usage_now
from townsquare.fleet.pools import Lease
from townsquare.ledger import Entry, Ledger
from townsquare.report.runs import listed
from townsquare.square import Square

SOON_DAYS = 60
"""A grant or a lease with fewer days left is told as ending soon."""
LATEST = 10
"""Takedowns that are listed one by one."""
PACE_DAYS = 7
"""Over which what is used a day is averaged."""


def overview(square: Square, at: dt.datetime | None = None) -> dict[str, Any]:
    """All that the page shows, as of `at` (UTC), by its section. An altered ledger is told in `broken`, not raised."""
    at = at or dt.datetime.now(dt.UTC)
    with Ledger.open(square) as ledger:
        try:
            ledger.verify()
            entries = ledger.entries()
        except ProofError as error:
            return {"square": square.root.name, "at": at.isoformat(timespec="seconds"), "broken": error.message}
    book = book_of(entries)
    book.usage |= {key_of(row): row for row in usage_now(square)}
    return {
        "square": square.root.name,
        "at": at.isoformat(timespec="seconds"),
        "broken": None,
        "rows": len(entries),
        "head": entries[-1].hash if entries else None,
        "standing": status.to_json(square),
        "runs": _runs(square, book),
        "leases": [_lease(book, lease, at) for lease in book.leases.values()],
        "takedowns": _takedowns(entries),
        "grants": [_grant(grant, at.date()) for grant in grants_of(entries) if not grant.revoked],
        "answers": _answers(entries, at),
    }


def _runs(square: Square, book: Book) -> list[dict[str, Any]]:
    """As `townsquare runs list`, the newest first, with the GPU-hours that each has used and lost, and whose."""
    found = []
    for run in reversed(listed(square)):
        mine = [row for row in book.usage.values() if row["run"] == run["name"]]
        lenders = {book.pool_of(book.leases[row["lease"]]).lender for row in mine if row["lease"] in book.leases}
        hours = {name: sum(row[f"{name}_seconds"] * row["devices"] for row in mine) / HOUR for name in ("used", "lost")}
        found.append({**run, "used_gpu_hours": hours["used"], "lost_gpu_hours": hours["lost"],
                      "lenders": sorted(lenders)})  # fmt: skip
    return found


def _lease(book: Book, lease: Lease, at: dt.datetime) -> dict[str, Any]:
    """One lease: what it lends, until when, what was used of it, and how long its budgets last at the present pace."""
    pool, ran = book.pool_of(lease), book.running_seconds(lease)
    begun = max(lease.opens, at - dt.timedelta(days=PACE_DAYS))
    days = max((at - begun).total_seconds() / 86_400, 1.0)
    first = begun.date().isoformat()
    if lease.charge == "reserved":
        recent = lease.reserved_seconds(begun, at)
    else:
        recent = sum(book.running_seconds(lease, first, at.date().isoformat()).values())
    seconds_left = book.seconds_left(lease, at)
    budgets = book.budget_left(lease, at)
    return {
        "id": lease.id,
        "lender": pool.lender,
        "gpu": pool.gpu,
        "gpus": lease.gpus,
        "state": _state(lease, at),
        "ends": lease.closes.date().isoformat() if lease.recalled_at else lease.ends,
        "recalled": lease.recalled_at is not None,
        "days_left": (lease.closes.date() - at.date()).days,
        "used_gpu_hours": ran["used"] / HOUR,
        "lost_gpu_hours": ran["lost"] / HOUR,
        "budgets": [
            {"unit": unit, "limit": limit, "left": left, "share": min(1.0, max(0.0, 1 - left / limit))}
            for unit, limit in (("gpu_hours", lease.budget_gpu_hours), ("usd", lease.budget_usd))
            if limit is not None and (left := budgets[unit]) is not None
        ],
        "gpu_hours_a_day": recent / HOUR / days,
        "budget_days": None if seconds_left is None or not recent else max(seconds_left, 0.0) / (recent / days),
    }


def _state(lease: Lease, at: dt.datetime) -> str:
    if at >= lease.closes:
        return "ended"
    return "running" if at >= lease.opens else "to come"


def _takedowns(entries: Sequence[Entry]) -> dict[str, Any]:
    """How many there were, how long each took from request to proof, and the last search of every copy."""
    done = [entry for entry in entries if entry.kind == "takedown"]
    proofs = [entry for entry in entries if entry.kind == "takedown_proof"]
    asked = {entry.body["name"]: entry for entry in entries if entry.kind == "takedown_asked"}
    ended = {entry.key.partition(":")[2] for entry in done if entry.key}
    seconds = [entry.body["latency_seconds"] for entry in done]
    return {
        "count": len(done),
        "median_seconds": statistics.median(seconds) if seconds else None,
        "longest_seconds": max(seconds, default=None),
        "unfinished": [{"row": entry.seq, "at": entry.at} for name, entry in asked.items() if name not in ended],
        "latest": [_takedown(entry) for entry in reversed(done[-LATEST:])],
        "proof": {"at": proofs[-1].at, "left": proofs[-1].body["left"]} if proofs else None,
    }


def _takedown(entry: Entry) -> dict[str, Any]:
    said = entry.body
    return {
        "row": entry.seq,
        "received_at": said["received_at"],
        "posts": len(said["posts"]),
        "authors": len(said["authors"]),
        "erased": sum(copy["erased"] for copy in said["copies"].values()),
        "latency_seconds": said["latency_seconds"],
        "models": sorted(said["models_that_saw_them"]),
    }


def _grant(grant: Grant, today: dt.date) -> dict[str, Any]:
    days = (dt.date.fromisoformat(grant.ends) - today).days if grant.ends else None
    state = "in force" if grant.live(today) else "ended" if days is not None and days < 0 else "to come"
    return {
        "id": grant.id,
        "grantor": grant.grantor,
        "grantee": grant.grantee,
        "purposes": list(grant.purposes),
        "ends": grant.ends,
        "days_left": days,
        "state": "ends soon" if state == "in force" and days is not None and days < SOON_DAYS else state,
    }


def _answers(entries: Sequence[Entry], at: dt.datetime) -> dict[str, Any]:
    """Answers as the ledger counts them, in all and over the last PACE_DAYS days."""
    rows = [entry for entry in entries if entry.kind == "answers"]
    since = (at - dt.timedelta(days=PACE_DAYS)).isoformat()
    recent = [entry for entry in rows if entry.body["until"] >= since]
    names = ("answers", "nothing_found", "posts_cited", "tokens_read", "tokens_written")
    return {
        "all": {name: sum(entry.body.get(name, 0) for entry in rows) for name in names},
        "lately": {name: sum(entry.body.get(name, 0) for entry in recent) for name in names},
    }
