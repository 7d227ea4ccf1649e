"""The eight step times of Korthikanti et al. (arXiv 2205.05198, table 5) on A100: where calculon reports its errors."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from townsquare.fleet.estimate import Job, estimate
from townsquare.fleet.hardware import gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.shape import Shape

CALCULON_MEAN, CALCULON_WORST = 0.0365, 0.0887
"""Errors of batch time that calculon (doi 10.1145/3581784.3607102) reports of these eight points."""
SEQUENCE_LENGTH = 2048


class Point(NamedTuple):
    """A model in one layout, tensor parallelism 8, and seconds of a step."""

    name: str
    layers: int
    hidden: int
    heads: int
    stages: int
    chunks: int
    micro_batch: int
    batch: int
    full_seconds: float
    """All layers made anew, the sequence whole."""
    selective_seconds: float
    """Attention scores made anew, the sequence split."""


POINTS = (
    Point("22B", 48, 6144, 64, 1, 1, 4, 4, 1.42, 1.10),
    Point("175B", 96, 12288, 96, 8, 3, 1, 64, 18.13, 13.75),
    Point("530B", 105, 20480, 128, 35, 3, 1, 280, 49.05, 37.83),
    Point("1T", 128, 25600, 160, 64, 1, 1, 512, 94.42, 71.49),
)


def shape(point: Point) -> Shape:
    """GPT with a vocabulary of 51,200."""
    width, heads = point.hidden, point.heads
    return Shape(point.layers, width, heads, heads, width // heads, 51_200, 4 * width, gated=False, tied=True)


def errors() -> dict[str, float]:
    """Relative error of each of the eight."""
    found = {}
    for point in POINTS:
        job = Job(shape(point), 1.0, SEQUENCE_LENGTH, point.batch)
        selective = Layout(
            tensor=8,
            pipeline=point.stages,
            interleave=point.chunks,
            micro_batch=point.micro_batch,
            kernels="tuned",
            recompute="selective",
        )
        full = dataclasses.replace(selective, recompute="full", splits_sequence=False)
        for how, layout, seconds in (
            ("full", full, point.full_seconds),
            ("selective", selective, point.selective_seconds),
        ):
            step = estimate(job, layout, gpu("A100 SXM 80GB")).step_seconds
            found[f"{point.name} {how}"] = round(step / seconds - 1, 3)
    return found


def beside_calculon() -> dict[str, Any]:
    """Our errors, their mean and worst, and those that calculon reports."""
    ours = errors()
    sizes = [abs(error) for error in ours.values()]
    return {
        **ours,
        "mean_abs_error": round(sum(sizes) / len(sizes), 4),
        "worst_abs_error": max(sizes),
        "calculon_mean_abs_error": CALCULON_MEAN,
        "calculon_worst_abs_error": CALCULON_WORST,
    }
