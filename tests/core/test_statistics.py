"""Intervals against closed forms and against coverage by simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mdm_tune.core.statistics import (
    CONFIDENCE,
    FEWEST,
    Estimate,
    corrected_confidence,
    estimate,
    grouped,
    interval_of_equal,
    lower_bounds,
    welch,
)

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Values]


def by_hand(values: Values, confidence: float) -> tuple[float, float]:
    """The interval from its definition: one more value as far out as the farthest, and Johnson's term twice."""
    count, mean, t = len(values), values.mean(), stats.t.ppf(0.5 + confidence / 2, len(values) - 1)
    farthest = np.abs(values - mean).max()
    halves = np.sqrt(np.array([farthest, -farthest]) ** 2 / 2)  # half a value at either side: the mean stays
    squares = ((values - mean) ** 2).sum() + (halves**2).sum()
    reach = t * np.sqrt(squares / count / (count + 1))
    skew = stats.kstat(values, 3) / stats.kstat(values, 2)  # without bias
    term = 2 * skew / (6 * count) * (1 + 2 * t**2)
    return mean - reach + min(term, 0), mean + reach + max(term, 0)


@pytest.mark.parametrize("confidence", [0.8, 0.95, corrected_confidence(6)])
@pytest.mark.parametrize("count", [10, 33, 500])
def test_the_interval_is_its_definition(count: int, confidence: float) -> None:
    rng = np.random.default_rng(count)
    for values in (rng.normal(3, 2, count), rng.exponential(1, count), -rng.lognormal(size=count)):
        found = estimate(values, confidence)
        assert found.value == pytest.approx(values.mean()) and found.count == count and found.no_interval is None
        assert found.ci == pytest.approx(by_hand(values, confidence))
        assert lower_bounds(np.stack([values, values]), confidence) == pytest.approx(
            [by_hand(values, confidence)[0]] * 2
        )
    assert estimate(values, CONFIDENCE) == estimate(values.copy())


def test_the_interval_of_many_normal_values_is_students() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    low, high = stats.t.interval(0.95, 3999, values.mean(), stats.sem(values))
    assert estimate(values).ci == pytest.approx((low, high), abs=0.02 * (high - low))


def ternary(wins: float, losses: float) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
        place = rng.random(shape)
        return np.where(place < wins, 1.0, 0.0) - np.where(place > 1 - losses, 1.0, 0.0)

    return draw


# The laws of docs/intervals.md that are worst, by name: how to draw, their mean, and the numbers of examples.
LAWS: dict[str, tuple[Draw, float, tuple[int, ...]]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0, (10, 64)),
    "left-skewed": (lambda rng, shape: -rng.exponential(size=shape), -1.0, (10, 32, 256)),
    "log-normal": (lambda rng, shape: rng.lognormal(size=shape), float(np.exp(0.5)), (16, 64)),
    "heavy tails": (lambda rng, shape: rng.standard_t(2, size=shape), 0.0, (16, 64)),
    "40 % differ": (ternary(0.2, 0.2), 0.0, (32, 256)),
    "5 % differ, 3 of 4 wins": (ternary(0.0375, 0.0125), 0.025, (64, 256)),
}


@pytest.mark.parametrize("law", LAWS)
def test_the_interval_covers_92_to_98_percent(law: str) -> None:
    """4,000 samples each: a share of 0.92 to 0.98 is met within 0.015, 3.5 standard errors at 0.92."""
    draw, mean, counts = LAWS[law]
    for count in counts:
        samples = draw(np.random.default_rng(count), (4000, count))
        low, high = lower_bounds(samples, 0.95), -lower_bounds(-samples, 0.95)
        nothing = (np.ptp(samples, 1) == 0) * (1 - 0.025 ** (1 / count))  # where no example differs
        low, high = low - nothing, high + nothing
        share = float(((low <= mean) & (mean <= high)).mean())
        assert 0.905 <= share <= 0.985, (law, count, share)


def test_too_few_values_have_no_interval_and_say_why() -> None:
    assert Estimate(0.5, None).no_interval == "exact"
    for count in (1, FEWEST - 1):
        found = estimate(np.arange(float(count)))
        assert found.ci is None and found.no_interval == "too few examples" and found.count == count
    assert estimate(np.arange(float(FEWEST))).ci is not None


def test_values_that_share_a_group_count_once() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=20)
    names = [str(i) for i in np.repeat(np.arange(20), 4)]
    found = estimate(np.repeat(means, 4), groups=names)
    assert found.count == 20 and found.ci == pytest.approx(estimate(means).ci)
    assert estimate(np.repeat(means, 4), groups=["a"] * 80).no_interval == "too few examples"
    assert grouped(means, [*map(str, range(20))]) is means


def test_groups_of_several_sizes_are_a_ratio() -> None:
    """The spread of what groups stand for is the cluster-robust variance of a mean."""
    rng = np.random.default_rng(1)
    names = rng.integers(0, 15, 60)
    values = rng.normal(size=60) + names
    units = grouped(values, [*map(str, names)])
    assert units.mean() == pytest.approx(values.mean())
    sums = np.bincount(names, values - values.mean(), 15)
    robust = (sums**2).sum() / 60**2 * len(units) / (len(units) - 1)
    assert units.var(ddof=1) / len(units) == pytest.approx(robust)


@pytest.mark.parametrize(("prompts", "rows"), [(32, 8), (64, 4)])
@pytest.mark.parametrize("correlation", [0.2, 0.5])
def test_intervals_of_repeated_prompts_cover(prompts: int, rows: int, correlation: float) -> None:
    """1,000 samples: 0.93 to 0.985 is 0.957 +- 4.4 standard errors. Without groups it would be 0.66 to 0.86."""
    rng = np.random.default_rng(rows)
    own, common = rng.normal(size=(1000, prompts, rows)), rng.normal(size=(1000, prompts, 1))
    values = (correlation**0.5 * common + (1 - correlation) ** 0.5 * own).reshape(1000, -1)
    names = [str(i // rows) for i in range(prompts * rows)]
    cis = [estimate(each, groups=names).ci or (1.0, 1.0) for each in values]
    hits = sum(low <= 0 <= high for low, high in cis)
    assert 930 <= hits <= 985
    assert sum(low > 0 for low, _ in cis) <= 40  # 2.5 % may: 25; more than 40 has probability 0.001
    alone = [estimate(each).ci or (1.0, 1.0) for each in values[:200]]
    assert sum(low <= 0 <= high for low, high in alone) < 0.92 * 200


def test_the_interval_does_not_leave_the_bounds() -> None:
    values = np.eye(16)[0]
    free, bounded = estimate(values).ci, estimate(values, bounds=(0.0, 1.0)).ci
    assert free is not None and bounded is not None
    assert free[0] < 0 and bounded == (0.0, free[1])


def test_constant_values_have_an_interval_of_width_zero() -> None:
    assert estimate(np.full(20, 0.25)) == Estimate(0.25, (0.25, 0.25), 20)


@pytest.mark.parametrize("count", [10, 64, 500])
@pytest.mark.parametrize("confidence", [0.95, corrected_confidence(6)])
def test_all_right_and_all_wrong_have_the_exact_interval_of_a_share(count: int, confidence: float) -> None:
    for right in (0, count):
        expected = stats.binomtest(right, count).proportion_ci(confidence, method="exact")
        found = estimate(np.full(count, float(right > 0)), confidence, bounds=(0.0, 1.0))
        assert found.value == float(right > 0)
        assert found.ci == pytest.approx((expected.low, expected.high))
        doubled = estimate(np.full(count, 2.0 * (right > 0)), confidence, bounds=(0.0, 2.0))
        assert doubled.ci == pytest.approx((2 * expected.low, 2 * expected.high))


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


@pytest.mark.parametrize("sizes", [(16, 16), (10, 40), (128, 512)])
def test_welch_is_that_of_scipy(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(1.0, 2.0, sizes[0]), rng.exponential(1.0, sizes[1])
    found = welch(first, second, 0.9)
    assert found.value == pytest.approx(first.mean() - second.mean())
    ends = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    assert found.ci == pytest.approx((ends.low, ends.high), rel=1e-12)


def test_welch_of_constant_samples_and_of_few_values() -> None:
    ones, spread = np.ones(16), np.arange(12.0)
    assert welch(ones, 0.5 * ones).ci == (0.5, 0.5)
    low, high = stats.t.interval(0.95, 11, spread.mean() - 1, stats.sem(spread))  # no noise but that of the one sample
    assert welch(spread, ones).ci == pytest.approx((low, high))
    assert welch(np.arange(9.0), spread).no_interval == "too few examples"


@pytest.mark.parametrize("count", range(1, 13))
def test_few_values_give_no_warning(count: int) -> None:
    """pytest turns every warning into an error."""
    rng = np.random.default_rng(count)
    samples = [np.zeros(count), np.full(count, 0.1), np.eye(count)[0], -1e6 * np.eye(count)[0]]
    samples += [rng.choice([0.0, 1.0], count), rng.normal(size=count) ** 3, 1 + 1e-11 * rng.normal(size=count)]
    for values in samples:
        for confidence in (0.5, 0.95, corrected_confidence(28)):
            for found in (estimate(values, confidence), welch(values, values, confidence)):
                assert (found.ci is None) == (count < FEWEST)
                if found.ci is not None:
                    assert found.ci[0] <= found.value + 1e-12 and found.value - 1e-12 <= found.ci[1]
                    assert np.isfinite(found.ci).all()


def test_bonferroni_shares_the_five_percent() -> None:
    assert corrected_confidence(1) == pytest.approx(0.95)
    assert corrected_confidence(4) == pytest.approx(0.9875)
