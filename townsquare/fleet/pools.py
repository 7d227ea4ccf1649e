"""Pools, leases and lenders: who lends which GPUs on which terms. They live in the ledger."""

from __future__ import annotations

import dataclasses
import datetime as dt
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from townsquare.errors import ConfigError, InputError
from townsquare.fleet import windows
from townsquare.fleet.config import PURPOSES, Launcher, LeaseConfig, PoolConfig
from townsquare.fleet.hardware import gpu
from townsquare.fleet.meter import CPU
from townsquare.ledger import Ledger
from townsquare.square import Square, make_config

RecordT = TypeVar("RecordT", "Pool", "Lease")
PLURALS = {"window": "windows", "purpose": "purposes"}


@dataclasses.dataclass(frozen=True)
class Pool:
    """GPUs of one kind that one lender has."""

    id: str
    lender: str
    gpu: str
    """A kind of hardware.csv by its name there, or CPU."""
    gpus: int
    on: Launcher = "here"
    at: tuple[str, ...] = ()
    gpus_per_host: int | None = None

    def __post_init__(self) -> None:
        _above_zero(f"pool {self.id}", self, ("gpus", "gpus_per_host"))
        if self.on in ("torchrun", "slurm") and not self.at:
            raise ConfigError(f"pool {self.id} is reached by {self.on}, and does not say where", remedy="Give --at.")
        kind = CPU if self.gpu.upper() == CPU else gpu(self.gpu).name
        object.__setattr__(self, "gpu", kind)  # one spelling, whichever was typed

    def list_price(self) -> tuple[float | None, str]:
        """What the kind costs elsewhere (USD a GPU-hour), and whose price it is; None: unknown."""
        if self.gpu == CPU:
            return None, ""
        kind = gpu(self.gpu)
        return kind.price_usd_per_gpu_hour, kind.price_source


@dataclasses.dataclass(frozen=True)
class Lease:
    """Terms on GPUs of one pool; see LeaseConfig for each field. `recalled_at` is when they must be free."""

    id: str
    pool: str
    gpus: int
    starts: str
    ends: str
    windows: tuple[str, ...] = ()
    priority: int = 0
    recall_notice_hours: float = 0.0
    price_usd_per_gpu_hour: float | None = None
    in_kind: bool = False
    charge: str = "running"
    budget_gpu_hours: float | None = None
    budget_usd: float | None = None
    purposes: tuple[str, ...] = PURPOSES
    recalled_at: str | None = None

    def __post_init__(self) -> None:
        whose = f"lease {self.id}"
        _above_zero(whose, self, ("gpus", "price_usd_per_gpu_hour", "budget_gpu_hours", "budget_usd"))
        if self.recall_notice_hours < 0:
            raise ConfigError(f"{whose}: recall_notice_hours is below zero", remedy="Give 0 or more.")
        for window in self.windows:
            windows.minutes(window)
        for purpose in self.purposes:
            if purpose not in PURPOSES:
                raise ConfigError(f"{whose}: purposes cannot hold {purpose!r}", remedy="Known: " + ", ".join(PURPOSES))
        if self.charge not in ("running", "reserved"):
            raise ConfigError(f"{whose}: charge cannot be {self.charge!r}", remedy="Give running or reserved.")
        if self.budget_usd is not None and self.price_usd_per_gpu_hour is None:
            raise ConfigError(f"{whose} has a budget in dollars and no price", remedy="Add --price-usd-per-gpu-hour.")
        if midnight(self.starts) > midnight(self.ends):
            raise ConfigError(f"{whose} ends ({self.ends}) before it starts ({self.starts})", remedy="Mend them.")

    @property
    def opens(self) -> dt.datetime:
        return midnight(self.starts)

    @property
    def closes(self) -> dt.datetime:
        """The moment from which nothing is lent: after the last day, or the recall's."""
        last = midnight(self.ends) + dt.timedelta(days=1)
        return min(last, dt.datetime.fromisoformat(self.recalled_at)) if self.recalled_at else last

    def reserved_seconds(self, start: dt.datetime, end: dt.datetime) -> float:
        """GPU-seconds that it sets aside between two moments."""
        return self.gpus * windows.open_seconds(self.windows, max(start, self.opens), min(end, self.closes))


def midnight(day: str) -> dt.datetime:
    """The beginning of a day (ISO date), UTC. Raises ConfigError."""
    try:
        found = dt.date.fromisoformat(day)
    except ValueError:
        raise ConfigError(f"a day cannot be {day!r}", remedy="Write it as 2026-12-31.") from None
    return dt.datetime.combine(found, dt.time(), dt.UTC)


def _above_zero(whose: str, record: Any, fields: Sequence[str]) -> None:
    for field in fields:
        value = getattr(record, field)
        if value is not None and value <= 0:
            raise ConfigError(f"{whose}: {field} cannot be {value}", remedy="Give a number above zero.")


def pools_of(config: PoolConfig) -> list[Pool]:
    """The pools that a command names. Raises ConfigError, and InputError for a file that cannot be read."""
    return _records(Pool, "pool", config, config.file)


def leases_of(config: LeaseConfig) -> list[Lease]:
    """The leases that a command names. Raises ConfigError, and InputError for a file that cannot be read."""
    return _records(Lease, "lease", config, config.file)


def _records(cls: type[RecordT], word: str, config: PoolConfig | LeaseConfig, file: Path | None) -> list[RecordT]:
    if file is not None:
        return [make_config(cls, _dates_as_text(table), place=str(file)) for table in _tables(file, word)]
    values = {
        PLURALS.get(k, k): v for k, v in dataclasses.asdict(config).items() if v not in (None, ()) and k != "file"
    }
    return [make_config(cls, values, place=f"townsquare fleet {word} add")]


def _tables(file: Path, word: str) -> list[dict[str, Any]]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get(word)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"no {word} can be read: {error}", place=str(file), remedy="Mend the file.") from error
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise InputError(f"there is no {word} in it", place=str(file), remedy=f"Write one [[{word}]] table each.")
    return found


def _dates_as_text(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, dt.date) else value for key, value in table.items()}


def add(square: Square, record: Pool | Lease) -> None:
    """Record a pool or a lease. The same again changes nothing; another under its id raises ConfigError."""
    word = "pool" if isinstance(record, Pool) else "lease"
    body = {key: value for key, value in dataclasses.asdict(record).items() if key != "recalled_at"}
    with Ledger.open(square) as ledger:
        if isinstance(record, Lease):
            known = [entry.body["id"] for entry in ledger.entries("pool_added")]
            if record.pool not in known:
                raise ConfigError(
                    f"there is no pool {record.pool}", remedy="Add it first: townsquare fleet pool add --help"
                )
        entry = ledger.append(f"{word}_added", body, key=f"{word}_added:{record.id}")
    if make_config(type(record), entry.body) != record:
        raise ConfigError(
            f"there is a {word} {record.id} already, and it says something else",
            remedy="Give the new one another --id; a lease ends by: townsquare fleet lease recall " + record.id,
        )
