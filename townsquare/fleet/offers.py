"""GPUs that may be had, on which terms: kinds by name, lenders' pools, or the leases of a square."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Sequence

from townsquare.errors import ConfigError
from townsquare.fleet import windows
from townsquare.fleet.book import Book
from townsquare.fleet.config import PlanConfig
from townsquare.fleet.hardware import Gpu, gpu
from townsquare.fleet.meter import CPU
from townsquare.fleet.pools import Lease

USUAL = ("A100 SXM 80GB", "H100 SXM", "H100 NVL", "H200 SXM", "B200 SXM")
UNBOUNDED = 131_072  # GPUs: beyond what any published training used
POOL = re.compile(r"(.+?)=(\d+)(?:@(\d+(?:\.\d+)?))?")


@dataclasses.dataclass(frozen=True)
class Offer:
    """GPUs of one kind from one lender."""

    name: str
    gpu: Gpu
    gpus: int
    usd_per_gpu_hour: float | None
    price_source: str
    bounded: bool = True
    """False: as many as are asked for, up to `gpus`."""
    lease: Lease | None = None
    gpu_hours_left: float | None = None
    """That the lease's budget still pays for; None: no limit."""


def offers_of(config: PlanConfig, book: Book | None, at: dt.datetime) -> list[Offer]:
    """What the config names. Raises ConfigError for an unknown kind, a misspelt pool, or a square without leases."""
    if config.leases:
        assert book is not None
        return _leases(book, at)
    if config.pool:
        pools = [_pool(text) for text in config.pool]
        names = [pool.name for pool in pools]  # two lenders may have the same kind: then they are numbered
        return [
            dataclasses.replace(pool, name=f"{pool.name} ({names[:place].count(pool.name) + 1})")
            if names.count(pool.name) > 1
            else pool
            for place, pool in enumerate(pools)
        ]
    kinds = [gpu(name) for name in config.gpu or USUAL]
    kinds = [kind for kind in kinds if config.gpu or config.number_type in kind.peak_tflops]
    return [
        Offer(
            kind.name,
            kind,
            config.gpus or UNBOUNDED,
            kind.price_usd_per_gpu_hour,
            kind.price_source,
            bounded=config.gpus is not None,
        )
        for kind in kinds
    ]


def _pool(text: str) -> Offer:
    found = POOL.fullmatch(text.strip())
    if found is None or int(found[2]) == 0:
        raise ConfigError(f"a pool cannot be {text!r}", remedy='Write it as "H100 NVL=2000" or "H100 NVL=2000@1.90".')
    kind, price = gpu(found[1]), float(found[3]) if found[3] else None
    source = kind.price_source if price is None else "given"
    return Offer(kind.name, kind, int(found[2]), price or kind.price_usd_per_gpu_hour, source)


def _leases(book: Book, at: dt.datetime) -> list[Offer]:
    found = []
    for lease in book.leases.values():
        pool = book.pool_of(lease)
        if pool.gpu == CPU or lease.closes <= at or "train" not in lease.purposes:
            continue
        kind, left = gpu(pool.gpu), book.seconds_left(lease, at)
        found.append(
            Offer(
                f"{lease.id} ({kind.name} of {pool.lender})",
                kind,
                lease.gpus,
                lease.price_usd_per_gpu_hour,
                "the lease",
                lease=lease,
                gpu_hours_left=None if left is None else left / 3600,
            )
        )
    if not found:
        raise ConfigError(
            "no lease of this square lends GPUs for training", remedy="Add one: townsquare fleet lease add --help"
        )
    return found


def finish(lease: Lease | None, starts: dt.datetime, seconds: float, restart_seconds: float) -> dt.datetime | None:
    """When so many seconds of training are done, a restart at each opening of the lease's windows; None: not before
    it ends."""
    if lease is None:
        return starts + dt.timedelta(seconds=seconds)
    for since, until in windows.spans(lease.windows, max(starts, lease.opens), lease.closes):
        length = (until - since).total_seconds() - restart_seconds
        if seconds <= length:
            return since + dt.timedelta(seconds=restart_seconds + seconds)
        seconds -= max(length, 0.0)
    return None


def same_hours(offers: Sequence[Offer]) -> bool:
    """Whether they can train together: open at the same hours."""
    return len({offer.lease.windows if offer.lease else () for offer in offers}) == 1
