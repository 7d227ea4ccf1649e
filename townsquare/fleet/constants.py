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
RESIDUALS = (0.80, 1.25)
"""Measured over estimated step time: the 10th and the 90th percentile over published runs, groups left out in turn."""


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


def keys(gpu: Gpu, layout: Layout) -> dict[str, tuple[str, str]]:
    """For each field of Shares the (name, scope) of its row in constants.csv."""
    generation = "fused" if layout.kernels == "overlapped" else layout.kernels
    rack = layout.kernels if gpu.gpus_per_node > 8 else generation
    scopes = {
        "expert_exposed": rack,
        "matmul_share": f"{gpu.architecture} {generation}",
        "narrow_share": layout.number_type,
        "attention_share": f"{gpu.architecture} {generation}",
        "memory_share": generation,
        "tensor_exposed": generation,
        "exchange_exposed": generation,
    }
    return {field.name: (field.name, scopes.get(field.name, "")) for field in dataclasses.fields(Shares)}


def shares(gpu: Gpu, layout: Layout, values: Mapping[tuple[str, str], float] | None = None) -> Shares:
    """Look the constants up; `values` instead of constants.csv's."""
    table = constants() if values is None else values
    return Shares(**{name: table[key] for name, key in keys(gpu, layout).items()})


@functools.cache
def constants() -> dict[tuple[str, str], float]:
    """(name, scope) to value."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {(row["name"], row["scope"]): float(row["value"]) for row in csv.DictReader(file)}
