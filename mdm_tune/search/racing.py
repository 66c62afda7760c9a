"""Racing: a candidate is scored block by block and dropped once it can hardly beat the best one on all examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.errors import InputError

__all__ = ["CHANCE", "carried", "chance", "hopeless", "look_sizes", "whole_look_sizes"]

Differences = NDArray[np.float64]

CHANCE = 0.05  # a candidate goes on while its chance to win is at least this
FIRST = 8  # fewest examples that anything is judged by
HALVINGS = 4  # the first look is at a sixteenth of the examples


def look_sizes(examples: int) -> tuple[int, ...]:
    """How many examples are scored at each look, the last being all of them; each look about doubles the one before.

    At most 5 numbers, the first at least 8 or all examples. Raises InputError if examples < 1.
    """
    if examples < 1:
        raise InputError(f"a race needs at least one example, got {examples}; give more examples")
    found = [examples]
    while len(found) <= HALVINGS and (half := -(-found[-1] // 2)) >= FIRST:
        found.append(half)
    return tuple(reversed(found))


def whole_look_sizes(ends: Sequence[int]) -> tuple[int, ...]:
    """How many examples are scored at each look where some are no independent ones: ``look_sizes`` at whole groups.

    ends: how many examples there are up to the end of each group. Without groups 1, 2, 3 and so on.
    """
    return tuple(ends[groups - 1] for groups in look_sizes(len(ends)))


def chance(differences: Differences, total: int) -> float:
    """The predictive probability that the mean over all ``total`` examples will be above 0, from the first n of them.

    differences (n,): candidate - incumbent on the same examples with the same noise, positive is better, examples in an
    order that says nothing about them; of examples that are no independent ones the values of their groups, and total
    is the number of groups. The examples to come are normal with unknown mean and variance, so that their
    sum is Student t; two pseudo-examples, one at plus and one at minus the largest difference seen, keep the variance
    above 0 when all differences are equal or nearly all are 0. 1/2 if all are 0. With all examples seen, 0 or 1.

    Raises InputError unless 1 <= n <= total and the differences are finite.
    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.2: the posterior predictive of a normal sample
    with the prior 1 / variance.
    """
    from scipy.special import stdtr

    count = _checked(differences, total)
    if count == total:
        return float(differences.mean() > 0)
    largest = np.abs(differences).max()
    if largest == 0:
        return 0.5
    known = np.append(differences, [largest, -largest])
    size, rest = len(known), total - count
    expected = known.sum() + rest * known.mean()  # the pseudo-examples add 0 to the sum of those seen
    spread = known.std(ddof=1) * np.sqrt(rest * (rest + size) / size)
    return float(stdtr(size - 1, expected / spread))


def hopeless(differences: Differences, total: int) -> bool:
    """Whether the candidate should be dropped: examples are left to save and its chance to win is below 5 %.

    differences (n,) and total as in ``chance``, errors too.
    """
    return chance(differences, total) < CHANCE and len(differences) < total


def carried(incumbent: float, differences: Differences) -> float:
    """What a dropped candidate is worth on all examples: the incumbent's mean there plus the mean paired difference.

    Larger is better in both. The mean of the candidate's own first examples would not do: they may be easier or harder
    than the rest. A candidate that ``hopeless`` drops comes out below the incumbent.

    Raises InputError if there are no differences or not all are finite.
    """
    _checked(differences, len(differences))
    return incumbent + float(differences.mean())


def _checked(differences: Differences, total: int) -> int:
    """How many there are; raises InputError where nothing follows from them."""
    count = len(differences)
    if not 1 <= count <= total:
        raise InputError(
            f"a race is judged by at least one example and at most all of them, got {count} of {total}; "
            "score a block first, and pass the number of all examples"
        )
    if not np.isfinite(differences).all():
        raise InputError(
            f"a difference in a race must be finite, got {differences[~np.isfinite(differences)][0]}; "
            "race on a metric that is finite for every example"
        )
    return count
