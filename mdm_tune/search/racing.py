"""Racing: a candidate is scored on more and more examples, and dropped once it can hardly beat the best trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.errors import InputError

__all__ = ["CHANCE", "carried", "chance", "hopeless", "look_sizes", "whole_look_sizes"]

Differences = NDArray[np.float64]

CHANCE = 0.05  # a candidate continues while its probability to win is at least this
FIRST = 8  # fewest examples of a look
HALVINGS = 4  # the first look is at 1/16 of the examples


def look_sizes(examples: int) -> tuple[int, ...]:
    """The number of examples at each look, about doubled from look to look; the last is all of them.

    Args:
        examples: All examples, at least 1.

    Returns:
        At most 5 numbers, ascending; the first is at least 8, or all examples.

    Raises:
        InputError: If there are no examples.
    """
    if examples < 1:
        raise InputError(f"a race needs at least one example, got {examples}; give more examples")
    sizes = [examples]
    while len(sizes) <= HALVINGS and (half := -(-sizes[-1] // 2)) >= FIRST:
        sizes.append(half)
    return tuple(reversed(sizes))


def whole_look_sizes(ends: Sequence[int]) -> tuple[int, ...]:
    """The number of examples at each look, such that each look is at whole groups.

    Args:
        ends: The number of examples up to the end of each group; 1, 2, 3 and so on if all are independent.

    Returns:
        The numbers, ascending; ``look_sizes`` gives the numbers of groups.
    """
    return tuple(ends[groups - 1] for groups in look_sizes(len(ends)))


def chance(differences: Differences, total: int) -> float:
    """The predictive probability that the mean difference over all examples is above 0, from the first n of them.

    Differences are modelled as normal with unknown mean and variance, so that the sum of the unseen ones has a Student
    t distribution. Two pseudo-examples, at plus and minus the largest difference, keep the variance above 0 if all
    differences are equal or nearly all are 0.

    Args:
        differences: (n,) candidate - incumbent on the same examples with the same noise; positive is better. The order
            of the examples is random. If examples are not independent, the values of their groups.
        total: All examples, or all groups.

    Returns:
        The probability; 1/2 if all differences are 0, and 0 or 1 if n is ``total``.

    Raises:
        InputError: Unless 1 <= n <= total and the differences are finite.

    Source: Gelman et al., Bayesian Data Analysis, 3rd ed., section 3.2: the posterior predictive of a normal sample
    with the prior 1 / variance.
    """
    from scipy.special import stdtr

    count = _checked_count(differences, total)
    if count == total:
        return float(differences.mean() > 0)
    largest = np.abs(differences).max()
    if largest == 0:
        return 0.5
    known = np.append(differences, [largest, -largest])
    size, rest = len(known), total - count
    expected = known.sum() + rest * known.mean()  # the two pseudo-examples add 0 to the sum
    spread = known.std(ddof=1) * np.sqrt(rest * (rest + size) / size)
    return float(stdtr(size - 1, expected / spread))


def hopeless(differences: Differences, total: int) -> bool:
    """Whether to drop a candidate: its probability to win is below 5 %, and some examples are not scored yet.

    Args:
        differences: As in ``chance``.
        total: As in ``chance``.

    Raises:
        InputError: As ``chance``.
    """
    return chance(differences, total) < CHANCE and len(differences) < total


def carried(incumbent: float, differences: Differences) -> float:
    """Estimate a dropped candidate's mean on all examples: the incumbent's mean plus the mean paired difference.

    The candidate's own mean on the first examples is no good estimate, since these may be easier or harder than the
    rest. The estimate of a candidate that ``hopeless`` drops is below the incumbent's mean.

    Args:
        incumbent: The incumbent's mean on all examples; larger is better.
        differences: (n,) candidate - incumbent on the first examples.

    Raises:
        InputError: If there are no differences, or if not all are finite.
    """
    _checked_count(differences, len(differences))
    return incumbent + float(differences.mean())


def _checked_count(differences: Differences, total: int) -> int:
    """The number of differences. Raises InputError unless it is in [1, total] and the differences are finite."""
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
