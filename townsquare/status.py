"""Where a square stands: which stages have run, and which were made from what has changed since."""

from __future__ import annotations

import dataclasses
import hashlib

from townsquare import receipts
from townsquare.consent.grants import grants_input
from townsquare.ledger.chain import ledger_file
from townsquare.receipts import Receipt
from townsquare.square import Square


@dataclasses.dataclass(frozen=True)
class Standing:
    """One receipt's standing; `stale` names the inputs that were made anew since, and is empty when none was."""

    receipt: Receipt
    stale: tuple[str, ...]


FLOW = (
    "town",
    "ingest",
    "curate",
    "tokens",
    "train",
    "export",
    "evaluate",
    "index",
    "takedown",
    "fleet",
    "report",
)


def standings(square: Square) -> list[Standing]:
    """Every receipt of the square in the flow's order, each with the inputs that no longer match."""
    found = receipts.read_all(square)
    now = {receipts.as_input(r).name: r.fingerprint for r in found}
    ingests = sorted(r.fingerprint for r in found if r.stage == "ingest")
    now["posts"] = hashlib.sha256("\n".join(ingests).encode()).hexdigest()
    if ledger_file(square).is_file():
        now["grants"] = grants_input(square).sha256
    stale_names: set[str] = set()
    result: list[Standing] = []
    for receipt in sorted(found, key=_place):
        stale = tuple(
            item.name
            for item in receipt.inputs
            if item.name in stale_names or now.get(item.name, item.sha256) != item.sha256
        )
        if stale:
            stale_names.add(receipts.as_input(receipt).name)
        result.append(Standing(receipt, stale))
    return result


def _place(receipt: Receipt) -> tuple[int, int, str]:
    order = FLOW.index(receipt.stage) if receipt.stage in FLOW else len(FLOW)
    return order, 0 if receipt.config.get("start_from") is None else 1, receipt.name or ""


def missing(square: Square) -> list[str]:
    """The main stages without a receipt, in the flow's order."""
    have = {receipt.stage for receipt in receipts.read_all(square)}
    return [stage for stage in ("ingest", "curate", "tokens", "train", "export", "index") if stage not in have]
