"""Choose one number of a sampler so that it costs as much as another sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.adaptive_names import AdaptiveName

__all__ = ["CostMatch", "Match", "Scale", "Stage", "StagedMatch", "calls_to_match", "match_in_stages", "matching_cost"]

REACHED = 0.1  # the largest relative distance from the target that counts as meeting it
SLOPE = 0.7  # of log(calls) on the scale, until two values have shown it
FLATTEST = 0.05
LEAST_STEP = 0.02
DIGITS = 12.0  # thresholds closer to 1 than 1e-12 are 1, and bounds below 1e-12 nats are 0
LARGEST_BOUND = 64.0  # nats
FIRST = 1.0  # the place that is tried first: a threshold of 0.9, or a bound of 0.1 nats

CostMatch = Generator[tuple[float, ...], Sequence[float], float]

TOLERANCE, TRIES = 0.01, 16  # of ``matching_cost``
SLOWEST = 2 / 3  # of the calls beyond the target that a try keeps


def matching_cost(
    target: float,
    low: float,
    high: float,
    *,
    tolerance: float = TOLERANCE,
    tries: int = TRIES,
    shown: Callable[[float], float] = float,
) -> CostMatch:
    """Find the value in [low, high] whose mean NFE is closest to the target, by bisection.

    The NFE may rise or fall with the value. It may jump, since calls are whole numbers and examples are few.

    Args:
        target: The NFE to reach, above 0.
        low: The lower end of the range.
        high: The upper end of the range.
        tolerance: The bisection ends at an NFE this close, relative to the target.
        tries: Most values that are tried, at least 2.
        shown: Returns the number that messages show for a value, if the values are places on a scale.

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
            f"an NFE of {target:g} is out of reach: it is {nfe_at[low]:g} at {shown(low):g} and {nfe_at[high]:g} at "
            f"{shown(high):g}; choose another budget, or wider bounds"
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

    Each try is taken to halve what is missing to the target. The calls beyond it fall by the share that they fell last,
    and by a third where they fell by less or where that is not known.

    Args:
        target: The NFE to reach, above 0.
        nfes: The mean NFEs of the values so far, in order, at least one.
    """
    missing = min(abs(nfe - target) for nfe in nfes) / (TOLERANCE * target)
    tries = min(TRIES - len(nfes), max(1.0, math.log2(max(1.0, missing))))
    above = sorted((nfe - target for nfe in nfes if nfe > target), reverse=True)
    if not above:
        return float(target * tries)
    kept = min(SLOWEST, above[-1] / above[-2] if len(above) > 1 else SLOWEST)
    return float(target * tries + above[-1] * kept * (1 - kept**tries) / (1 - kept))


@dataclass(frozen=True)
class Scale:
    """The scale of a plan's value, along which its calls rise: the negative decadic logarithm of what makes it bold.

    That is the distance of a threshold from 1, or the bound in nats. At the upper end the plan is as cautious as it can
    be.

    Attributes:
        plan: The plan.
    """

    plan: AdaptiveName

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest place."""
        return (-math.log10(LARGEST_BOUND) if self.plan.kind == "entropy-bound" else 0.0), DIGITS

    def place(self, value: float) -> float:
        """The place of a value."""
        bold = value if self.plan.kind == "entropy-bound" else 1.0 - value
        return DIGITS if bold <= 10**-DIGITS else -math.log10(bold)

    def value(self, place: float) -> float:
        """The value at a place, rounded to the digits that a name shows."""
        bold = 0.0 if place >= DIGITS else 10**-place
        return self.plan.rounded(bold if self.plan.kind == "entropy-bound" else 1.0 - bold)


@dataclass(frozen=True)
class Match:
    """The value of a plan that comes closest to a number of calls.

    Attributes:
        value: The value.
        calls: Its mean calls on the examples of the last stage.
        target: The calls that were to be met on these examples.
        slope: By how much log(calls) grows per unit of the scale near the value.
        reached: Whether the calls are met within ``REACHED``.
        tried: The calls at every value that was tried in the last stage.
    """

    value: float
    calls: float
    target: float
    slope: float
    reached: bool
    tried: Mapping[float, float]


StagedMatch = Generator[tuple[float, int], float, Match]


@dataclass(frozen=True)
class Stage:
    """Values are tried on this many examples, at most so often, until the calls are met within the tolerance."""

    examples: int
    tries: int
    tolerance: float


def match_in_stages(
    target: Callable[[int], float],
    stages: Sequence[Stage],
    scale: Scale,
    guess: float | None = None,
    slope: float | None = None,
) -> StagedMatch:
    """Find the value of a plan at which its mean calls are closest to a target, on few examples and then on more.

    The first stage brackets the value, later ones correct it. The calls rise along the scale. They may jump, since
    calls are whole numbers and examples are few. A value with at most the target's calls is preferred to one with
    more.

    Args:
        target: The calls to meet, above 0, on the first so many examples.
        stages: The stages, with more examples each.
        scale: The scale on which values are tried.
        guess: The first value to try; None for a threshold of 0.9 or a bound of 0.1 nats.
        slope: That of an earlier match on fewer examples; None if there is none.

    Yields:
        A value and the number of first examples; ``send`` its mean calls on them.

    Returns:
        The match on the examples of the last stage. It is not ``reached`` if no value meets the target.
    """
    low, high = scale.ends
    at = FIRST if guess is None else min(high, max(low, scale.place(guess)))
    bracketing, slope = slope is None, SLOPE if slope is None else slope
    match: Match | None = None
    for stage in stages:
        wanted, tried = target(stage.examples), dict[float, float]()
        below: tuple[float, float] | None = None  # place and calls of the nearest values on either side
        above: tuple[float, float] | None = None
        before: tuple[float, float] | None = None
        while len(tried) < stage.tries:
            value = scale.value(at)
            if value in tried:
                break
            calls = tried[value] = yield value, stage.examples
            if abs(calls - wanted) <= stage.tolerance * wanted:
                break
            if before is not None and calls != before[1] and at != before[0]:
                slope = max(FLATTEST, math.log(calls / before[1]) / (at - before[0]))
            same_side = before is not None and (calls < wanted) == (before[1] < wanted)
            before = at, calls
            if calls < wanted:
                below = at, calls
            else:
                above = at, calls
            if below is not None and above is not None:
                slope = max(FLATTEST, math.log(above[1] / below[1]) / (above[0] - below[0]))
                width = above[0] - below[0]
                guessed = below[0] + math.log(wanted / below[1]) / slope
                margin = 0.5 * width if same_side else 0.1 * width  # a guess that fell on one side twice is no better
                at = min(above[0] - margin, max(below[0] + margin, guessed))
            else:
                longer = 2.0 ** (len(tried) - 1) if bracketing and match is None else 1.0  # until both sides are known
                step = longer * math.log(wanted / calls) / slope
                at = min(high, max(low, at + math.copysign(max(abs(step), LEAST_STEP), step)))
        value = _closest(tried, wanted, stage.tolerance)
        reached = abs(tried[value] - wanted) <= REACHED * wanted
        match = Match(
            value=value,
            calls=tried[value],
            target=wanted,
            slope=slope,
            reached=reached,
            tried=tried,
        )
        at = scale.place(value)
    assert match is not None
    return match


def _closest(tried: Mapping[float, float], target: float, tolerance: float) -> float:
    """The value whose calls are closest to the target; calls above the tolerance count as twice as far."""

    def distance(value: float) -> float:
        over = tried[value] - target
        return over if abs(over) <= tolerance * target else 2 * over if over > 0 else -over

    return min(tried, key=lambda value: abs(distance(value)))
