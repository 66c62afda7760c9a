"""Intervals of means and of differences, over examples or groups of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.interval_text import finite_or_none, interval_record, interval_text
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
SKEW = 2.0  # multiplies the first-order correction for skew, because a small sample underestimates its skew
TOO_FEW: Final = "too few examples"
ROUNDING = 1e-12

Values = NDArray[np.float64]
Bounds = tuple[float, float]  # the smallest and the largest possible value
Groups = Sequence[Hashable]  # the group of each example; examples of one group are not independent


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval.

    Attributes:
        value: the mean.
        ci: the interval, 95 % by default; None if the value is exact or if there are too few examples.
        count: the number of independent examples or groups; None if the value is exact.
    """

    value: float
    ci: tuple[float, float] | None
    count: int | None = None

    @property
    def no_interval(self) -> Literal["exact", "too few examples"] | None:
        """The reason why there is no interval; None if there is one."""
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
        value, *ends = (math.inf if number is None else number for number in (record["value"], *(record["ci"] or ())))
        if len(ends) not in (0, 2) or not all(isinstance(number, int | float) for number in (value, *ends)):
            raise ValueError(f"an estimate is a number with an interval of two or none, got {shown(record)}")
        return cls(value, (ends[0], ends[1]) if ends else None, record.get("independent"))


def corrected_confidence(intervals: int) -> float:
    """The confidence of each of several intervals that hold together with 95 %: Bonferroni's 1 - 0.05 / intervals."""
    return 1 - (1 - CONFIDENCE) / intervals


def grouped(values: Values, groups: Groups | None) -> Values:
    """One value per group, with the same mean as the values.

    Examples of one group, such as answers to one prompt, are not independent. The mean of all examples is a ratio of
    two sums over groups: of values and of sizes. A group's value is its linear contribution to this ratio,
    mean + size / mean size * (group mean - mean). If all groups have one size, it is the group mean.

    Source: the linearised ratio estimator, Cochran, Sampling Techniques, 3rd ed., section 6.3.

    Args:
        values: (n,).
        groups: the group of each value; None if all values are independent.

    Returns:
        (groups,), in the order in which the groups first appear; the values themselves without groups.
    """
    if groups is None or not len(values):
        return values
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    if len(numbers) == len(values):
        return values
    mean = float(np.mean(values))
    return np.asarray(mean + np.bincount(index, values - mean) * (len(numbers) / len(values)))


def estimate(
    values: Values, confidence: float = CONFIDENCE, bounds: Bounds | None = None, groups: Groups | None = None
) -> Estimate:
    """The mean of values with its interval. The values may be paired differences.

    It is Student's interval with two changes, so that it holds for few values, skewed values and values that rarely
    differ. One more value is assumed, as far from the mean as the farthest one. The end on the side of the skew is
    moved out by twice the theoretical correction for skew. docs/intervals.md compares it with other intervals. The same
    values always give the same interval.

    Source of the correction for skew: Johnson, JASA 1978, and Hall, JRSS B 1992.

    Args:
        values: (n,).
        confidence: of the interval, between 0 and 1.
        bounds: the smallest and largest possible value; the interval stays within them. None if there are none.
        groups: the group of each value; a group counts as one example (``grouped``).

    Returns:
        The estimate. It has no interval for fewer than 10 examples or groups. If all values are equal, such as 0 of 64
        correct answers, it has the interval of ``interval_of_equal``, or one of width zero without bounds.
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
    """The lower ends of the intervals of many samples at once.

    Args:
        samples: (samples, n).
        confidence: of the intervals, between 0 and 1.

    Returns:
        (samples,). It is minus infinity if n is too small for an interval, and the mean if all values are equal.
    """
    if samples.shape[1] < FEWEST:
        return np.full(len(samples), -np.inf)
    return np.asarray(_ends(samples, confidence)[0])


def _ends(samples: Values, confidence: float) -> Values:
    """Both ends (2, samples) of the interval of each row of samples (samples, n)."""
    count = samples.shape[1]
    mean = samples.mean(axis=1)
    deviations = samples - mean[:, None]
    powers = deviations * deviations  # NumPy's ** 3 takes 30 times as long as two products
    squares, largest = powers.sum(axis=1), powers.max(axis=1)
    powers *= deviations
    quantile = _student_quantile(confidence, count - 1)
    half_width = quantile * np.sqrt((squares + largest) / (count * (count + 1)))
    # The unbiased third cumulant over the variance; the skew shifts both ends by this / n * (1 + 2 t^2) / 6.
    third = powers.sum(axis=1) * (count / (count - 2))
    skew = np.divide(third, squares, out=np.zeros_like(third), where=squares > 0)
    shift = SKEW * skew / count * (1 + 2 * quantile**2) / 6
    return np.stack([mean - half_width + np.minimum(shift, 0), mean + half_width + np.maximum(shift, 0)])


@lru_cache(maxsize=4096)
def _student_quantile(confidence: float, freedom: float) -> float:
    """The quantile of Student's t distribution with half of 1 - confidence above it."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))


def interval_of_equal(value: float, count: int, bounds: Bounds, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the mean of a bounded distribution of which all observed values are equal.

    If other values have the probability q, ``count`` examples show none of them with probability (1 - q)^count. The
    interval takes the q for which this is (1 - confidence) / 2, and puts the other values at the bounds. It assumes
    nothing else about the distribution. For values of 0 and 1 it is the interval of Clopper and Pearson.

    Args:
        value: the observed value.
        count: how often it was observed.
        bounds: the smallest and largest possible value.
        confidence: of the interval, between 0 and 1.
    """
    unseen = 1 - ((1 - confidence) / 2) ** (1 / count)
    low, high = bounds
    return value - unseen * max(0.0, value - low), value + unseen * max(0.0, high - value)


def welch(
    first: Values,
    second: Values,
    confidence: float = CONFIDENCE,
    groups: tuple[Groups | None, Groups | None] = (None, None),
) -> Estimate:
    """mean(first) - mean(second) of two independent samples, with Welch's interval.

    Source: Welch, Biometrika 1947. ``scipy.stats.ttest_ind`` gives the same, but takes half a second to import.

    Args:
        first: (n,).
        second: (m,).
        confidence: of the interval, between 0 and 1.
        groups: the groups of both samples, as in ``estimate``.

    Returns:
        The estimate. It has no interval if a sample has fewer than 10 values or groups. Two constant samples have an
        interval of width zero.
    """
    difference = float(np.mean(first) - np.mean(second))
    units = [grouped(first, groups[0]), grouped(second, groups[1])]
    count = min(map(len, units))
    if count < FEWEST:
        return Estimate(difference, None, count)
    if all(map(is_constant, units)):
        return Estimate(difference, (difference, difference), count)
    squares = [float(np.var(each, ddof=1)) / len(each) for each in units]  # of the standard errors of both means
    freedom = sum(squares) ** 2 / sum(square**2 / (len(each) - 1) for square, each in zip(squares, units, strict=True))
    centre = float(np.mean(units[0]) - np.mean(units[1]))
    half_width = _student_quantile(confidence, freedom) * math.sqrt(sum(squares))
    return Estimate(difference, (centre - half_width, centre + half_width), count)


def is_constant(values: Values) -> bool:
    """Whether all values are equal up to rounding."""
    return bool(np.ptp(values) <= ROUNDING * max(1.0, abs(float(np.mean(values)))))
