"""Intervals of ratios of means, against the closed form, a bootstrap, and the ratio that is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mdm_tune.core.ratios import ratio_of_means
from mdm_tune.core.statistics import estimate


def test_the_interval_is_that_of_a_paired_bootstrap() -> None:
    rng = np.random.default_rng(0)
    bottom = rng.gamma(8.0, 2.0, 500)
    top = 3 * bottom + rng.normal(30.0, 8.0, 500)
    found = ratio_of_means(top, bottom)
    drawn = stats.bootstrap(
        (top, bottom), lambda a, b, axis: a.mean(axis) / b.mean(axis), paired=True, n_resamples=2000, rng=rng
    ).confidence_interval
    assert found.value == pytest.approx(top.mean() / bottom.mean()) and found.count == 500 and found.ci is not None
    width = drawn.high - drawn.low
    assert found.ci == pytest.approx((drawn.low, drawn.high), abs=0.15 * width)


def test_the_interval_is_fiellers_closed_form_for_many_symmetric_values() -> None:
    rng = np.random.default_rng(1)
    top, bottom = rng.normal(20.0, 2.0, 4000), rng.normal(5.0, 1.0, 4000)
    found = ratio_of_means(top, bottom)
    (a, c), (_, b) = np.cov(top, bottom) / 4000
    t = stats.t.ppf(0.975, 3999)
    roots = np.roots(
        [bottom.mean() ** 2 - t**2 * b, -2 * (top.mean() * bottom.mean() - t**2 * c), top.mean() ** 2 - t**2 * a]
    )
    assert found.ci == pytest.approx(sorted(roots.real), abs=0.03 * np.ptp(roots.real))


def test_equal_numbers_above_give_the_inverse_of_the_interval_below() -> None:
    bottom = np.random.default_rng(2).integers(4, 20, 64).astype(float)
    found, below = ratio_of_means(np.full(64, 32.0), bottom), estimate(bottom)
    assert below.ci is not None and found.ci == pytest.approx((32 / below.ci[1], 32 / below.ci[0]), rel=1e-9)


def test_the_interval_holds_the_ratio_as_often_as_it_says() -> None:
    """Skewed values; of 200 intervals 190 are expected, and fewer than 178 have probability 0.0006."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        bottom = 1 + rng.exponential(4.0, 60)
        top = 10 + 2 * bottom + rng.exponential(3.0, 60)
        low, high = ratio_of_means(top, bottom).ci or (0.0, 0.0)
        held += low <= (10 + 2 * 5 + 3) / 5 <= high
    assert held >= 178


def test_groups_widen_it_and_few_examples_have_none() -> None:
    rng = np.random.default_rng(4)
    bottom = np.repeat(rng.gamma(8.0, 2.0, 40), 8)
    top = np.full(320, 64.0)
    alone = ratio_of_means(top, bottom)
    grouped = ratio_of_means(top, bottom, groups=[place // 8 for place in range(320)])
    once = ratio_of_means(top[::8], bottom[::8])
    assert grouped.ci == pytest.approx(once.ci) and alone.ci is not None and once.ci is not None
    assert np.ptp(once.ci) > 2 * np.ptp(alone.ci)
    assert ratio_of_means(np.ones(9), np.ones(9)).ci is None


def test_a_denominator_that_may_be_zero_leaves_the_interval_open() -> None:
    bottom = np.array([0.0] * 19 + [1.0])
    low, high = ratio_of_means(np.ones(20), bottom).ci or (0.0, 0.0)
    assert 0 < low < 20 and high == np.inf
