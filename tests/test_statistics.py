"""Intervals against coverage by simulation, and the detectable gain against its own definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mdm_tune.statistics import Estimate, detectable_gain, estimate


def test_interval_is_close_to_the_t_interval_for_a_normal_sample() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = estimate(values)
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert found.ci == pytest.approx((low, high), abs=0.1 * (high - low))


def test_interval_covers_the_mean_of_skewed_samples() -> None:
    """100 samples: fewer than 87 hits has probability below 0.001 at 95 % coverage; at 100 % coverage 100 hits fail."""
    rng = np.random.default_rng(1)
    intervals = [estimate(rng.exponential(1.0, 60)).ci for _ in range(100)]
    hits = sum(ci is not None and ci[0] < 1.0 < ci[1] for ci in intervals)
    assert 87 <= hits < 100


def test_constant_values_have_an_interval_of_width_zero() -> None:
    assert estimate(np.full(20, 0.25)) == Estimate(0.25, (0.25, 0.25))


def test_a_spread_of_rounding_size_is_none() -> None:
    values = np.where(np.arange(40) % 3 == 0, 1.0, np.nextafter(1.0, 2.0))
    found = estimate(values)
    assert found.ci == (found.value, found.value)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(2).random(50)
    assert estimate(values) == estimate(values.copy())


def test_detectable_gain_is_found_in_four_of_five_experiments() -> None:
    """1,000 experiments at the detectable gain: the share that exclude zero is 0.80 +- 0.05 (4 standard errors)."""
    deviation, count = 1.7, 80
    effect = detectable_gain(deviation, count)
    means = np.random.default_rng(3).normal(effect, deviation, (1000, count)).mean(1)
    found = np.abs(means) > stats.norm.ppf(0.975) * deviation / np.sqrt(count)
    assert found.mean() == pytest.approx(0.80, abs=0.05)
