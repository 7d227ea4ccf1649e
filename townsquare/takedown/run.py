"""The takedown stage: events -> every copy without the posts, a scan that counts zero, a ledger entry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json

from townsquare import receipts
from townsquare.errors import ProofError
from townsquare.ingest import tables
from townsquare.ledger import Entry, Ledger
from townsquare.receipts import Input, Receipt
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.copies import erase_everywhere, find_everywhere, seen_by_runs
from townsquare.takedown.targets import Targets, event_rows, removed_uids, resolve, texts_only_of

NOT_UNLEARNING = (
    "The posts are in no copy and in no future build. Models that learned from them before keep traces "
    "until they are trained anew."
)


def run(square: Square, config: TakedownConfig) -> Receipt:
    """Apply a takedown to every copy and prove it. Killed at any moment, the same command ends it.

    Raises InputError for a target that cannot be understood, ProofError when the scan finds a copy.
    """
    targets = resolve(square, config, _remembered_handles(square))
    named = bool(targets.posts or targets.authors)
    inputs = [] if named else [Input("events", _events_sha256(square))]
    name = _name(square, config, targets, inputs)
    asked = dataclasses.replace(config, post=targets.posts, author=targets.authors, list=None)
    with receipts.stage(square, "takedown", inputs=inputs, config=asked, name=name) as work:
        if work.done:
            return work.done
        begun = _begin(square, name, targets)
        received = dt.datetime.fromisoformat(begun.at)
        rows = event_rows(targets, config, name, received)
        tables.upsert_events(square, rows)
        texts = texts_only_of(square, tables.uids_held_back(square))
        tables.blank_quarantined(square, texts)
        tables.apply_events(square)
        uids = removed_uids(square)
        erased = erase_everywhere(square, uids)
        left = find_everywhere(square, uids, texts)
        applied = dt.datetime.now(dt.UTC)
        runs = seen_by_runs(square, uids)
        work.count(seen=len(uids), events=len(rows))
        work.results.update(
            posts_removed=len(uids),
            posts_newly_removed=max(0, len(uids) - begun.body["removed_before"]),
            texts_searched=len(texts),
            copies={copy: {"erased": erased.get(copy, 0), "left": left[copy]} for copy in left},
            left=sum(left.values()),
            runs_that_saw_them={run: n for run, n in runs.items() if n},
            received_at=received.isoformat(timespec="seconds"),
            applied_at=applied.isoformat(timespec="seconds"),
            latency_seconds=round((applied - received).total_seconds(), 3),
            note=NOT_UNLEARNING,
        )
        if sum(left.values()):
            raise _found(left)
        with Ledger.open(square) as ledger:
            ledger.append("takedown", _entry(work.results, uids, targets), key=f"takedown:{name}")
    return work.receipt


def prove(square: Square) -> dict[str, int]:
    """Search every copy for every removed post, again. Raises ProofError naming the places that hold one."""
    left = find_everywhere(square, removed_uids(square), [])
    if sum(left.values()):
        raise _found(left)
    return left


def _found(left: dict[str, int]) -> ProofError:
    places = ", ".join(f"{copy} ({count})" for copy, count in left.items() if count)
    return ProofError(
        f"removed posts are still in: {places}",
        remedy="Run the same takedown again; if it finds them again, keep the square offline and report a defect.",
    )


def _name(square: Square, config: TakedownConfig, targets: Targets, inputs: list[Input]) -> str:
    """The same request has the same name, and so is done once; unless it was undone since: then it is a new one."""
    undone = tables.events_against(square, targets.kinds(config))
    parts = [targets.posts, targets.authors, config.kind, config.reason, undone, [i.sha256 for i in inputs]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _events_sha256(square: Square) -> str:
    ids = sorted(tables.read_events(square)["event_id"].to_pylist())
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _begin(square: Square, name: str, targets: Targets) -> Entry:
    """The ledger's row of when this takedown was first asked for: kept over a kill, so that the latency is honest."""
    tables.ensure(square)
    body = {
        "name": name,
        "posts": list(targets.posts),
        "authors": list(targets.authors),
        "handles": dict(targets.handles),
        "removed_before": len(removed_uids(square)),
    }
    with Ledger.open(square) as ledger:
        return ledger.append("takedown_asked", body, key=f"takedown_asked:{name}")


def _remembered_handles(square: Square) -> dict[str, str]:
    """Authors by the hash of the handle that an earlier takedown named them by, the latest last."""
    with Ledger.open(square) as ledger:
        return {k: v for entry in ledger.entries("takedown_asked") for k, v in entry.body["handles"].items()}


def _entry(results: dict[str, object], uids: frozenset[str], targets: Targets) -> dict[str, object]:
    """The ledger's content-free record: which posts and authors (ids), when, what was touched, who saw them."""
    fields = ("copies", "left", "runs_that_saw_them", "received_at", "applied_at", "latency_seconds")
    return {field: results[field] for field in fields} | {
        "posts": list(targets.posts),
        "authors": list(targets.authors),
        "removed_sha256": hashlib.sha256("\n".join(sorted(uids)).encode()).hexdigest(),
        "removed_count": len(uids),
    }
