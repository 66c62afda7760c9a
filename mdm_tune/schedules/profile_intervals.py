"""Standard errors over the examples of a profile, or over groups of examples that are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Estimate

__all__ = ["Groups", "clipped_at_zero", "group_numbers", "independent_count", "standard_errors"]

Floats = NDArray[np.float64]
Groups = Sequence[str]  # the group of each example


def group_numbers(count: int, groups: Groups | None) -> NDArray[np.intp]:
    """The number of each example's group (count,), counted by first appearance; without groups, 0 .. count - 1."""
    if groups is None:
        return np.arange(count)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in groups], dtype=np.intp)


def independent_count(count: int, groups: Groups | None) -> int:
    """The number of independent examples: the number of groups, or ``count`` without groups."""
    return count if groups is None else len(set(groups))


def standard_errors(residuals: Floats, groups: Groups | None = None) -> Floats:
    """Standard errors of means, from the sums of residuals over each group.

    Source: the cluster-robust variance of a mean, Liang and Zeger, Biometrika 1986.

    Args:
        residuals: values minus their means, (examples, n).
        groups: the group of each example; None if all are independent.

    Returns:
        (n,); NaN for a single group.
    """
    count, number = len(residuals), independent_count(len(residuals), groups)
    if number < 2:
        return np.full(residuals.shape[1], np.nan)
    sums = np.zeros((number, residuals.shape[1]))
    np.add.at(sums, group_numbers(count, groups), residuals)
    return np.asarray(np.sqrt(number / (number - 1) * (sums**2).sum(axis=0)) / count)


def clipped_at_zero(mean: Estimate) -> Estimate:
    """The estimate with an interval that does not go below 0, for values that are never negative."""
    return mean if mean.ci is None else replace(mean, ci=(max(mean.ci[0], min(mean.value, 0.0)), mean.ci[1]))
