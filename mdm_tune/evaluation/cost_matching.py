"""One number of a sampler chosen so that it costs what another sampler costs."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from mdm_tune.core.errors import InputError

__all__ = ["CostMatch", "matching_cost"]

CostMatch = Generator[tuple[float, ...], Sequence[float], float]


def matching_cost(target: float, low: float, high: float, *, tolerance: float = 0.01, tries: int = 16) -> CostMatch:
    """The value in [low, high] whose mean NFE is closest to the target, found by bisection.

    It yields the values whose NFE it wants to know, first those of the two ends, and returns the value at its end. The
    NFE may rise or fall, and by jumps, since calls are whole numbers and examples few.
    tolerance: the search ends at an NFE this close, relative to the target. tries: values that it asks for at most. Of
    equally close values, the first that was tried.

    Raises InputError where the target does not lie between the NFE of the two ends.
    """
    if not low < high or not target > 0 or tries < 2:
        raise InputError(
            f"a sweep needs low < high, a target above 0 and at least two tries, got [{low}, {high}], {target}, {tries}"
        )
    found = dict(zip((low, high), (yield low, high), strict=True))
    rises = found[high] >= found[low]
    slack = tolerance * target
    least, most = sorted(found.values())
    if not least - slack <= target <= most + slack:
        raise InputError(
            f"an NFE of {target:g} is out of reach: it is {found[low]:g} at {low:g} and {found[high]:g} at {high:g}; "
            "choose another budget, or wider bounds"
        )
    while len(found) < tries and min(abs(nfe - target) for nfe in found.values()) > slack:
        middle = (low + high) / 2
        if middle in found:  # the two ends are neighbours in floating point
            break
        (found[middle],) = yield (middle,)
        if (found[middle] < target) == rises:
            low = middle
        else:
            high = middle
    return min(found, key=lambda value: abs(found[value] - target))
