"""Intervals against coverage by simulation, and the detectable gain against its own definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mdm_tune.statistics import (
    CONFIDENCE,
    Estimate,
    cautious,
    corrected,
    detectable_gain,
    estimate,
    interval_of_equal,
    welch,
)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.9875])
def test_interval_is_close_to_the_t_interval_for_a_normal_sample(confidence: float) -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = estimate(values, confidence)
    low, high = stats.t.interval(confidence, 399, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert found.ci == pytest.approx((low, high), abs=0.05 * (high - low))
    assert estimate(values, CONFIDENCE) == estimate(values)


def test_interval_covers_the_mean_of_skewed_samples() -> None:
    """100 samples: fewer than 87 hits has probability below 0.001 at 95 % coverage; at 100 % coverage 100 hits fail."""
    rng = np.random.default_rng(1)
    intervals = [estimate(rng.exponential(1.0, 60)).ci for _ in range(100)]
    hits = sum(ci is not None and ci[0] < 1.0 < ci[1] for ci in intervals)
    assert 87 <= hits < 100


def test_constant_values_have_an_interval_of_width_zero() -> None:
    assert estimate(np.full(20, 0.25)) == Estimate(0.25, (0.25, 0.25))


@pytest.mark.parametrize("count", [2, 10, 64, 500])
@pytest.mark.parametrize("confidence", [0.95, corrected(6)])
def test_all_right_and_all_wrong_have_the_exact_interval_of_a_share(count: int, confidence: float) -> None:
    for right in (0, count):
        expected = stats.binomtest(right, count).proportion_ci(confidence, method="exact")
        found = estimate(np.full(count, float(right > 0)), confidence, bounds=(0.0, 1.0))
        assert found.value == float(right > 0)
        assert found.ci == pytest.approx((expected.low, expected.high))
        doubled = estimate(np.full(count, 2.0 * (right > 0)), confidence, bounds=(0.0, 2.0))
        assert doubled.ci == pytest.approx((2 * expected.low, 2 * expected.high))


def test_bounds_change_nothing_where_values_differ() -> None:
    values = np.random.default_rng(8).choice([0.0, 1.0], 40)
    assert estimate(values, bounds=(0.0, 1.0)) == estimate(values)


@pytest.mark.parametrize("usual", [0.0, 0.4, 1.0])
def test_equal_values_seldom_come_from_a_mean_outside_their_interval(usual: float) -> None:
    """The mean lies just outside, by values at a bound that are as rare as that takes: 2.5 % of samples miss them all.

    4,000 samples: a share of 0.025 +- 0.01 is 4 standard errors.
    """
    count, ends = 30, interval_of_equal(usual, 30, (0.0, 1.0))
    for end, mean in zip((0.0, 1.0), ends, strict=True):
        if end == usual:
            assert mean == usual
            continue
        rare = (mean - usual) / (end - usual)
        drawn = np.random.default_rng(9).random((4000, count)) < rare
        assert float((~drawn.any(axis=1)).mean()) == pytest.approx(0.025, abs=0.01)


def test_a_spread_of_rounding_size_is_none() -> None:
    values = np.where(np.arange(40) % 3 == 0, 1.0, np.nextafter(1.0, 2.0))
    found = estimate(values)
    assert found.ci == (found.value, found.value)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(2).random(50)
    assert estimate(values) == estimate(values.copy())


@pytest.mark.parametrize("claims", [1, 6])
def test_detectable_gain_is_found_in_four_of_five_experiments(claims: int) -> None:
    """1,000 experiments at the detectable gain: the share that exclude zero is 0.80 +- 0.05 (4 standard errors)."""
    deviation, count = 1.7, 80
    effect = detectable_gain(deviation, count, corrected(claims))
    means = np.random.default_rng(3).normal(effect, deviation, (1000, count)).mean(1)
    found = np.abs(means) > stats.norm.ppf(1 - 0.025 / claims) * deviation / np.sqrt(count)
    assert found.mean() == pytest.approx(0.80, abs=0.05)


def test_the_cautious_interval_is_the_wider_of_two_at_each_end() -> None:
    rng = np.random.default_rng(4)
    wider = set()
    for values in (rng.normal(size=12), rng.exponential(size=12), -rng.exponential(size=12)):
        ends = estimate(values, 0.99).ci, stats.t.interval(0.99, 11, values.mean(), stats.sem(values))
        assert ends[0] is not None
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        assert cautious(values, 0.99).ci == pytest.approx((low, high))
        wider |= {(low == ends[0][0], high == ends[0][1])}
    assert len(wider) > 1  # not the same one every time


@pytest.mark.parametrize("sizes", [(16, 16), (2, 40), (128, 512)])
def test_welch_is_scipys(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(1.0, 2.0, sizes[0]), rng.exponential(1.0, sizes[1])
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    found = welch(first, second, 0.9)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.ci == pytest.approx((expected.low, expected.high))


def test_welch_of_constant_samples_and_of_single_values() -> None:
    """scipy warns of both, and gives nan for the second."""
    ones, spread = np.ones(16), np.arange(8.0)
    assert welch(ones, 0.5 * ones).ci == (0.5, 0.5)
    low, high = stats.t.interval(0.95, 7, spread.mean() - 1, stats.sem(spread))  # no noise but that of the one sample
    assert welch(spread, ones).ci == pytest.approx((low, high))
    assert welch(np.array([3.0]), spread).ci == (-np.inf, np.inf)


@pytest.mark.parametrize("count", range(1, 13))
def test_few_values_have_an_interval_without_a_warning(count: int) -> None:
    """pytest turns every warning into an error."""
    rng = np.random.default_rng(count)
    samples = [np.zeros(count), np.full(count, 0.1), np.eye(count)[0], -1e6 * np.eye(count)[0]]
    samples += [rng.choice([0.0, 1.0], count), rng.normal(size=count) ** 3, 1 + 1e-11 * rng.normal(size=count)]
    for values in samples:
        for confidence in (0.5, 0.95, corrected(28)):
            for found in (
                estimate(values, confidence),
                cautious(values, confidence),
                welch(values, values, confidence),
            ):
                assert (
                    found.ci is not None and found.ci[0] <= found.value + 1e-12 and found.value - 1e-12 <= found.ci[1]
                )
                assert np.isfinite(found.ci).all() == (count > 1)


def test_bonferroni_shares_the_five_percent() -> None:
    assert corrected(1) == pytest.approx(0.95)
    assert corrected(4) == pytest.approx(0.9875)
