"""Standard errors over the examples of a profile, or over groups of examples that are no independent ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Estimate

__all__ = ["Groups", "from_zero", "group_numbers", "independent", "standard_errors"]

Floats = NDArray[np.float64]
Groups = Sequence[str]  # one name for each example


def group_numbers(count: int, groups: Groups | None) -> NDArray[np.intp]:
    """The number of each example's group (count,), in the order in which groups are met; its own without groups."""
    if groups is None:
        return np.arange(count)
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in groups], dtype=np.intp)


def independent(count: int, groups: Groups | None) -> int:
    """How many of ``count`` examples are independent: the groups, where there are any."""
    return count if groups is None else len(set(groups))


def standard_errors(residuals: Floats, groups: Groups | None = None) -> Floats:
    """Standard errors (n,) of means whose residuals are (examples, n): from their sums over each group.

    NaN for a single group. Source: the cluster-robust variance of a mean, Liang and Zeger, Biometrika 1986.
    """
    count, number = len(residuals), independent(len(residuals), groups)
    if number < 2:
        return np.full(residuals.shape[1], np.nan)
    sums = np.zeros((number, residuals.shape[1]))
    np.add.at(sums, group_numbers(count, groups), residuals)
    return np.asarray(np.sqrt(number / (number - 1) * (sums**2).sum(axis=0)) / count)


def from_zero(found: Estimate) -> Estimate:
    """The interval without what lies below 0, for means of what is never negative."""
    return found if found.ci is None else replace(found, ci=(max(found.ci[0], min(found.value, 0.0)), found.ci[1]))
