"""`takedown prove`: every store opened once more for every post ever removed, and a record of what was found."""

from __future__ import annotations

import datetime as dt
from typing import Any

from townsquare.ingest import tables
from townsquare.ledger import Ledger
from townsquare.square import Square
from townsquare.takedown.copies import find_everywhere, models_of_runs, seen_by_runs
from townsquare.takedown.run import found, sha256_of_uids


def prove(square: Square) -> dict[str, Any]:
    """Search every copy for every removed post, by id and by what it said, and record the outcome in the ledger.

    Returns the record (content-free). Raises ProofError, once it is recorded, naming the places that hold one.
    """
    with square.lock("takedown prove"):
        tables.ensure(square)
        uids, cut = tables.removed_uids(square), tables.quotes_cut(square)
        traces = tables.traces_of_removed(square)
        copies = find_everywhere(square, uids, traces, cut)
        runs = seen_by_runs(square, uids)
        record = {
            "copies": copies,
            "left": sum(copies.values()),
            "removed_count": len(uids),
            "removed_sha256": sha256_of_uids(uids),
            "texts_searched": len(traces),
            "runs_that_saw_them": runs,
            "models_that_saw_them": models_of_runs(square, runs),
            "checked_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        }
        with Ledger.open(square) as ledger:
            ledger.verify()
            record["takedowns"] = [_told(entry.seq, entry.hash, entry.body) for entry in ledger.entries("takedown")]
            entry = ledger.append("takedown_proof", record)
    if record["left"]:
        raise found(copies)
    return record | {"ledger_row": entry.seq, "ledger_hash": entry.hash}


def _told(row: int, digest: str, body: dict[str, Any]) -> dict[str, Any]:
    """One takedown, by its row in the chain: when it was asked for and done, and what it touched."""
    touched = {copy: counts["erased"] for copy, counts in body["copies"].items() if counts["erased"]}
    times = {field: body[field] for field in ("received_at", "applied_at", "latency_seconds")}
    return {"row": row, "hash": digest, **times, "touched": touched}
