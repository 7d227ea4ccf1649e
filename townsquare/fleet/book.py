"""The fleet as the ledger's rows say: pools, leases, allocations, and what runs have used of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

from townsquare.errors import ConfigError
from townsquare.fleet import windows
from townsquare.fleet.meter import Allocation
from townsquare.fleet.pools import Lease, Pool
from townsquare.ledger import Entry, Ledger
from townsquare.square import Square, make_config

HOUR = 3600.0
Usage = dict[str, Any]


@dataclasses.dataclass
class Book:
    """`usage` holds one row for each run, session and day; `allocations` those that are not released yet."""

    pools: dict[str, Pool]
    leases: dict[str, Lease]
    allocations: dict[str, Allocation]
    usage: dict[tuple[str, str, int, str], Usage]
    rows: int

    def pool_of(self, lease: Lease) -> Pool:
        return self.pools[lease.pool]

    def place_for(self, pool: Pool, gpus: int) -> tuple[str, ...] | None:
        """Where a run of so many GPUs of a pool goes: whole hosts that no other has, where it is one of hosts.

        None: too few of its hosts are free.
        """
        if pool.on != "torchrun":
            return pool.at
        taken = {host for held in self.allocations.values() if held.on == pool.on for host in held.at}
        free = [host for host in pool.at if host not in taken]
        needed = math.ceil(gpus / (pool.gpus_per_host or math.ceil(pool.gpus / len(pool.at))))
        return tuple(free[:needed]) if len(free) >= needed else None

    def lease(self, lease_id: str) -> Lease:
        """A lease by its id. Raises ConfigError."""
        if lease_id not in self.leases:
            known = ", ".join(self.leases) or "none"
            raise ConfigError(f"there is no lease {lease_id}", remedy=f"Leases here: {known}")
        return self.leases[lease_id]

    def running_seconds(self, lease: Lease, first: str = "", last: str = "9999") -> dict[str, float]:
        """GPU-seconds `used` and `lost` under a lease, on the days from `first` to `last` (ISO, inclusive)."""
        mine = [row for row in self.usage.values() if row["lease"] == lease.id and first <= row["day"] <= last]
        return {
            "used": sum(row["used_seconds"] * row["devices"] for row in mine),
            "lost": sum(row["lost_seconds"] * row["devices"] for row in mine),
        }

    def allocated_seconds(self, allocation_id: str) -> float:
        """GPU-seconds used and lost under one allocation."""
        mine = [row for row in self.usage.values() if row["allocation"] == allocation_id]
        return sum((row["used_seconds"] + row["lost_seconds"]) * row["devices"] for row in mine)

    def charged_seconds(self, lease: Lease, start: dt.datetime, end: dt.datetime) -> float:
        """GPU-seconds between two midnights that the terms charge for."""
        if lease.charge == "reserved":
            return lease.reserved_seconds(start, end)
        last = (end - dt.timedelta(microseconds=1)).date().isoformat()
        return sum(self.running_seconds(lease, start.date().isoformat(), last).values())

    def budget_left(self, lease: Lease, at: dt.datetime) -> dict[str, float | None]:
        """What is left of a lease's budgets, `gpu_hours` and `usd`; null where there is no such budget."""
        end = at if lease.charge == "reserved" else at + dt.timedelta(days=1)
        hours = self.charged_seconds(lease, lease.opens, end) / HOUR
        price, limit, usd = lease.price_usd_per_gpu_hour, lease.budget_gpu_hours, lease.budget_usd
        return {
            "gpu_hours": None if limit is None else limit - hours,
            "usd": None if usd is None or price is None else usd - hours * price,
        }

    def seconds_left(self, lease: Lease, at: dt.datetime) -> float | None:
        """GPU-seconds that the budgets still pay for; None: no budget."""
        left = self.budget_left(lease, at)
        price = lease.price_usd_per_gpu_hour
        hours = [left["gpu_hours"], left["usd"] / price if left["usd"] is not None and price else None]
        known = [h for h in hours if h is not None]
        return min(known) * HOUR if known else None

    def stops(self, lease: Lease, at: dt.datetime) -> tuple[dt.datetime, str]:
        """When a run under a lease must have stopped, and why then."""
        because = f"the lease {lease.id} " + ("is recalled by its lender" if lease.recalled_at else "ends")
        ends = lease.closes
        closing = next((until for _, until in windows.spans(lease.windows, max(at, lease.opens), ends)), ends)
        if closing < ends:
            ends, because = closing, f"the window of the lease {lease.id} closes"
        left = self.seconds_left(lease, at)
        if lease.charge == "reserved" and left is not None:  # it is spent by the clock, whatever runs
            spent = windows.reached(lease.windows, at, ends, max(left, 0.0) / lease.gpus)
            if spent is not None:
                ends, because = spent, f"the budget of the lease {lease.id} is used up"
        return ends, because


def read_book(square: Square) -> Book:
    """The fleet of a square. Raises ProofError when the ledger was altered."""
    with Ledger.open(square) as ledger:
        ledger.verify()
        return book_of(ledger.entries())


def book_of(entries: Sequence[Entry]) -> Book:
    """The fleet that the ledger's rows record."""
    book = Book({}, {}, {}, {}, len(entries))
    for entry in entries:
        body = entry.body
        if entry.kind == "pool_added":
            book.pools[body["id"]] = make_config(Pool, body)
        elif entry.kind == "lease_added":
            book.leases[body["id"]] = make_config(Lease, body)
        elif entry.kind in ("lease_amended", "lease_recalled"):
            book.leases[body["id"]] = dataclasses.replace(book.leases[body["id"]], **body)
        elif entry.kind == "allocation_granted":
            book.allocations[body["id"]] = Allocation(**body)
        elif entry.kind == "allocation_released":
            book.allocations.pop(body["id"], None)
        elif entry.kind == "run_usage":
            book.usage[(body["run"], body["fingerprint"], body["session"], body["day"])] = body
    return book
