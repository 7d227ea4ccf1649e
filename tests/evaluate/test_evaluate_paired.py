"""Paired tests, held against scipy's, the textbook's own example, and counts made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from townsquare.evaluate.paired import difference, mcnemar


@pytest.mark.parametrize(
    ("only_one", "only_other", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # one coin, either side: 2 * 1/2
        (5, 0, 2 / 32),  # all five one way: 2 * (1/2)^5
        (1, 5, 2 * 7 / 64),  # none or one of six: (1 + 6) / 64, twice
        (3, 3, 1.0),
    ],
)
def test_mcnemar_by_hand(only_one: int, only_other: int, p: float) -> None:
    assert mcnemar(only_one, only_other) == pytest.approx(p)


def test_mcnemar_is_the_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the extra harness")
    for only_one, only_other in ((12, 5), (0, 9), (40, 61), (121, 59)):
        expected = stats.binomtest(only_one, only_one + only_other, 0.5).pvalue
        assert mcnemar(only_one, only_other) == pytest.approx(expected, rel=1e-9)


def test_a_difference_is_drawn_case_by_case_with_both_models() -> None:
    # Where one model is right exactly where the other is, no draw can tell them apart, however far each one varies.
    parts = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    wholes = [1.0] * 6
    assert difference((parts, wholes), (parts, wholes), seed=1) == (0.0, 0.0, 0.0)
    better = [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    apart, low, high = difference((better, wholes), (parts, wholes), seed=1)
    assert apart == pytest.approx(2 / 6)
    assert 0 <= low < apart < high <= 1


def test_the_paired_bootstrap_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the extra harness")
    rng = np.random.default_rng(3)
    wholes = rng.integers(10, 80, 120).astype(float)
    one, other = wholes * rng.normal(1.4, 0.2, 120), wholes * rng.normal(1.5, 0.2, 120)

    def ratio(a: np.ndarray, b: np.ndarray, n: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.sum(axis) / n.sum(axis) - b.sum(axis) / n.sum(axis)

    expected = stats.bootstrap(
        (one, other, wholes), ratio, paired=True, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    apart, low, high = difference((one.tolist(), wholes.tolist()), (other.tolist(), wholes.tolist()), seed=1)
    assert apart == pytest.approx(float(ratio(one, other, wholes)))
    # 2,000 draws leave an end of the interval open by about 5 % of its width.
    width = expected.high - expected.low
    assert math.isclose(low, expected.low, abs_tol=0.08 * width)
    assert math.isclose(high, expected.high, abs_tol=0.08 * width)


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="nothing"):
        difference(([], []), ([], []), seed=1)
    with pytest.raises(ValueError, match="nothing"):
        difference(([0.0], [0.0]), ([1.0], [1.0]), seed=1)
