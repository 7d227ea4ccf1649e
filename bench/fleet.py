"""What estimates cost and how far they are from published runs.

    python bench/fleet.py [RUNS.csv] [MEMORY.csv]

Prints milliseconds for one estimate of a 405B model on 16,384 GPUs, for one search of its layouts on 10,000, and for
the search of the largest model; then, when files of measured runs are given, the errors that `fleet validate` prints.
Peers and what they report of themselves: calculon, mean 3.65 % over the eight A100 points of arXiv 2205.05198.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from townsquare.fleet.config import ValidateConfig
from townsquare.fleet.estimate import Job, estimate
from townsquare.fleet.hardware import gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.search import fastest, largest
from townsquare.fleet.shape import Shape
from townsquare.fleet.validate import validate

LLAMA_405B = Shape(126, 16384, 128, 8, 128, 128_256, 53_248)
KORTHIKANTI = (  # layers, width, heads, stages, chunks, sequences at once, batch; seconds made anew in full, scores
    (48, 6144, 64, 1, 1, 4, 4, 1.42, 1.10),
    (96, 12288, 96, 8, 3, 1, 64, 18.13, 13.75),
    (105, 20480, 128, 35, 3, 1, 280, 49.05, 37.83),
    (128, 25600, 160, 64, 1, 1, 512, 94.42, 71.49),
)


def milliseconds(work: Callable[[], object], times: int) -> float:
    """The fastest of three rounds, for one call."""
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - started) / times * 1e3)
    return round(min(rounds), 3)


def korthikanti_errors() -> list[float]:
    """Relative errors of the eight step times of arXiv 2205.05198, table 5."""
    errors = []
    for layers, width, heads, stages, chunks, micro_batch, batch, full, selective in KORTHIKANTI:
        shape = Shape(layers, width, heads, heads, width // heads, 51_200, 4 * width, gated=False, tied=True)
        layout = Layout(
            tensor=8, pipeline=stages, interleave=chunks, micro_batch=micro_batch, kernels="unfused", recompute="full"
        )
        job = Job(shape, 1e9, 2048, batch)
        anew = dataclasses.replace(layout, splits_sequence=False)
        for how, seconds in ((anew, full), (dataclasses.replace(layout, recompute="selective"), selective)):
            errors.append(round(estimate(job, how, gpu("A100 SXM 80GB")).step_seconds / seconds - 1, 3))
    return errors


def main() -> None:
    """Measure and print, as JSON."""
    h100 = gpu("H100 SXM")
    job, layout = Job(LLAMA_405B, 15.6e12, 8192, 2048), Layout(data=128, tensor=8, pipeline=16, interleave=8)
    errors = korthikanti_errors()
    results: dict[str, object] = {
        "estimate_ms": milliseconds(lambda: estimate(job, layout, h100), 200),
        "search_ms": milliseconds(lambda: fastest(job, h100, 10_000), 1),
        "largest_model_ms": milliseconds(lambda: largest(h100, 10_000, 30, 65_536), 1),
        "korthikanti_errors": errors,
        "korthikanti_mean_abs_error": round(sum(map(abs, errors)) / len(errors), 3),
    }
    files = [Path(argument) for argument in sys.argv[1:]]
    if files:
        found = validate(ValidateConfig(runs=files[0], memory=files[1] if len(files) > 1 else None))
        results.update(found)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
