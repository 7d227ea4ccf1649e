"""The GPU kinds that estimates know: one row each in hardware.csv, with source and date. A new kind is a new row."""

from __future__ import annotations

import csv
import dataclasses
import functools
import re
from pathlib import Path

from townsquare.errors import ConfigError

TABLE = Path(__file__).with_name("hardware.csv")


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One GPU kind. Peaks are dense (no sparsity); None means unknown. Links count one direction of one GPU."""

    name: str
    architecture: str
    memory_gb: float
    """Memory, in 10^9 bytes as makers print it."""
    memory_bandwidth_gb_s: float
    peak_tflops: dict[str, float]
    """By number type: bf16, fp8, fp4."""
    measured_tflops: dict[str, float]
    """Best matrix product that somebody measured, by number type."""
    gpus_per_node: int
    """GPUs joined by the fast link."""
    node_link_gb_s: float | None
    """NVLink or its like, inside a node."""
    network_gb_s: float
    """Between nodes."""
    power_watts: float | None
    """Rated power of the board."""
    price_usd_per_gpu_hour: float | None
    price_source: str
    purchase_usd: float | None
    """Of one, new."""
    purchase_source: str
    source: str
    as_of: str

    def matmul_tflops(self, number_type: str) -> float:
        """The best measured matrix-product rate, or 0.8 of the peak: what measured kinds reach, at the median."""
        return self.measured_tflops.get(number_type) or 0.8 * self.peak_tflops[number_type]


def gpu(name: str) -> Gpu:
    """The GPU kind of that name, in any usual spelling. Raises ConfigError that lists the known ones."""
    found = _by_spelling().get(_plain(name))
    if found is None:
        raise ConfigError(
            f"there is no GPU kind {name!r}",
            place=str(TABLE),
            remedy="Known are: " + ", ".join(kind.name for kind in known()) + ". A row in that file adds one.",
        )
    return found


@functools.cache
def known() -> tuple[Gpu, ...]:
    """Every GPU kind of hardware.csv."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_gpu(row) for row in csv.DictReader(file))


@functools.cache
def _by_spelling() -> dict[str, Gpu]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        _plain(name): kind
        for row, kind in zip(rows, known(), strict=True)
        for name in (row["gpu"], *row["also_called"].split(";"))
        if name
    }


def _plain(name: str) -> str:
    """Spelling without makers' words, what stands in brackets, and punctuation."""
    inner = re.search(r"Blackwell[^(]*\(([^)]*)\)", name)
    name = inner[1] if inner else re.sub(r"\(.*?\)", "", name)
    name = re.sub(r"NVIDIA|AMD|Instinct|HBM\w+( DLC)?$", "", name.strip(), flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _gpu(row: dict[str, str]) -> Gpu:
    def number(column: str) -> float | None:
        return float(row[column]) if row[column] else None

    def rates(prefix: str, types: tuple[str, ...]) -> dict[str, float]:
        return {kind: value for kind in types if (value := number(f"{prefix}{kind}_tflops")) is not None}

    return Gpu(
        name=row["gpu"],
        architecture=row["architecture"],
        memory_gb=float(row["memory_gb"]),
        memory_bandwidth_gb_s=float(row["memory_bandwidth_gb_s"]),
        peak_tflops=rates("", ("bf16", "fp8", "fp4")),
        measured_tflops=rates("measured_", ("bf16", "fp8")),
        gpus_per_node=int(row["gpus_per_node"]),
        node_link_gb_s=number("node_link_gb_s"),
        network_gb_s=float(row["network_gb_s"]),
        power_watts=number("power_watts"),
        price_usd_per_gpu_hour=number("price_usd_per_gpu_hour"),
        price_source=row["price_source"],
        purchase_usd=number("purchase_usd"),
        purchase_source=row["purchase_source"],
        source=row["source"],
        as_of=row["as_of"],
    )
