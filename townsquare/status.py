"""Where a square stands: which stages have run, and which were made from what has changed since."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from townsquare import receipts
from townsquare.consent.gate import today
from townsquare.consent.grants import read_grants
from townsquare.consent.inputs import grants_input, in_force_input
from townsquare.ledger import chain
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
    "compare",
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
    if chain.exists(square):
        now["grants"] = grants_input(square).sha256
        now["grants_in_force"] = in_force_input(square, today()).sha256
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


NEXT = {
    "grants": "townsquare grant add --help",
    "ingest": "townsquare ingest PATH",
    "curate": "townsquare curate",
    "tokens": "townsquare tokens",
    "train": "townsquare train",
    "export": "townsquare export --run NAME",
    "index": "townsquare index",
}
"""The main stages in the flow's order, each with its command."""


def next_command(square: Square) -> str:
    """The command that takes the square on: the first main stage that is missing, or the first that is stale."""
    have = {receipt.stage for receipt in receipts.read_all(square)}
    if read_grants(square):
        have.add("grants")
    for stage, command in NEXT.items():
        if stage not in have:
            return command
    for standing in standings(square):
        if standing.stale:
            name = f" --name {standing.receipt.name}" if standing.receipt.stage == "train" else ""
            return f"townsquare {standing.receipt.stage}{name} --replace"
    return "townsquare ask, townsquare chat or townsquare serve"


def to_json(square: Square) -> dict[str, Any]:
    """The standing as plain values."""
    rows = [{"stage": s.receipt.stage, "name": s.receipt.name, "stale": list(s.stale)} for s in standings(square)]
    return {"square": str(square.root), "stages": rows, "next": next_command(square)}
