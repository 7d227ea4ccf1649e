"""Calibration on a run of the user's own: what it measured over what the estimate says, by GPU kind."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from townsquare import receipts
from townsquare.errors import ConfigError, InputError
from townsquare.fleet.constants import RESIDUALS
from townsquare.fleet.estimate import Job, estimate
from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.meter import log_path, read_lines
from townsquare.fleet.runs import read_runs
from townsquare.fleet.shape import from_model
from townsquare.model.config import ModelConfig
from townsquare.square import Square

WARM_UP_STEPS = 3  # compile, fill caches, start links: their times are not a step's
SITE_SPREAD, RUN_SPREAD = 0.10, 0.11
"""Standard deviation of log(measured / estimated): of a site's mean, and of one run about it; robust, over the
published runs of 20 groups with groups left out in turn."""
TENTH = 1.2816  # standard deviations from the middle of a normal distribution to its 10th or 90th percentile


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of one GPU kind."""

    measured_over_estimated: float
    """An estimate is multiplied by it."""
    runs: int
    low: float
    high: float
    """10th and 90th percentile of what is left."""


UNCALIBRATED = Calibration(1.0, 0, *RESIDUALS)


def calibrate(name: str, square: Square | None, kinds: Sequence[Gpu]) -> dict[str, Calibration]:
    """By GPU kind, from a CSV of measured runs or from a run of the square.

    A run of the square was on the one of `kinds`.
    Raises ConfigError when there is no such run, or its GPU kind is not known; InputError for a file without use.
    """
    path = Path(name)
    ratios = _of_file(path) if path.suffix == ".csv" else _of_run(name, square, kinds)
    return {kind: shrunk(found) for kind, found in ratios.items()}


def shrunk(ratios: Sequence[float]) -> Calibration:
    """What measured runs say of the next one at their site: the best linear estimate.

    One run says little, for runs differ about as much as sites do; many say the site's mean.
    """
    mean = statistics.fmean(math.log(ratio) for ratio in ratios)
    noise = RUN_SPREAD**2 / len(ratios)
    weight = SITE_SPREAD**2 / (SITE_SPREAD**2 + noise)
    spread = math.sqrt(RUN_SPREAD**2 + weight * noise)
    return Calibration(math.exp(weight * mean), len(ratios), math.exp(-TENTH * spread), math.exp(TENTH * spread))


def _of_file(path: Path) -> dict[str, list[float]]:
    runs, reasons = read_runs(path)
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.step_seconds is not None:
            job = Job(run.shape, 1.0, run.sequence_length, run.sequences_per_step)
            ratio = run.step_seconds / estimate(job, run.layout, run.gpu).step_seconds
            found.setdefault(run.gpu.name, []).append(ratio)
    if not found:
        text = ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
        raise InputError("no row has a step time to calibrate on", place=str(path), remedy=f"Left out: {text or '-'}")
    return found


def _of_run(name: str, square: Square | None, kinds: Sequence[Gpu]) -> dict[str, list[float]]:
    own = receipts.read(square, "train", name) if square is not None else None
    if square is None or own is None:
        raise ConfigError(
            f"no finished run {name!r} to calibrate on",
            remedy="Name a run of this square, or a .csv of measured runs.",
        )
    if own.results["device"] == "cpu" or len(kinds) != 1:
        what = "it ran on a CPU" if own.results["device"] == "cpu" else "its GPU kind is not known"
        raise ConfigError(f"the run {name} cannot calibrate GPUs: {what}", remedy="Name the kind with one --gpu.")
    seconds = [step["seconds"] for step in read_lines(square.runs / name / "steps.jsonl")][WARM_UP_STEPS:]
    if not seconds:
        raise ConfigError(f"the run {name} has too few steps", remedy=f"More than {WARM_UP_STEPS} are needed.")
    model = ModelConfig(**json.loads((square.runs / name / "model.json").read_text(encoding="utf-8")))
    length, per_step = own.results["sequence_length"], own.results["tokens_per_step"]
    devices = max((line.get("devices", 1) for line in read_lines(log_path(square, name, own.fingerprint))), default=1)
    found = estimate(Job(from_model(model), 1.0, length, per_step // length), Layout(data=devices), kinds[0])
    return {kinds[0].name: [statistics.median(seconds) / found.step_seconds]}
