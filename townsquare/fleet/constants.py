"""The few numbers that are not arithmetic: what a training step makes of the hardware's rates. See constants.csv."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout

TABLE = Path(__file__).with_name("constants.csv")
RESIDUALS = (0.88, 1.21)
"""Measured over estimated step time: the 10th and the 90th percentile over published runs, groups left out in turn."""

Key = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Constant:
    """A row of constants.csv: fitted between `low` and `high`, pulled towards `prior`, which was set beforehand."""

    name: str
    scope: str
    value: float
    prior: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Shares:
    """The constants that hold for one GPU kind and layout; arrays of them for many runs. Meanings: constants.csv."""

    matmul_share: Any
    narrow_share: Any
    traffic_share: Any
    attention_share: Any
    memory_share: Any
    cast_share: Any
    link_share: Any
    tensor_exposed: Any
    expert_exposed: Any
    stage_exposed: Any
    gather_exposed: Any
    exchange_exposed: Any
    recompute_cost: Any
    kernel_seconds: Any
    hop_seconds: Any
    step_seconds: Any
    straggler_share: Any


def keys(gpu: Gpu, layout: Layout) -> dict[str, Key]:
    """For each field of Shares the (name, scope) of its row; scope "" where no run told this case apart."""
    software = "fused" if layout.kernels == "overlapped" else layout.kernels
    scopes = {
        "matmul_share": f"{gpu.architecture} {software}",
        "attention_share": f"{gpu.architecture} {software}",
        "narrow_share": layout.number_type,
        "memory_share": software,
        "tensor_exposed": software,
        "exchange_exposed": software,
        "expert_exposed": layout.kernels if gpu.gpus_per_node > 8 else software,
    }
    table = constants()
    found = {field.name: (field.name, scopes.get(field.name, "")) for field in dataclasses.fields(Shares)}
    return {name: key if key in table else (name, "") for name, key in found.items()}


def shares(gpu: Gpu, layout: Layout, values: Mapping[Key, float] | None = None) -> Shares:
    """Look the constants up; `values` instead of constants.csv's."""
    table = values or {key: row.value for key, row in constants().items()}
    return Shares(**{name: table[key] for name, key in keys(gpu, layout).items()})


@functools.cache
def constants() -> dict[Key, Constant]:
    """The rows of constants.csv by (name, scope)."""
    numbers = ("value", "prior", "low", "high")
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = [
            Constant(row["name"], row["scope"], *(float(row[column]) for column in numbers))
            for row in csv.DictReader(file)
        ]
    return {(row.name, row.scope): row for row in rows}
