"""Intervals of means and of differences, over examples or groups of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.intervals import finite_or_none, interval_record, interval_text
from mdm_tune.core.messages import shown

__all__ = [
    "CONFIDENCE",
    "FEWEST",
    "TOO_FEW",
    "Bounds",
    "Estimate",
    "Groups",
    "corrected_confidence",
    "estimate",
    "grouped",
    "interval_of_equal",
    "is_constant",
    "lower_bounds",
    "welch",
]

CONFIDENCE = 0.95
FEWEST = 10  # examples or groups that an interval needs; docs/intervals.md shows why
SKEW = 2.0  # times the skew's correction of first order: a few examples show less skew than there is
TOO_FEW: Final = "too few examples"
ROUNDING = 1e-12

Values = NDArray[np.float64]
Bounds = tuple[float, float]  # the least and the largest value that is possible
Groups = Sequence[Hashable]  # a name for each example; examples that share it are no independent ones


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, 95 % where nothing else is said.

    ci: None where the value is computed exactly and has no sampling error, and where there are too few examples for an
    interval. count: the independent examples, or groups of them, that the mean rests on; None where it is exact.
    """

    value: float
    ci: tuple[float, float] | None
    count: int | None = None

    @property
    def no_interval(self) -> Literal["exact", "too few examples"] | None:
        """Why there is no interval; None where there is one."""
        if self.ci is not None:
            return None
        return "exact" if self.count is None else TOO_FEW

    @property
    def exact(self) -> bool:
        """Whether the value is computed exactly and has no sampling error."""
        return self.no_interval == "exact"

    @property
    def negated(self) -> Estimate:
        """The same difference the other way round."""
        ends = None if self.ci is None else (0.0 - self.ci[1], 0.0 - self.ci[0])
        return Estimate(0.0 - self.value, ends, self.count)  # no minus before a zero

    @property
    def text(self) -> str:
        """The value with its interval, in as many decimals as give the interval's width two digits."""
        return interval_text(self.value, self.ci, self.no_interval)

    def to_json(self) -> dict[str, Any]:
        """The fields value, ci, no_interval and independent.

        JSON has no infinity: an infinite value or bound is null. independent is ``count``.
        """
        return {
            "value": finite_or_none(self.value),
            "ci": interval_record(self.ci),
            "no_interval": self.no_interval,
            "independent": self.count,
        }

    @classmethod
    def from_json(cls, record: object) -> Estimate:
        """The estimate that ``to_json`` wrote so; null is read as infinity.

        Raises:
            ValueError: a key is missing, or its value is no number.
        """
        if not isinstance(record, dict) or not {"value", "ci"} <= record.keys():
            raise ValueError(f"an estimate has value and ci, got {shown(record)}")
        value, *ends = (math.inf if each is None else each for each in (record["value"], *(record["ci"] or ())))
        if len(ends) not in (0, 2) or not all(isinstance(each, int | float) for each in (value, *ends)):
            raise ValueError(f"an estimate is a number with an interval of two or none, got {shown(record)}")
        return cls(value, (ends[0], ends[1]) if ends else None, record.get("independent"))


def corrected_confidence(claims: int) -> float:
    """The confidence of each of ``claims`` intervals that hold together at 95 %: Bonferroni's 1 - 0.05 / claims."""
    return 1 - (1 - CONFIDENCE) / claims


def grouped(values: Values, groups: Groups | None) -> Values:
    """One value per group (groups,), by first appearance, with the mean of values (n,); the values without groups.

    Examples of one group, such as answers to one prompt, are no independent ones. The mean is a ratio of sums over
    groups, and each group stands for what it adds to that ratio: mean + size / mean size * (own mean - mean). Groups of
    equal size are their means.

    Source: the linearised ratio estimator, Cochran, Sampling Techniques, 3rd ed., section 6.3.
    """
    if groups is None or not len(values):
        return values
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(group, len(places)) for group in groups])
    if len(places) == len(values):
        return values
    mean = float(np.mean(values))
    return np.asarray(mean + np.bincount(index, values - mean) * (len(places) / len(values)))


def estimate(
    values: Values, confidence: float = CONFIDENCE, bounds: Bounds | None = None, groups: Groups | None = None
) -> Estimate:
    """Mean of values (n,) with its interval; of paired differences, the interval of a mean difference.

    Student's interval made to hold for few, skewed and seldom differing values: one further value is taken to lie as
    far from the mean as the farthest does, and the end on the side of the skew is moved out by twice what the skew
    moves it in theory. docs/intervals.md compares it with others. The same values give the same interval.

    bounds: of every value, where it has any; the interval does not leave them, and equal values, such as 0 of 64
    answers that are right, have the interval of ``interval_of_equal``, and one of width zero otherwise. groups: a name
    for each value; those that share one count as one example (``grouped``). No interval of fewer than 10.

    Source for the skew: Johnson, JASA 1978, and Hall, JRSS B 1992.
    """
    mean, units = float(np.mean(values)), grouped(values, groups)
    count = len(units)
    if count < FEWEST:
        return Estimate(mean, None, count)
    if is_constant(units):
        ends = (mean, mean) if bounds is None else interval_of_equal(mean, count, bounds, confidence)
        return Estimate(mean, ends, count)
    low, high = (float(end) for end in _ends(units[None], confidence)[:, 0])
    if bounds is not None:
        low, high = max(low, min(bounds[0], mean)), min(high, max(bounds[1], mean))
    return Estimate(mean, (low, high), count)


def lower_bounds(samples: Values, confidence: float) -> Values:
    """The lower ends of the intervals of many samples at once: of values (samples, n) the ends (samples,).

    Minus infinity where n is too small for an interval; the mean where all values of a sample are equal.
    """
    if samples.shape[1] < FEWEST:
        return np.full(len(samples), -np.inf)
    return np.asarray(_ends(samples, confidence)[0])


def _ends(samples: Values, confidence: float) -> Values:
    """Both ends (2, samples) of the interval of each row of samples (samples, n)."""
    count = samples.shape[1]
    mean = samples.mean(axis=1)
    apart = samples - mean[:, None]
    squares = (apart**2).sum(axis=1)
    quantile = _student(confidence, count - 1)
    reach = quantile * np.sqrt((squares + np.abs(apart).max(axis=1) ** 2) / (count * (count + 1)))
    # Third cumulant over variance, both without bias: / n * (1 + 2 t^2) / 6 is where the skew moves the two ends.
    third = (apart**3).sum(axis=1) * (count / (count - 2))
    skew = np.divide(third, squares, out=np.zeros_like(third), where=squares > 0)
    moved = SKEW * skew / count * (1 + 2 * quantile**2) / 6
    return np.stack([mean - reach + np.minimum(moved, 0), mean + reach + np.maximum(moved, 0)])


@lru_cache(maxsize=4096)
def _student(confidence: float, freedom: float) -> float:
    """The quantile of Student's law that leaves half of 1 - confidence above it."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))


def interval_of_equal(value: float, count: int, bounds: Bounds, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the mean where ``count`` values within bounds were all equal; of 0s or 1s, Clopper and Pearson's.

    Other values, which may lie as far away as the bounds, have the share q of all, and ``count`` examples miss them
    with probability (1 - q)^count; at each end q is what makes that half of 1 - confidence. Nothing is assumed of the
    distribution but its bounds.
    """
    missed = 1 - ((1 - confidence) / 2) ** (1 / count)
    low, high = bounds
    return value - missed * max(0.0, value - low), value + missed * max(0.0, high - value)


def welch(
    first: Values,
    second: Values,
    confidence: float = CONFIDENCE,
    groups: tuple[Groups | None, Groups | None] = (None, None),
) -> Estimate:
    """mean(first) - mean(second) of two independent samples (n,), (m,), with Welch's interval.

    groups: of the values of each, as in ``estimate``. No interval where either has fewer than 10 values or groups.

    Two constant samples have an interval of width zero. Source: Welch, Biometrika 1947, by scipy.stats.ttest_ind.
    """
    found = float(np.mean(first) - np.mean(second))
    units = [grouped(first, groups[0]), grouped(second, groups[1])]
    count = min(map(len, units))
    if count < FEWEST:
        return Estimate(found, None, count)
    if all(map(is_constant, units)):
        return Estimate(found, (found, found), count)
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():  # of one constant sample, whose mean has no error
        warnings.simplefilter("ignore", RuntimeWarning)
        ends = ttest_ind(*units, equal_var=False).confidence_interval(confidence)
    return Estimate(found, (float(ends.low), float(ends.high)), count)


def is_constant(values: Values) -> bool:
    """Whether the spread is of rounding size, so that it says nothing."""
    return bool(np.ptp(values) <= ROUNDING * max(1.0, abs(float(np.mean(values)))))
