"""Fit the constants to measured runs: damped least squares on the logarithm of the step time, robust to odd rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from townsquare.fleet.constants import Constant, Key, Shares, keys
from townsquare.fleet.runs import MeasuredRun
from townsquare.fleet.step_time import step_time
from townsquare.fleet.work import Work, work

Array = NDArray[np.float64]
ROBUST = 0.2
PRIOR = 0.2
LONGEST = 0.3  # step of a logarithm
ROUNDS = 40


@dataclasses.dataclass(frozen=True)
class Measured:
    """Runs as arrays: their work, which constants each needs, and the logarithm of the measured step."""

    work: Work
    columns: dict[str, NDArray[np.intp]]
    log_seconds: Array
    weights: Array

    @classmethod
    def of(cls, runs: Sequence[MeasuredRun], table: Sequence[Constant]) -> Measured:
        """Stack the runs that have a step time. A group of many rows counts as the root of their number."""
        works = [work(r.shape, r.layout, r.sequence_length, r.sequences_per_step, r.gpu) for r in runs]
        stacked = {f.name: np.array([getattr(w, f.name) for w in works], float) for f in dataclasses.fields(Work)}
        place = {(constant.name, constant.scope): number for number, constant in enumerate(table)}
        wanted = [keys(run.gpu, run.layout) for run in runs]
        columns = {f.name: np.array([place[w[f.name]] for w in wanted]) for f in dataclasses.fields(Shares)}
        sizes: dict[str, int] = {}
        for run in runs:
            sizes[run.group] = sizes.get(run.group, 0) + 1
        weights = np.array([sizes[run.group] ** -0.5 for run in runs])
        seconds = np.log([run.step_seconds or 1.0 for run in runs])
        return cls(Work(**stacked), columns, seconds, weights / weights.mean())

    def take(self, chosen: NDArray[np.bool_]) -> Measured:
        """The chosen rows alone."""
        parts = {f.name: getattr(self.work, f.name)[chosen] for f in dataclasses.fields(Work)}
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return Measured(Work(**parts), columns, self.log_seconds[chosen], self.weights[chosen])

    def errors(self, values: Array) -> Array:
        """Logarithm of predicted over measured."""
        shares = Shares(**{name: values[column] for name, column in self.columns.items()})
        return np.asarray(np.log(step_time(self.work, shares).total_seconds) - self.log_seconds)


def fit(measured: Measured, table: Sequence[Constant], start: Array | None = None) -> Array:
    """Values that explain the runs best, in the table's order."""
    prior = np.log([constant.prior for constant in table])
    low, high = (np.log([getattr(constant, side) for constant in table]) for side in ("low", "high"))
    theta = prior.copy() if start is None else np.log(start)
    for _ in range(ROUNDS):
        error = measured.errors(np.exp(theta))
        jacobian = np.empty((len(error), len(theta)))
        for column in range(len(theta)):
            moved = theta.copy()
            moved[column] += 0.01
            jacobian[:, column] = (measured.errors(np.exp(moved)) - error) / 0.01
        pull = measured.weights / np.maximum(np.abs(error), ROBUST)
        normal = jacobian.T @ (jacobian * pull[:, None]) + np.eye(len(theta)) * ROBUST / PRIOR**2
        slope = jacobian.T @ (pull * error) + (theta - prior) * ROBUST / PRIOR**2
        theta = theta + _bounded_step(normal, slope, low - theta, high - theta)
    return np.exp(theta)


def _bounded_step(normal: Array, slope: Array, low: Array, high: Array) -> Array:
    """The step that solves the normal equations; a constant that would leave its bounds stays on them, and the others
    are solved again."""
    low, high = np.maximum(low, -LONGEST), np.minimum(high, LONGEST)
    step = np.zeros_like(slope)
    free = np.ones(len(slope), bool)
    for _ in range(len(slope)):
        rest = -slope[free] - normal[np.ix_(free, ~free)] @ step[~free]
        step[free] = np.linalg.solve(normal[np.ix_(free, free)], rest)
        beyond = free & ((step < low) | (step > high))
        step = np.clip(step, low, high)
        if not beyond.any():
            break
        free &= ~beyond
        if not free.any():
            break
    return step


def as_mapping(table: Sequence[Constant], values: Array) -> Mapping[Key, float]:
    """By name and scope, as `shares` takes them."""
    return {(c.name, c.scope): float(v) for c, v in zip(table, values, strict=True)}
