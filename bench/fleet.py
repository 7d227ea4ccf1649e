"""What estimates cost and how far they are from published runs.

    python bench/fleet.py [RUNS.csv] [MEMORY.csv]

Prints milliseconds for one estimate of a 405B model on 16,384 GPUs, for one search of its layouts on 10,000, and for
the search of the largest model; then, when files of measured runs are given, the errors that `fleet validate` prints.
Peers and what they report of themselves: calculon, mean 3.65 % over the eight A100 points of arXiv 2205.05198.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from townsquare.fleet.config import ValidateConfig
from townsquare.fleet.estimate import Job, estimate
from townsquare.fleet.hardware import gpu
from townsquare.fleet.korthikanti import beside_calculon
from townsquare.fleet.layout import Layout
from townsquare.fleet.search import fastest, largest
from townsquare.fleet.shape import Shape
from townsquare.fleet.validate import validate

LLAMA_405B = Shape(126, 16384, 128, 8, 128, 128_256, 53_248)


def milliseconds(work: Callable[[], object], times: int) -> float:
    """The fastest of three rounds, for one call."""
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - started) / times * 1e3)
    return round(min(rounds), 3)


def main() -> None:
    """Measure and print, as JSON."""
    h100 = gpu("H100 SXM")
    job, layout = Job(LLAMA_405B, 15.6e12, 8192, 2048), Layout(data=128, tensor=8, pipeline=16, interleave=8)
    results: dict[str, object] = {
        "estimate_ms": milliseconds(lambda: estimate(job, layout, h100), 200),
        "search_ms": milliseconds(lambda: fastest(job, h100, 10_000), 1),
        "largest_model_ms": milliseconds(lambda: largest(h100, 10_000, 30, 65_536), 1),
        "korthikanti": beside_calculon(),
    }
    files = [Path(argument) for argument in sys.argv[1:]]
    if files:
        found = validate(ValidateConfig(runs=files[0], memory=files[1] if len(files) > 1 else None))
        results.update(found)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
