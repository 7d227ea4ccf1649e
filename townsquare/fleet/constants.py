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
RESIDUALS = (0.87, 1.27)
"""Measured over estimated step time: 10th and 90th percentile over published runs, groups left out in turn, and each
group counted alike on each GPU kind: what to expect of a site that nobody has measured."""

IN_ONE_BOX = 8  # GPUs; more are joined in a rack

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
    return _keys(gpu.architecture, gpu.gpus_per_node > IN_ONE_BOX, layout.kernels, layout.number_type)


def _keys(architecture: str, rack: bool, kernels: str, number_type: str) -> dict[str, Key]:
    software = {"overlapped": "fused", "tuned": "unfused"}.get(kernels, kernels)
    scopes = {
        "matmul_share": f"{architecture} {kernels if kernels == 'tuned' else software}",
        "attention_share": f"{architecture} {software}",
        "narrow_share": number_type,
        "memory_share": software,
        "tensor_exposed": software,
        "exchange_exposed": software,
        "expert_exposed": kernels if rack else software,
    }
    table = constants()
    found = {field.name: (field.name, scopes.get(field.name, "")) for field in dataclasses.fields(Shares)}
    return {name: key if key in table else (name, "") for name, key in found.items()}


def shares(gpu: Gpu, layout: Layout, values: Mapping[Key, float] | None = None) -> Shares:
    """Look the constants up; `values` instead of constants.csv's."""
    if values is None:
        return _standard(gpu.architecture, gpu.gpus_per_node > IN_ONE_BOX, layout.kernels, layout.number_type)
    return Shares(**{name: values[key] for name, key in keys(gpu, layout).items()})


@functools.cache
def _standard(architecture: str, rack: bool, kernels: str, number_type: str) -> Shares:
    table = constants()
    return Shares(**{name: table[key].value for name, key in _keys(architecture, rack, kernels, number_type).items()})


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
