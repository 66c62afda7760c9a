"""Intervals of a ratio of two means over the same examples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mdm_tune.core.statistics import CONFIDENCE, Bounds, Estimate, Groups, Values, estimate

__all__ = ["ratio_of_means"]

DOUBLINGS = 40  # of the ratio, in search of a value above the interval


def ratio_of_means(
    top: Values,
    bottom: Values,
    confidence: float = CONFIDENCE,
    bounds: tuple[Bounds, Bounds] | None = None,
    groups: Groups | None = None,
) -> Estimate:
    """mean(top) / mean(bottom), with its interval.

    The interval is Fieller's: it holds the ratios r for which the interval of the mean of top - r bottom includes 0.
    That mean has the interval of ``core.statistics.estimate``. If all values of ``top`` are equal, the ends are top
    divided by the ends of the interval of mean(bottom).

    Source: Fieller, JRSS B 1954.

    Args:
        top: (n,), above 0.
        bottom: (n,), above 0.
        confidence: of the interval, between 0 and 1.
        bounds: the smallest and largest possible value of ``top`` and of ``bottom``; None if there are none.
        groups: the group of each example; a group counts as one example.

    Returns:
        The estimate. It has no interval for fewer than 10 examples or groups.
    """
    ratio = float(np.mean(top) / np.mean(bottom))

    def of(value: float) -> Estimate:
        limits = None
        if bounds is not None:
            (least, most), (fewest, largest) = bounds
            limits = (least - value * largest, most - value * fewest)
        return estimate(top - value * bottom, confidence, limits, groups)

    at_ratio = of(ratio)
    if at_ratio.ci is None:
        return Estimate(ratio, None, at_ratio.count)

    def end(value: float, which: int) -> float:
        return (of(value).ci or (-math.inf, math.inf))[which]

    outside = next((r for k in range(1, DOUBLINGS) if end(r := ratio * 2**k, 1) < 0), math.inf)
    high = math.inf if math.isinf(outside) else _zero(lambda value: end(value, 1), ratio, outside)
    low = _zero(lambda value: end(value, 0), 0.0, ratio) if end(0.0, 0) > 0 else 0.0
    return Estimate(ratio, (low, high), at_ratio.count)


def _zero(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses 0 between two values; the one nearer to 0 if rounding hides the crossing."""
    from scipy.optimize import brentq

    if function(low) <= 0 or function(high) >= 0:
        return low if abs(function(low)) < abs(function(high)) else high
    return float(brentq(function, low, high, xtol=1e-12 * high, rtol=1e-12))
