"""The takedown stage: events -> every copy without the posts, a scan that counts zero, a ledger entry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json

import pyarrow as pa

from townsquare import receipts
from townsquare.errors import ProofError
from townsquare.ingest import tables
from townsquare.ledger import Ledger
from townsquare.receipts import Input, Receipt
from townsquare.records import EVENTS, author_key
from townsquare.square import Square, write_json
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
    targets = resolve(square, config)
    pending = Input("events", _events_sha256(square))
    name = _name(config, targets, pending)
    asked = dataclasses.replace(config, post=targets.posts, author=targets.authors, list=None)
    inputs = [pending] if not (targets.posts or targets.authors) else []
    with receipts.stage(square, "takedown", inputs=inputs, config=asked, name=name) as work:
        if work.done:
            return work.done
        rows = event_rows(targets, config, name)
        state = _begin(square, name)
        before = removed_uids(square)
        texts = _texts_at_risk(square, targets)
        if rows:
            tables.upsert_events(square, pa.Table.from_pylist(list(rows), schema=EVENTS))
        tables.apply_events(square)
        uids = removed_uids(square)
        erased = erase_everywhere(square, uids)
        left = find_everywhere(square, uids, texts)
        applied = dt.datetime.now(dt.UTC)
        runs = seen_by_runs(square, uids)
        report = {copy: {"erased": erased.get(copy, 0), "left": left[copy]} for copy in left}
        work.count(seen=len(uids), events=len(rows))
        work.results.update(
            posts_removed=len(uids),
            posts_newly_removed=len(uids - before),
            texts_searched=len(texts),
            copies=report,
            left=sum(left.values()),
            runs_that_saw_them={run: n for run, n in runs.items() if n},
            received_at=state["received_at"],
            applied_at=applied.isoformat(timespec="seconds"),
            latency_seconds=(applied - dt.datetime.fromisoformat(state["received_at"])).total_seconds(),
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


def _name(config: TakedownConfig, targets: Targets, pending: Input) -> str:
    parts = [targets.posts, targets.authors, config.kind, config.reason]
    if not (targets.posts or targets.authors):
        parts.append(pending.sha256)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _events_sha256(square: Square) -> str:
    ids = sorted(tables.read_events(square)["event_id"].to_pylist())
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _begin(square: Square, name: str) -> dict[str, str]:
    """When this takedown was first asked for: kept over a kill, so that the latency is honest."""
    path = square.receipts / f".takedown-{name}.begun"
    if path.is_file():
        begun: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        return begun
    begun = {"received_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}
    write_json(path, begun)
    return begun


def _texts_at_risk(square: Square, targets: Targets) -> list[str]:
    """The texts to search for afterwards, read before they are erased: those of the targets' posts."""
    posts = tables.read_posts(square, columns=["uid", "network", "author_id"])
    wanted = set(targets.authors)
    leaving = set(targets.posts) | {
        row["uid"]
        for row in posts.to_pylist()
        if row["author_id"] and author_key(row["network"], row["author_id"]) in wanted
    }
    return texts_only_of(square, frozenset(leaving))


def _entry(results: dict[str, object], uids: frozenset[str], targets: Targets) -> dict[str, object]:
    """The ledger's content-free record: which posts and authors (ids), when, what was touched, who saw them."""
    fields = ("copies", "left", "runs_that_saw_them", "received_at", "applied_at", "latency_seconds")
    return {field: results[field] for field in fields} | {
        "posts": list(targets.posts),
        "authors": list(targets.authors),
        "removed_sha256": hashlib.sha256("\n".join(sorted(uids)).encode()).hexdigest(),
        "removed_count": len(uids),
    }
