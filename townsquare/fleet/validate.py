"""How far the estimates are from published runs: with the constants as they are, and refitted without each group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from townsquare.errors import ConfigError, InputError
from townsquare.fleet.config import ValidateConfig
from townsquare.fleet.constants import constants
from townsquare.fleet.fit import Array, Measured, fit
from townsquare.fleet.korthikanti import beside_calculon
from townsquare.fleet.memory import Memory, fits, memory
from townsquare.fleet.plot import plot_errors
from townsquare.fleet.runs import MeasuredRun, read_runs
from townsquare.progress import progress

LOW_TRUST = ("maxtext-tpu", "amd-primus", "colossalai")  # groups that are reported and never fitted
ENOUGH_GROUPS, ENOUGH_RUNS = 3, 60  # below this a refit says nothing
WORST = 10


def validate(config: ValidateConfig) -> dict[str, Any]:
    """Errors of step time and memory over a file of runs, as shares of what was measured.

    `step_time_*` are those of constants.csv. `left_out_*` predict each group with constants fitted to the other
    groups alone: what to expect of runs that nobody has seen; null when the file is too small for that.
    Raises ConfigError when no file is named, InputError when none of its rows can be compared.
    """
    if config.runs is None and config.memory is None:
        raise ConfigError("there are no runs to compare with", remedy="Name a file: --runs FILE")
    runs, skipped = _usable(config.runs)
    more, skipped_of_memory = _usable(config.memory)
    timed = [run for run in runs if run.step_seconds is not None]
    results = {"runs": len(timed), "skipped": skipped, "skipped_of_memory": skipped_of_memory}
    table = list(constants().values())
    measured = Measured.of(timed, table) if timed else None
    left_out = leave_one_group_out(timed, measured) if measured else None
    if measured is not None:
        errors = measured.errors(np.array([row.value for row in table]))
        results |= _step_time(timed, errors, left_out)
    memory_ratios, of_memory = _memory([*runs, *more])
    results |= of_memory | {"korthikanti": beside_calculon()}
    if config.plot is not None and measured is not None:
        shown = errors if left_out is None else left_out
        _plot(config.plot, timed, shown, memory_ratios)
    return results


def _plot(path: Path, runs: Sequence[MeasuredRun], errors: Array, memory_ratios: Array) -> None:
    groups = np.array([run.group for run in runs])
    shares = np.expm1(errors)
    text = _summary("x", errors)
    note = (
        f"{len(runs)} runs: step time median {text['x_median_abs_error']:.1%}, "
        f"90th percentile {text['x_p90_abs_error']:.1%}; each group predicted without itself where there are enough"
    )
    plot_errors(path, {name: shares[groups == name] for name in sorted(set(groups))}, memory_ratios - 1, note)


def _usable(path: Path | None) -> tuple[list[MeasuredRun], dict[str, int]]:
    """A file's rows that can be compared, and the reasons of the others, the most frequent first."""
    if path is None:
        return [], {}
    runs, reasons = read_runs(path)
    reasons = dict(sorted(reasons.items(), key=lambda item: -item[1]))
    if not runs:
        text = ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
        raise InputError("no row can be compared", place=str(path), remedy=f"Reasons: {text}")
    return runs, reasons


def _step_time(runs: Sequence[MeasuredRun], errors: Array, left_out: Array | None) -> dict[str, Any]:
    shown = errors if left_out is None else left_out
    return {
        **_summary("step_time", errors),
        **_summary("left_out", left_out),
        "measured_over_estimated_p10_p90": [float(np.exp(_by_site(runs, -shown, q))) for q in (0.1, 0.9)],
        "groups": _groups(runs, shown),
        "worst": [
            {
                "run": runs[i].name,
                "measured_seconds": runs[i].step_seconds,
                "error": round(float(np.expm1(shown[i])), 3),
            }
            for i in np.argsort(-np.abs(np.expm1(shown)))[:WORST]
        ],
    }


def _by_site(runs: Sequence[MeasuredRun], values: Array, share: float) -> float:
    """A quantile in which each group counts alike on each GPU kind, however many rows it has: of a new site's run."""
    sites = [(run.group, run.gpu.name) for run in runs]
    weights = np.array([1 / sites.count(site) for site in sites])
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), share * weights.sum())])


def leave_one_group_out(runs: Sequence[MeasuredRun], measured: Measured) -> Array | None:
    """Errors of each group under constants fitted to the others, or None when there is too little to fit."""
    table = list(constants().values())
    groups = np.array([run.group for run in runs])
    trusted = ~np.isin(groups, LOW_TRUST)
    names = sorted(set(groups))
    if len(names) < ENOUGH_GROUPS or trusted.sum() < ENOUGH_RUNS:
        return None
    errors = np.empty(len(runs))
    with progress("Fitting without each group", len(names), "groups") as bar:
        for name in names:
            inside = groups == name
            errors[inside] = measured.take(inside).errors(fit(measured.take(trusted & ~inside), table))
            bar.advance(1)
    return errors


def fitted_constants(path: Path) -> dict[tuple[str, str], float]:
    """What constants.csv should hold: fitted to every trusted run of a file."""
    table = list(constants().values())
    runs = [run for run in read_runs(path)[0] if run.step_seconds is not None and run.group not in LOW_TRUST]
    values = fit(Measured.of(runs, table), table)
    return {(row.name, row.scope): float(f"{value:.3g}") for row, value in zip(table, values, strict=True)}


def _summary(name: str, errors: Array | None) -> dict[str, float | None]:
    if errors is None:
        return {f"{name}_median_abs_error": None, f"{name}_p90_abs_error": None}
    shares = np.abs(np.expm1(errors))
    return {
        f"{name}_median_abs_error": round(float(np.median(shares)), 4),
        f"{name}_p90_abs_error": round(float(np.quantile(shares, 0.9)), 4),
    }


def _groups(runs: Sequence[MeasuredRun], errors: Array) -> dict[str, dict[str, float | int]]:
    """Runs, median absolute and median signed error of each group, the worst group first."""
    names = np.array([run.group for run in runs])
    found = {
        name: {
            "runs": int((names == name).sum()),
            "median_abs_error": round(float(np.median(np.abs(np.expm1(errors[names == name])))), 3),
            "median_error": round(float(np.median(np.expm1(errors[names == name]))), 3),
        }
        for name in sorted(set(names))
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]["median_abs_error"]))


def _comparable_gib(run: MeasuredRun, need: Memory) -> float:
    """What of an estimate the measurement took in."""
    gb = need.total_gb - need.context_gb if run.tensors_only else need.total_gb
    return gb * 1e9 / 2**30


def _memory(runs: Sequence[MeasuredRun]) -> tuple[Array, dict[str, Any]]:
    """Estimated over measured memory; its errors, and rows that ran out of memory which the estimate calls a fit."""
    needs = [(run, memory(run.shape, run.layout, run.sequence_length, run.sequences_per_step)) for run in runs]
    measured = [(run, need) for run, need in needs if run.memory_gib is not None and not run.out_of_memory]
    ratios = np.array([_comparable_gib(run, need) / (run.memory_gib or 1) for run, need in measured])
    failed = [(run, need) for run, need in needs if run.out_of_memory]
    return ratios, {
        "memory_runs": len(measured),
        **_summary("memory", np.log(ratios) if len(ratios) else None),
        "out_of_memory_runs": len(failed),
        "out_of_memory_called_a_fit": sum(fits(need, run.gpu) for run, need in failed),
    }
