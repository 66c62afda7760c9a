"""Choose one number of a sampler so that it costs as much as another sampler."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

from mdm_tune.core.errors import InputError

__all__ = ["CostMatch", "calls_to_match", "matching_cost"]

CostMatch = Generator[tuple[float, ...], Sequence[float], float]

TOLERANCE, TRIES = 0.01, 16  # of ``matching_cost``


def matching_cost(
    target: float, low: float, high: float, *, tolerance: float = TOLERANCE, tries: int = TRIES
) -> CostMatch:
    """Find the value in [low, high] whose mean NFE is closest to the target, by bisection.

    The NFE may rise or fall with the value. It may jump, since calls are whole numbers and examples are few.

    Args:
        target: The NFE to reach, above 0.
        low: The lower end of the range.
        high: The upper end of the range.
        tolerance: The bisection ends at an NFE this close, relative to the target.
        tries: Most values that are tried, at least 2.

    Yields:
        Values to try; ``send`` their mean NFEs. The first are the two ends.

    Returns:
        The value whose NFE is closest; of equally close values the one tried first.

    Raises:
        InputError: If the target does not lie between the NFEs of the two ends.
    """
    if not low < high or not target > 0 or tries < 2:
        raise InputError(
            f"a sweep needs low < high, a target above 0 and at least two tries, got [{low}, {high}], {target}, {tries}"
        )
    nfe_at = dict(zip((low, high), (yield low, high), strict=True))
    rises = nfe_at[high] >= nfe_at[low]
    slack = tolerance * target
    least, most = sorted(nfe_at.values())
    if not least - slack <= target <= most + slack:
        raise InputError(
            f"an NFE of {target:g} is out of reach: it is {nfe_at[low]:g} at {low:g} and {nfe_at[high]:g} at {high:g}; "
            "choose another budget, or wider bounds"
        )
    while len(nfe_at) < tries and min(abs(nfe - target) for nfe in nfe_at.values()) > slack:
        middle = (low + high) / 2
        if middle in nfe_at:  # the two ends are neighbours in floating point
            break
        (nfe_at[middle],) = yield (middle,)
        if (nfe_at[middle] < target) == rises:
            low = middle
        else:
            high = middle
    return min(nfe_at, key=lambda value: abs(nfe_at[value] - target))


def calls_to_match(target: float, *nfes: float) -> float:
    """The calls for each example that ``matching_cost`` will still take, about.

    Each try is taken to halve what is missing to the target, and the calls beyond it.

    Args:
        target: The NFE to reach, above 0.
        nfes: The mean NFEs of the values so far, at least one.
    """
    missing = min(abs(nfe - target) for nfe in nfes) / (TOLERANCE * target)
    tries = min(TRIES - len(nfes), max(1.0, math.log2(max(1.0, missing))))
    beyond = min((nfe for nfe in nfes if nfe > target), default=target) - target
    return float(target * tries + beyond * (1 - 0.5**tries))
