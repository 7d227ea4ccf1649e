"""A run asks for GPUs and gets an allocation or a reason; leases are recalled and their budgets amended."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from townsquare import ranks
from townsquare.errors import ConfigError
from townsquare.fleet import windows
from townsquare.fleet.book import HOUR, Book, book_of, read_book
from townsquare.fleet.charging import charge
from townsquare.fleet.config import AskConfig
from townsquare.fleet.hardware import gpu
from townsquare.fleet.meter import CPU, Allocation, LeaseError, allocation_path
from townsquare.fleet.pools import Lease
from townsquare.ledger import Entry, Ledger
from townsquare.square import Square, write_json

NOTICE_SHARE = 0.1  # of a budget, below which a run gives notice


def ask(square: Square, config: AskConfig, at: dt.datetime | None = None) -> Allocation:
    """Give a run an allocation on the best lease that fits, in place of one that it holds, and record it.

    Raises LeaseError with the reason of every lease that does not fit.
    """
    charge(square)
    at = at or dt.datetime.now(dt.UTC)
    reasons: dict[str, str] = {}

    def decide(entries: Sequence[Entry]) -> dict[str, Any]:
        book = book_of(entries)
        found = _choose(book, config, at, reasons)
        if found is None:
            raise _refusal(config, reasons)
        return dataclasses.asdict(_allocation(book, found, config, at))

    with Ledger.open(square) as ledger:
        ledger.verify()
        for held in [a for a in book_of(ledger.entries()).allocations.values() if a.run == config.run]:
            ledger.append("allocation_released", {"id": held.id, "run": held.run, "why": "it asks anew"})
        try:
            allocation = Allocation(**ledger.append_decided("allocation_granted", decide).body)
        except LeaseError:
            allocation_path(square, config.run).unlink(missing_ok=True)
            ledger.append("allocation_refused", {**dataclasses.asdict(config), "reasons": reasons})
            raise
    write_json(allocation_path(square, config.run), dataclasses.asdict(allocation))
    return allocation


def _choose(book: Book, config: AskConfig, at: dt.datetime, reasons: dict[str, str]) -> Lease | None:
    """The lease of highest priority, then the cheapest, that fits; why each other one does not goes to `reasons`."""
    wanted = [book.lease(config.lease)] if config.lease else list(book.leases.values())
    for lease in sorted(wanted, key=lambda one: (-one.priority, one.price_usd_per_gpu_hour or 0.0, one.id)):
        why = _unfit(book, lease, config, at)
        if why is None:
            return lease
        reasons[lease.id] = why
    return None


def _unfit(book: Book, lease: Lease, config: AskConfig, at: dt.datetime) -> str | None:
    """Why a lease does not give what is asked, or None."""
    pool = book.pool_of(lease)
    kind = config.gpu and (CPU if config.gpu.upper() == CPU else gpu(config.gpu).name)
    free = min(_free(book, lease, lease.gpus, [lease]), _free(book, lease, pool.gpus, book.leases.values()))
    left = book.seconds_left(lease, at)
    needed = (config.gpu_hours or 0.0) * HOUR
    ends = lease.closes
    checks = (
        (kind not in (None, pool.gpu), f"it lends {pool.gpu}"),
        (config.purpose not in lease.purposes, f"it is lent to {', '.join(lease.purposes)}"),
        (at < lease.opens, f"it starts on {lease.starts}"),
        (at >= ends, f"it was recalled for {lease.recalled_at}" if lease.recalled_at else f"it ended on {lease.ends}"),
        (not _open(lease, at), f"its windows are closed until {_next_opening(lease, at)}"),
        (free < config.gpus, f"{max(free, 0):,} of its {lease.gpus:,} GPUs are free"),
        (book.place_for(pool, config.gpus) is None, "too few of its pool's hosts are free"),
        (left is not None and left <= 0, "its budget is used up"),
        (left is not None and left < needed, f"its budget has {(left or 0) / HOUR:,.6g} GPU-hours left"),
        (
            windows.open_seconds(lease.windows, at, ends) * config.gpus < needed,
            f"it is open for {windows.open_seconds(lease.windows, at, ends) / HOUR:,.6g} more hours",
        ),
    )
    return next((why for fails, why in checks if fails), None)


def _free(book: Book, lease: Lease, gpus: int, sharing: Any) -> int:
    """GPUs of `gpus` that no allocation on the leases of the same pool holds."""
    names = {one.id for one in sharing if one.pool == lease.pool}
    return gpus - sum(held.gpus for held in book.allocations.values() if held.lease in names)


def _open(lease: Lease, at: dt.datetime) -> bool:
    return windows.open_seconds(lease.windows, at, at + dt.timedelta(seconds=1)) > 0


def _next_opening(lease: Lease, at: dt.datetime) -> str:
    opening = next((since for since, _ in windows.spans(lease.windows, at, lease.closes)), None)
    return "its end" if opening is None else opening.strftime("%a %Y-%m-%d %H:%M UTC")


def _allocation(book: Book, lease: Lease, config: AskConfig, at: dt.datetime) -> Allocation:
    left = book.seconds_left(lease, at) if lease.charge == "running" else None
    stops, because = book.stops(lease, at)
    pool = book.pool_of(lease)
    budgets = [
        budget
        for budget in (
            lease.budget_gpu_hours,
            lease.budget_usd and lease.budget_usd / (lease.price_usd_per_gpu_hour or 1.0),
        )
        if budget is not None
    ]
    return Allocation(
        id=f"a{book.rows + 1}",
        run=config.run,
        lease=lease.id,
        gpu=pool.gpu,
        gpus=config.gpus,
        granted_at=at.isoformat(timespec="milliseconds"),
        seconds_left=left,
        notice_seconds=None if left is None else NOTICE_SHARE * min(budgets) * HOUR,
        stops_at=stops.isoformat(timespec="milliseconds"),
        stops_because=because,
        on=pool.on,
        at=book.place_for(pool, config.gpus) or (),
        gpus_per_host=pool.gpus_per_host,
    )


def _refusal(config: AskConfig, reasons: dict[str, str]) -> LeaseError:
    said = "; ".join(f"{lease}: {why}" for lease, why in reasons.items())
    return LeaseError(
        f"no lease gives the run {config.run} {config.gpus:,} {config.gpu or 'GPU' + 's' * (config.gpus > 1)} "
        f"to {config.purpose}: {said or 'there is no lease yet'}",
        remedy="Ask for less or later, amend a budget (townsquare fleet lease amend), or add a lease "
        "(townsquare fleet lease add).",
    )


def release(square: Square, run: str, why: str = "released by hand") -> Allocation | None:
    """End a run's allocation; returns it, or None when it held none."""
    with Ledger.open(square) as ledger:
        held = [one for one in book_of(ledger.entries()).allocations.values() if one.run == run]
        for one in held:
            ledger.append("allocation_released", {"id": one.id, "run": run, "why": why}, key=f"released:{one.id}")
    allocation_path(square, run).unlink(missing_ok=True)
    return held[-1] if held else None


def asked_by(run: str, objective: str, lease: str | None) -> AskConfig | None:
    """What a training run asks for that names a lease, or `any`; None where it names none."""
    if lease is None:
        return None
    named = None if lease == "any" else lease
    return AskConfig(run=run, gpus=ranks.world_size(), purpose=purpose_of(objective), lease=named)


def purpose_of(objective: str | None) -> str:
    """What a run of an objective uses GPUs for."""
    return "tune" if objective in ("tune", "prefer") else "train"


@contextmanager
def on_lease(square: Square, config: AskConfig | None) -> Iterator[None]:
    """Work of a run under a lease, or under none: what it used is charged when it ends, however it ends.

    Of a run's processes the one that leads does both; the lease must lend a GPU for each.
    """
    if not ranks.leads():
        yield
        return
    if config is not None:
        ask(square, config)
    try:
        yield
    finally:
        charge(square)
        if config is not None:
            release(square, config.run, "the run ended or stopped")


def recall(square: Square, lease_id: str, at: dt.datetime | None = None) -> Lease:
    """The lender wants the GPUs back: runs on them stop at a checkpoint before the notice that was agreed is over."""
    lease = read_book(square).lease(lease_id)
    if lease.recalled_at is not None:
        return lease
    free = (at or dt.datetime.now(dt.UTC)) + dt.timedelta(hours=lease.recall_notice_hours)
    body = {"id": lease_id, "recalled_at": free.isoformat(timespec="seconds")}
    with Ledger.open(square) as ledger:
        ledger.append("lease_recalled", body, key=f"lease_recalled:{lease_id}")
    return _tell_runs(square, lease_id)


def amend(square: Square, lease_id: str, **budgets: float | None) -> Lease:
    """Give a lease another budget (`budget_gpu_hours`, `budget_usd`); runs on it heed it at their next step."""
    changed = {name: value for name, value in budgets.items() if value is not None}
    if not changed:
        raise ConfigError("nothing is amended", remedy="Give --budget-gpu-hours or --budget-usd.")
    dataclasses.replace(read_book(square).lease(lease_id), **changed)  # type: ignore[arg-type] # checks the values
    with Ledger.open(square) as ledger:
        ledger.append("lease_amended", {"id": lease_id, **changed})
    return _tell_runs(square, lease_id)


def _tell_runs(square: Square, lease_id: str) -> Lease:
    """Bring what runs were allocated on a lease up to its new terms."""
    book, at = read_book(square), dt.datetime.now(dt.UTC)
    lease = book.lease(lease_id)
    for held in book.allocations.values():
        if held.lease == lease_id and allocation_path(square, held.run).is_file():
            fresh = _allocation(book, lease, AskConfig(held.run, held.gpus), at)
            own = book.allocated_seconds(held.id)  # the run takes off by itself what it uses
            left = None if fresh.seconds_left is None else fresh.seconds_left + own
            fresh = dataclasses.replace(fresh, id=held.id, granted_at=held.granted_at, at=held.at)
            kept = dataclasses.replace(fresh, seconds_left=left)
            write_json(allocation_path(square, held.run), dataclasses.asdict(kept))
    return lease
