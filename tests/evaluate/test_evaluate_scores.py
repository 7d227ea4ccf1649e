"""Shares and their intervals, held against the binomial distribution."""

from __future__ import annotations

import math

import pytest

from townsquare.evaluate.scores import RESAMPLES, interval, share


def binomial_quantile(n: int, p: float, level: float) -> int:
    """The least k with P(X <= k) >= level, by the textbook's sum."""
    total = 0.0
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        if total >= level:
            return k
    return n


@pytest.mark.parametrize(("n", "successes"), [(50, 40), (20, 3), (400, 200)])
def test_the_bootstrap_of_a_share_is_binomial(n: int, successes: int) -> None:
    p = successes / n
    low, high = interval([1] * successes + [0] * (n - successes), [1] * n, seed=1)
    # What 2,000 draws leave open: the levels 0.025 and 0.975 move by three standard errors at most.
    slack = 3 * math.sqrt(0.025 * 0.975 / RESAMPLES)
    for value, level in ((low, 0.025), (high, 0.975)):
        assert binomial_quantile(n, p, level - slack) <= round(value * n) <= binomial_quantile(n, p, level + slack)


def test_a_ratio_is_drawn_by_case_not_by_part() -> None:
    # Two cases, one of which is all right and one all wrong: a draw gives 0, 1/2 or 1, however many parts they have.
    assert interval([10, 0], [10, 10], seed=1) == (0.0, 1.0)


def test_a_share_of_nothing_is_no_number() -> None:
    assert share("right", [], seed=1) == {}
    assert share("precision", [0, 0], [0, 0], seed=1) == {}


def test_the_same_seed_gives_the_same_interval() -> None:
    parts = [1, 0, 1, 1, 0, 1, 0]
    assert share("right", parts, seed=3) == share("right", parts, seed=3)
    found = share("right", parts, seed=3)
    assert found["right"] == pytest.approx(4 / 7)
    assert found["right_low"] <= found["right"] <= found["right_high"]
