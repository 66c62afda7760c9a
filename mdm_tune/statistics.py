"""Intervals of means and of differences, and the smallest gain that a split can show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONFIDENCE",
    "Bounds",
    "Estimate",
    "cautious",
    "constant",
    "corrected",
    "detectable_gain",
    "estimate",
    "interval_of_equal",
    "welch",
]

CONFIDENCE = 0.95
POWER = 0.80
RESAMPLES = 9999
MEMORY = 20_000_000  # resampled values held at a time

Values = NDArray[np.float64]
Bounds = tuple[float, float]  # the least and the largest value that is possible
UNKNOWN = (-math.inf, math.inf)


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, 95 % where nothing else is said.

    ci: None where the value is computed exactly and has no sampling error; infinite where one value is all there is.
    """

    value: float
    ci: tuple[float, float] | None


def corrected(claims: int) -> float:
    """The confidence of each of ``claims`` intervals that hold together at 95 %: Bonferroni's 1 - 0.05 / claims."""
    return 1 - (1 - CONFIDENCE) / claims


def estimate(values: Values, confidence: float = CONFIDENCE, bounds: Bounds | None = None) -> Estimate:
    """Mean of values (n,) with its bias-corrected and accelerated bootstrap interval.

    Of paired differences this is the paired bootstrap. The resampling seed is fixed: the same values give the same
    interval. bounds: of every value, where it has any: equal values, such as 0 of 64 answers that are right, then have
    the interval of ``interval_of_equal``, and one of width zero otherwise.

    Source: Efron, JASA 1987, as scipy.stats.bootstrap computes it.
    """
    from scipy.stats import bootstrap

    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, UNKNOWN)
    if constant(values):
        return Estimate(
            mean, (mean, mean) if bounds is None else interval_of_equal(mean, len(values), bounds, confidence)
        )
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, MEMORY // len(values)),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, (float(found.low), float(found.high)))


def interval_of_equal(value: float, count: int, bounds: Bounds, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the mean where ``count`` values within bounds were all equal; of 0s or 1s, Clopper and Pearson's.

    Other values, which may lie as far away as the bounds, have the share q of all, and ``count`` examples miss them
    with probability (1 - q)^count; at each end q is what makes that half of 1 - confidence. Nothing is assumed of the
    distribution but its bounds.
    """
    missed = 1 - ((1 - confidence) / 2) ** (1 / count)
    low, high = bounds
    return value - missed * max(0.0, value - low), value + missed * max(0.0, high - value)


def cautious(values: Values, confidence: float) -> Estimate:
    """Mean of values (n,) with the wider of the bootstrap's and Student's interval, end by end, for a claim.

    The bootstrap alone is too narrow far out in the tails: of 16 normal values its interval of 99.2 % misses the mean
    three times as often as it should.
    """
    from scipy.stats import t

    found = estimate(values, confidence)
    if found.ci is None or len(values) == 1 or constant(values):
        return found
    reach = float(t.ppf(0.5 + confidence / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Estimate(found.value, (min(found.ci[0], found.value - reach), max(found.ci[1], found.value + reach)))


def welch(first: Values, second: Values, confidence: float = CONFIDENCE) -> Estimate:
    """mean(first) - mean(second) of two independent samples (n,), (m,), with Welch's interval.

    Source: Welch, Biometrika 1947, as scipy.stats.ttest_ind with unequal variances; without its complaint about
    constant samples, whose interval has width zero.
    """
    from scipy.stats import t

    found = float(np.mean(first) - np.mean(second))
    if min(len(first), len(second)) == 1:
        return Estimate(found, UNKNOWN)
    squares = [0.0 if constant(each) else float(np.var(each, ddof=1)) / len(each) for each in (first, second)]
    if sum(squares) == 0:
        return Estimate(found, (found, found))
    freedom = sum(squares) ** 2 / (squares[0] ** 2 / (len(first) - 1) + squares[1] ** 2 / (len(second) - 1))
    reach = float(t.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(sum(squares))
    return Estimate(found, (found - reach, found + reach))


def detectable_gain(deviation: float, count: int, confidence: float = CONFIDENCE) -> float:
    """The smallest true mean difference that ``count`` pairs show at this confidence with 80 % power.

    deviation: standard deviation of one paired difference. Two-sided normal approximation.
    """
    from scipy.stats import norm

    quantiles = norm.ppf(0.5 + confidence / 2) + norm.ppf(POWER)
    return float(quantiles * deviation / np.sqrt(count))


def constant(values: Values) -> bool:
    """Whether the spread is of rounding size: the bootstrap's acceleration would be 0 / 0."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, abs(float(np.mean(values)))))
