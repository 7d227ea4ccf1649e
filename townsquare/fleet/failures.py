"""How often training is interrupted: what fleets published, by kind, and where their figures disagree."""

from __future__ import annotations

import csv
import dataclasses
import functools
from pathlib import Path
from typing import Literal

from townsquare.errors import ConfigError

TABLE = Path(__file__).with_name("failures.csv")
GPUS_PER_NODE = 8  # of every fleet in the table
APART = 1.15  # times, from which two published figures of one thing are said to disagree
Stops = Literal["node", "job", "planned"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of interruption."""

    name: str
    per_gpu_day: float
    stops: Stops
    """node: it must be replaced; job: a restart is enough; planned: a checkpoint comes first, then a restart."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A row of failures.csv."""

    fleet: str
    figure: str
    about: str
    value: float
    unit: str
    gpus: int
    days: float | None
    stops: str
    printed_percent: float | None
    source: str

    @property
    def per_gpu_day(self) -> float:
        """Of a cause: interruptions a GPU and day."""
        if self.unit == "per 1,000 node-days":
            return self.value / 1000 / GPUS_PER_NODE
        return self.value / (self.gpus * (self.days or 1.0))


@functools.cache
def figures() -> tuple[Figure, ...]:
    """Every row of failures.csv."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(
            Figure(
                fleet=row["fleet"],
                figure=row["figure"],
                about=row["about"],
                value=float(row["value"]),
                unit=row["unit"],
                gpus=int(row["gpus"]),
                days=float(row["days"]) if row["days"] else None,
                stops=row["stops"],
                printed_percent=float(row["printed_percent"]) if row["printed_percent"] else None,
                source=row["source"],
            )
            for row in csv.DictReader(file)
        )


def fleets() -> list[str]:
    """The fleets whose interruptions are known."""
    return list(dict.fromkeys(row.fleet for row in figures() if row.figure == "cause"))


def kinds_of(fleet: str) -> tuple[Kind, ...]:
    """The kinds of interruption of a published fleet. Raises ConfigError that lists the fleets."""
    found = tuple(
        Kind(row.about, row.per_gpu_day, row.stops)  # type: ignore[arg-type]
        for row in figures()
        if row.figure == "cause" and row.fleet.lower() == fleet.lower()
    )
    if not found:
        raise ConfigError(
            f"no interruptions of a fleet {fleet!r} are known",
            place=str(TABLE),
            remedy="Known are: " + ", ".join(fleets()) + ". Or give --failures-per-1000-gpu-days.",
        )
    return found


def scaled(kinds: tuple[Kind, ...], per_gpu_day: float) -> tuple[Kind, ...]:
    """The same mix of unexpected kinds at another rate in all; planned interruptions are left out."""
    unexpected = [kind for kind in kinds if kind.stops != "planned"]
    ratio = per_gpu_day / total_rate(tuple(unexpected))
    return tuple(dataclasses.replace(kind, per_gpu_day=kind.per_gpu_day * ratio) for kind in unexpected)


def total_rate(kinds: tuple[Kind, ...]) -> float:
    """Unexpected interruptions a GPU and day."""
    return sum(kind.per_gpu_day for kind in kinds if kind.stops != "planned")


def mean_hours_between(kinds: tuple[Kind, ...], gpus: int) -> float:
    """Mean time between unexpected interruptions of a job on that many GPUs."""
    return 24 / (total_rate(kinds) * gpus)


def disagreements() -> list[str]:
    """Sentences about published figures that do not follow from one another."""
    return [*_printed_shares(), *_sums(), *_mean_times(), _between_fleets()]


def _printed_shares() -> list[str]:
    totals = {row.fleet: row.value for row in figures() if row.figure == "total"}
    found = []
    for row in figures():
        if row.printed_percent is None:
            continue
        percent = 100 * row.value / totals[row.fleet]
        if max(percent / row.printed_percent, row.printed_percent / percent) > APART:
            found.append(
                f"{row.fleet}: {row.about} is printed as {row.printed_percent} %, and {row.value:.0f} of "
                f"{totals[row.fleet]:.0f} are {percent:.1f} % ({row.source})"
            )
    return found


def _sums() -> list[str]:
    """A percentage of the text against the counts and against the printed shares that it was added up from."""
    found = []
    for text in (row for row in figures() if row.figure == "percent"):
        parts = [
            row
            for row in figures()
            if row.fleet == text.fleet and row.printed_percent and (text.about in row.about or "Silent" in row.about)
        ]
        total = next(row.value for row in figures() if row.fleet == text.fleet and row.figure == "total")
        percent = 100 * sum(row.value for row in parts) / total
        printed = sum(row.printed_percent or 0.0 for row in parts)
        if abs(percent - text.value) > 1:
            found.append(
                f"{text.fleet}: {text.value} % are said to be {text.about} issues; the counts give {percent:.1f} %, "
                f"the printed shares {printed:.1f} %: the text follows the misprint ({text.source})"
            )
    return found


def _mean_times() -> list[str]:
    found = []
    for row in (row for row in figures() if row.figure == "mean time"):
        expected = mean_hours_between(kinds_of(row.fleet), row.gpus)
        if max(expected / row.value, row.value / expected) > APART:
            found.append(
                f"{row.fleet}: {row.value:,.4g} hours to a failure ({row.about}) on {row.gpus:,} GPUs; its rate of "
                f"failures gives {expected:,.4g}, {expected / row.value:.1f} times: they count other events "
                f"({row.source})"
            )
    return found


def _between_fleets() -> str:
    rates = sorted((total_rate(kinds_of(name)) * 1000, name) for name in fleets())
    (low, least), (high, most) = rates[0], rates[-1]
    return (
        f"fleets differ by {high / low:.1f} times: {least} has {low:.2f} interruptions in 1,000 GPU-days, "
        f"{most} {high:.2f}"
    )
