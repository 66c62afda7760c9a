"""Whether losses that few examples show are small on average, for values with bounds."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from mdm_tune.core.statistics import Bounds, Groups, grouped

__all__ = ["examples_for_ties", "margin_of_ties", "seldom_worse", "worst_surplus"]

STAKES = (0.5, 0.75, 0.9, 1.0)  # shares of the wealth that are bet

Values = NDArray[np.float64]


def seldom_worse(surplus: Values, worst: float | None, level: float, groups: Groups | None = None) -> bool:
    """Whether the mean of a surplus is shown to be above 0, for any number of examples and any distribution.

    A gambler who bets the share s of her wealth that the next surplus is positive has the wealth
    prod_i (1 + s surplus_i / worst). If the mean is 0 or less, her expected wealth is at most 1, also on average over
    several s. By Markov's inequality it exceeds 1 / level with probability ``level`` at most. No interval has this
    guarantee for differences that are nearly all 0.

    Source: Waudby-Smith and Ramdas, JRSS B 2024, section 4.

    Args:
        surplus: (n,) at least -worst.
        worst: The largest possible loss, above 0; None if there is none, and then nothing is shown.
        level: The probability that a mean of 0 or less is called positive, in (0, 1).
        groups: The group of each example; None if all are independent. Groups must have one size, so that their means
            have the bounds of an example; otherwise nothing is shown.
    """
    if worst is None or (groups is not None and len(set(Counter(groups).values())) > 1):
        return False
    units = grouped(surplus, groups) / worst
    with np.errstate(divide="ignore"):
        wealth = [float(np.log(np.maximum(0.0, 1 + stake * units)).sum()) for stake in STAKES]
    return _mean_wealth(wealth) > -float(np.log(level))


def worst_surplus(bounds: Bounds, share: float) -> float:
    """How far a difference plus the margin may lie below 0 on one example.

    Args:
        bounds: The smallest and largest possible value.
        share: The margin as a share of the absolute mean.
    """
    low, high = bounds
    return high - low + share * max(abs(low), abs(high)) * (low < 0)


def examples_for_ties(bounds: Bounds, share: float, level: float) -> int:
    """The fewest examples on which ``seldom_worse`` holds for two policies whose values are all equal.

    All values are the bound that lies farther from 0, where the margin is largest. With other values more examples are
    needed.

    Args:
        bounds: The smallest and largest possible value.
        share: The margin as a share of the absolute mean, above 0.
        level: As in ``seldom_worse``.
    """
    most = 1
    while _wealth_of_ties(most, bounds, share) <= -np.log(level):
        most *= 2
    counts = range(most // 2 + 1, most + 1)
    return counts[bisect_left(counts, True, key=lambda count: _wealth_of_ties(count, bounds, share) > -np.log(level))]


def margin_of_ties(count: int, bounds: Bounds, level: float) -> float | None:
    """The smallest margin, as a share, for which ``examples_for_ties`` is ``count`` or less; None if it is above 1."""

    def missing(share: float) -> float:
        return float(_wealth_of_ties(count, bounds, share) + np.log(level))

    return float(brentq(missing, 0.0, 1.0)) if missing(1.0) > 0 else None


def _wealth_of_ties(count: int, bounds: Bounds, share: float) -> float:
    """The logarithm of the gambler's wealth after ``count`` examples whose values are all equal."""
    unit = share * max(map(abs, bounds)) / worst_surplus(bounds, share)
    return _mean_wealth([count * float(np.log1p(stake * unit)) for stake in STAKES])


def _mean_wealth(wealth: Sequence[float]) -> float:
    """The logarithm of the mean over all stakes of the wealth, whose logarithms are given."""
    return float(np.logaddexp.reduce(wealth) - np.log(len(STAKES)))
