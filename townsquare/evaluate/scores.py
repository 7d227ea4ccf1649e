"""Shares with their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2_000
CONFIDENCE = 0.95

Scores = dict[str, float | int]
"""Metrics by name, "n", and for every share its interval as NAME_low and NAME_high."""


def interval(parts: Sequence[float], wholes: Sequence[float], seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of sum(parts) / sum(wholes), cases drawn with replacement.

    Where all cases agree it has no width, which says nothing of the cases that were not asked.
    """
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=RESAMPLES)
    above, below = counts @ np.asarray(parts), counts @ np.asarray(wholes)
    drawn = above[below > 0] / below[below > 0]
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [edge, 1 - edge], method="inverted_cdf")
    return float(low), float(high)


def share(name: str, parts: Sequence[float], wholes: Sequence[float] | None = None, *, seed: int) -> Scores:
    """{name, name_low, name_high} of the share; nothing where it would be a share of nothing.

    Case i adds `parts[i]` out of `wholes[i]` (1 where not given).
    """
    wholes = [1] * len(parts) if wholes is None else wholes
    if not sum(wholes):
        return {}
    low, high = interval(parts, wholes, seed)
    return {name: sum(parts) / sum(wholes), f"{name}_low": low, f"{name}_high": high}
