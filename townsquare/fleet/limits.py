"""Why a plan is the best one, and what limits it: the same search with one thing changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from townsquare.errors import ConfigError
from townsquare.fleet.estimate import Estimate, Job, estimate
from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.memory import fits
from townsquare.fleet.search import fastest


def limits(found: Estimate, gpus: int) -> dict[str, float]:
    """Share of the step that doubling one thing would save, layouts searched anew; what limits most comes first."""
    like = Layout(number_type=found.layout.number_type, kernels=found.layout.kernels)
    saved = {
        name: 1 - fastest(found.job, kind, gpus, like).step_seconds / found.step_seconds
        for name, kind in _doubled(found.gpu).items()
    }
    larger = dataclasses.replace(found.job, sequences_per_step=2 * found.job.sequences_per_step)
    again = fastest(larger, found.gpu, gpus, like)
    saved["sequences a step"] = 1 - again.step_seconds / 2 / found.step_seconds
    return dict(sorted(((k, round(max(v, 0.0), 4)) for k, v in saved.items()), key=lambda item: -item[1]))


def _doubled(kind: Gpu) -> dict[str, Gpu]:
    peaks, rates = ({t: 2 * v for t, v in table.items()} for table in (kind.peak_tflops, kind.measured_tflops))
    changed = {
        "matrix-product rate": dataclasses.replace(kind, peak_tflops=peaks, measured_tflops=rates),
        "memory bandwidth": dataclasses.replace(kind, memory_bandwidth_gb_s=2 * kind.memory_bandwidth_gb_s),
        "memory": dataclasses.replace(kind, memory_gb=2 * kind.memory_gb),
        "network between nodes": dataclasses.replace(kind, network_gb_s=2 * kind.network_gb_s),
    }
    if kind.node_link_gb_s:
        changed["link inside a node"] = dataclasses.replace(kind, node_link_gb_s=2 * kind.node_link_gb_s)
    return changed


def neighbours(found: Estimate, gpus: int) -> list[dict[str, Any]]:
    """Layouts that differ in one choice: how much longer a step takes and in which part, or that it does not fit."""
    rows = []
    for change, layout in _changes(found.layout, found.job, gpus):
        other = estimate(found.job, layout, found.gpu)
        row: dict[str, Any] = {"instead": change, "memory_gb": round(other.memory.total_gb, 1)}
        if not fits(other.memory, found.gpu):
            row["why"] = f"does not fit: {other.memory.largest()} is its largest part"
        else:
            longer = other.step_seconds / found.step_seconds - 1
            row |= {"longer": round(longer, 4), "why": f"more {_grown(found, other)}" if longer > 0 else "as fast"}
        rows.append(row)
    return rows


def _grown(found: Estimate, other: Estimate) -> str:
    """The part of the step that grew most."""
    parts = [field.name for field in dataclasses.fields(found.step)]
    most = max(parts, key=lambda name: float(getattr(other.step, name) - getattr(found.step, name)))
    return most.removesuffix("_seconds")


def _changes(layout: Layout, job: Job, gpus: int) -> Iterator[tuple[str, Layout]]:
    """Each choice moved one step, with as many replicas as there is room and work for."""
    for name in ("tensor", "pipeline", "micro_batch"):
        for value in (getattr(layout, name) // 2, getattr(layout, name) * 2):
            if value < 1 or (name == "tensor" and job.shape.heads % value) or value > job.shape.layers:
                continue
            try:
                moved = dataclasses.replace(layout, **{name: value})
            except ConfigError:
                continue
            room = gpus // (moved.tensor * moved.pipeline * moved.context)
            data = min(room, job.sequences_per_step // moved.micro_batch)
            if data >= 1:
                shown = name.replace("micro_batch", "sequences at once")
                yield f"{shown} {value}", dataclasses.replace(moved, data=data, interleave=_chunks(moved, job))
    if layout.recompute == "full":
        yield "nothing recomputed", dataclasses.replace(layout, recompute="none")
    else:
        yield "layers recomputed", dataclasses.replace(layout, recompute="full")
    if layout.pipeline == 1 and layout.data > 1:
        if layout.sharding == "full":
            yield "only optimizer state sharded", dataclasses.replace(layout, sharding="optimizer")
        else:
            yield "fully sharded", dataclasses.replace(layout, sharding="full")


def _chunks(layout: Layout, job: Job) -> int:
    """Chunks a stage, no more than there are layers in it."""
    return 1 if layout.pipeline == 1 else max(min(layout.interleave, job.shape.layers // layout.pipeline), 1)
