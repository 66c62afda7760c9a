"""Whether losses that few examples show are small on average, for values with bounds."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Groups, grouped

__all__ = ["seldom_worse"]

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
    return bool(np.logaddexp.reduce(wealth) - np.log(len(STAKES)) > -np.log(level))
