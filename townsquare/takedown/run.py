"""The takedown stage: events -> every copy without the posts, a scan that counts zero, a ledger entry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import time

from townsquare import receipts
from townsquare.errors import ProofError
from townsquare.ingest import tables
from townsquare.ledger import Entry, Ledger
from townsquare.receipts import Input, Receipt
from townsquare.square import Square, current_version
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.copies import erase_everywhere, find_everywhere, models_of_runs, seen_by_runs
from townsquare.takedown.targets import Targets, event_rows, resolve

NOT_UNLEARNING = (
    "The posts are in no copy and in no future build. Models that learned from them before keep traces "
    "until they are trained anew."
)


def run(square: Square, config: TakedownConfig) -> Receipt:
    """Apply a takedown to every copy and prove it. Killed at any moment, the same command ends it.

    Raises InputError for a target that cannot be understood, ProofError when the scan finds a copy.
    """
    targets = resolve(square, config)
    named = bool(targets.posts or targets.authors)
    inputs = [] if named else [Input("events", _events_sha256(square))]
    name = _name(square, config, targets, inputs)
    asked = dataclasses.replace(config, post=targets.posts, author=targets.authors, list=None)
    with receipts.stage(square, "takedown", inputs=inputs, config=asked, name=name) as work:
        if work.done:
            return work.done
        begun, clock = _begin(square, name, targets), _Clock()
        received = dt.datetime.fromisoformat(begun.at)
        rows = event_rows(targets, config, name, received)
        tables.upsert_events(square, rows)
        tables.apply_events(square)  # from here on no reader gets the posts
        uids, cut = tables.removed_uids(square), tables.quotes_cut(square)
        traces = tables.traces_of_removed(square)
        clock.lap("states_and_traces")
        tables.blank_quarantined(square, traces)
        erased = erase_everywhere(square, uids, traces, cut)
        clock.lap("erasing")
        left = find_everywhere(square, uids, traces, cut)
        clock.lap("searching")
        applied, runs = dt.datetime.now(dt.UTC), seen_by_runs(square, uids)
        work.count(seen=len(uids), events=len(rows))
        work.results.update(
            posts_removed=len(uids),
            posts_newly_removed=max(0, len(uids) - begun.body["removed_before"]),
            posts_with_a_quotation_cut=len(cut),
            texts_searched=len(traces),
            copies={copy: {"erased": erased.get(copy, 0), "left": count} for copy, count in left.items()},
            left=sum(left.values()),
            versions={part: [begun.body["versions"][part], now] for part, now in _versions(square).items()},
            runs_that_saw_them=runs,
            models_that_saw_them=models_of_runs(square, runs),
            sources_that_brought_them=tables.sources_of_removed(square),
            received_at=received.isoformat(timespec="seconds"),
            applied_at=applied.isoformat(timespec="seconds"),
            latency_seconds=round((applied - received).total_seconds(), 3),
            seconds_by_step=clock.laps,
            note=NOT_UNLEARNING,
        )
        if sum(left.values()):
            raise found(left)
        with Ledger.open(square) as ledger:
            ledger.append("takedown", _entry(work.results, uids, targets), key=f"takedown:{name}")
        tables.forget_cut(square)
    return work.receipt


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.laps[step] = round(now - self._last, 2)
        self._last = now


def found(left: dict[str, int]) -> ProofError:
    """What a search that found something raises."""
    places = ", ".join(f"{copy} ({count})" for copy, count in left.items() if count)
    return ProofError(
        f"removed posts are still in: {places}",
        remedy="Run townsquare takedown again, and remove by hand a file that is named here. If it finds them once "
        "more, keep the square offline and report a defect.",
    )


def _name(square: Square, config: TakedownConfig, targets: Targets, inputs: list[Input]) -> str:
    """The same request has the same name, and so is done once; unless it was undone since, or a proof failed since."""
    undone = tables.events_against(square, targets.kinds(config))
    with Ledger.open(square) as ledger:
        failed = [entry.seq for entry in ledger.entries("takedown_proof") if entry.body["left"]]
    parts = [targets.posts, targets.authors, config.kind, config.reason, undone, [i.sha256 for i in inputs], failed]
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
        "removed_before": len(tables.removed_uids(square)),
        "versions": _versions(square),
    }
    with Ledger.open(square) as ledger:
        return ledger.append("takedown_asked", body, key=f"takedown_asked:{name}")


def _versions(square: Square) -> dict[str, str | None]:
    """The live versions of what is immutable."""
    parts = {"corpus": current_version(square.corpus), "shards": current_version(square.tokens)}
    return {part: folder.name if folder else None for part, folder in parts.items()}


def _entry(results: dict[str, object], uids: frozenset[str], targets: Targets) -> dict[str, object]:
    """The ledger's content-free record: which posts and authors (ids), when, what was touched, who saw them."""
    fields = (
        "copies", "left", "versions", "posts_with_a_quotation_cut", "texts_searched", "runs_that_saw_them",
        "models_that_saw_them", "received_at", "applied_at", "latency_seconds",
    )  # fmt: skip
    return {field: results[field] for field in fields} | {
        "posts": list(targets.posts),
        "authors": list(targets.authors),
        "removed_sha256": sha256_of_uids(uids),
        "removed_count": len(uids),
    }


def sha256_of_uids(uids: frozenset[str]) -> str:
    """SHA-256 (hex) of a set of ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(uids)).encode()).hexdigest()
