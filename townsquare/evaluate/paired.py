"""Whether one model is better than another on the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from townsquare.evaluate.scores import CONFIDENCE, RESAMPLES

Side = tuple[Sequence[float], Sequence[float]]
"""Parts and wholes of one model's cases."""


def difference(one: Side, other: Side, seed: int) -> tuple[float, float, float]:
    """score(one) - score(other), and its 95 % interval by the paired percentile bootstrap: both models' scores of a
    draw are taken of the same cases (Efron and Tibshirani, 1993; for systems on one test set, Koehn, 2004).

    Raises ValueError where a score would be a share of nothing.
    """
    sides = np.asarray([one[0], one[1], other[0], other[1]], dtype=float)
    if sides.shape[1] == 0 or not sides[1].sum() or not sides[3].sum():
        raise ValueError("there is nothing to compare")
    rng = np.random.default_rng(seed)
    cases = sides.shape[1]
    drawn = rng.multinomial(cases, np.full(cases, 1 / cases), size=RESAMPLES) @ sides.T
    drawn = drawn[(drawn[:, 1] > 0) & (drawn[:, 3] > 0)]
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3], [edge, 1 - edge])
    return float(sides[0].sum() / sides[1].sum() - sides[2].sum() / sides[3].sum()), float(low), float(high)


def mcnemar(only_one: int, only_other: int) -> float:
    """The exact two-sided p of McNemar's test (1947): how likely a split at least as uneven of the cases on which
    exactly one of two models is right, if both were equally good; 1 where there are no such cases."""
    cases, fewer = only_one + only_other, min(only_one, only_other)
    tail = sum(math.comb(cases, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**cases)
