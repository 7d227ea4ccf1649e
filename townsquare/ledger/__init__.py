"""The append-only, hash-chained record of grants, events, takedowns, lineage and GPU-hours."""

from townsquare.ledger.chain import Entry, Ledger

__all__ = ["Entry", "Ledger"]
