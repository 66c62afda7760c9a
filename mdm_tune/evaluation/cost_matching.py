"""Choose the number of an adaptive plan so that it makes as many denoiser calls as a budget has."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.schedules.adaptive_names import AdaptiveName

__all__ = ["MANY", "Match", "Scale", "Stage", "StagedMatch", "match_in_stages"]

MANY = 1.5  # times the target's calls; how many more they are need not be known
REACHED = 0.1  # the largest relative distance from the target that counts as meeting it, unless it is a single call
SLOPE = 0.7  # of log(calls) on the scale, until two values have shown it
FLATTEST = 0.05
LEAST_CHANGE = 0.01  # of log(calls), that a step means to make until both sides of the target are known
TELLING = 0.03  # of log(calls); where it changes by less, and was meant to, that says little of the slope
LEAST_STEP = 0.02  # of the scale, where a shorter one leads to no other value
NARROW = 0.0025  # of the scale; calls that differ by more than allowed on so little are said to jump
DIGITS = 12.0  # thresholds closer to 1 than 1e-12 are 1, and bounds below 1e-12 nats are 0
LARGEST_BOUND = 64.0  # nats
FIRST = 1.0  # the place that is tried first: a threshold of 0.9, or a bound of 0.1 nats


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
        reached: Whether the calls are met within ``REACHED``, or within one call of one example.
        tried: The calls at every value that was tried in the last stage.
        sure: If the target is not reached, whether no value reaches it: the calls jump past it, or an end of the scale
            is on the same side.
    """

    value: float
    calls: float
    target: float
    slope: float
    reached: bool
    tried: Mapping[float, float]
    sure: bool

    def unreachable(self, steps: int) -> str | None:
        """Why no value makes the calls of a budget, as what a plan does; None if one does."""
        if self.reached:
            return None
        under = [pair for pair in self.tried.items() if pair[1] < self.target]
        over = [pair for pair in self.tried.items() if pair[1] >= self.target]
        if under and over:
            (low, fewer), (high, more) = max(under, key=_calls), min(over, key=_calls)
            ends = f"from {fewer:.4g} (at {shortest(low)}) to {self._shown(more)} (at {shortest(high)})"
            what = f"its calls jump {ends}" if self.sure else f"no value that was tried is {ends}"
        else:
            (value, calls), side = (max(under, key=_calls), "most") if under else (min(over, key=_calls), "least")
            known = f"{f'at {side}' if self.sure else 'for example'} {self._shown(calls)}"
            what = f"it makes {known} (at {shortest(value)})"
        return f"cannot make {self.target:.4g} calls at {quantity(steps, 'step')}: {what}"

    def _shown(self, calls: float) -> str:
        return f"{calls:.4g}" if math.isfinite(calls) else f"more than {MANY * self.target:.4g}"


def _calls(pair: tuple[float, float]) -> float:
    return pair[1]


StagedMatch = Generator[tuple[float, int], float, Match]


@dataclass(frozen=True)
class Stage:
    """Values are tried on this many examples until the calls are met within the tolerance, at most so often.

    If they are not even met within ``REACHED`` after so many tries, as many follow, unless no value can meet them.
    """

    examples: int
    tries: int
    tolerance: float

    @property
    def most_tries(self) -> int:
        """The most values that are tried."""
        return 2 * self.tries

    def reached(self, calls: float, target: float) -> bool:
        """Whether calls are close enough to the target: within ``REACHED``, or one call of one example off."""
        return abs(calls - target) <= max(REACHED * target, 1 / self.examples)


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
        A value and the number of first examples; ``send`` its mean calls on them, or infinity if these are more than
        ``MANY`` times the target and were not all counted.

    Returns:
        The match on the examples of the last stage. It is not ``reached`` if no value meets the target.
    """
    low, high = scale.ends
    at = FIRST if guess is None else min(high, max(low, scale.place(guess)))
    bracketing, slope = slope is None, SLOPE if slope is None else slope
    match: Match | None = None
    sides: tuple[float | None, float | None] = None, None
    for stage in stages:
        wanted, tried = target(stage.examples), dict[float, float]()
        bracket = _Bracket(wanted, slope, sides)
        sure = False
        while len(tried) < stage.most_tries:
            value = scale.value(at)
            sure = value in tried or bracket.narrow  # an end of the scale, or calls that jump
            if sure and (value in tried or len(tried) >= stage.tries):
                break
            if len(tried) == stage.tries and any(stage.reached(calls, wanted) for calls in tried.values()):
                break
            calls = tried[value] = yield value, stage.examples
            longer = 2.0 ** (len(tried) - 1) if bracketing and match is None else 1.0  # until both sides are known
            following = min(high, max(low, bracket.next(at, calls, longer)))
            if abs(calls - wanted) <= stage.tolerance * wanted:
                break
            if following != at and scale.value(following) == value:
                following = min(high, max(low, at + math.copysign(LEAST_STEP, following - at)))
            at = following
        value, slope = _closest(tried, wanted, stage.tolerance), bracket.slope
        reached = stage.reached(tried[value], wanted)
        match = Match(
            value=value,
            calls=tried[value],
            target=wanted,
            slope=slope,
            reached=reached,
            tried=tried,
            sure=not reached and (sure or bracket.narrow),
        )
        sides = (None, None) if reached else bracket.sides
        if reached:
            at = scale.place(value)
        elif sides[0] is not None and sides[1] is not None:
            at = sides[0]  # the next stage begins at the jump, and otherwise at the end of the scale
    assert match is not None
    return match


@dataclass
class _Bracket:
    """What a stage knows of the place of a value.

    Attributes:
        wanted: The calls to meet.
        slope: By how much log(calls) grows per unit of the scale.
        hints: The places below and above that an earlier stage ended with, and did not meet the calls at.
        below: Place and calls of the nearest value with too few calls.
        above: Place and calls of the nearest value with too many.
        before: Place and calls of the last value.
    """

    wanted: float
    slope: float
    hints: tuple[float | None, float | None]
    below: tuple[float, float] | None = None
    above: tuple[float, float] | None = None
    before: tuple[float, float] | None = None

    @property
    def sides(self) -> tuple[float | None, float | None]:
        """The places of the nearest values."""
        return self.below and self.below[0], self.above and self.above[0]

    @property
    def narrow(self) -> bool:
        """Whether the nearest values on both sides can hardly be told apart."""
        return self.below is not None and self.above is not None and self.above[0] - self.below[0] <= NARROW

    def next(self, at: float, calls: float, longer: float) -> float:
        """The place to try after this one; steps are ``longer`` while one side is unknown. It may be off the scale."""
        calls = calls if math.isfinite(calls) else MANY * self.wanted
        few = bool(calls < self.wanted)
        if self.before is not None and at != self.before[0]:
            change, moved = math.log(calls / self.before[1]), at - self.before[0]
            if change != 0 and max(abs(change), self.slope * abs(moved)) >= TELLING:
                self.slope = max(FLATTEST, 0.5 * self.slope, change / moved)  # a plateau may end soon
        same_side = self.before is not None and few == (self.before[1] < self.wanted)
        self.before = at, calls
        if few:
            self.below = at, calls
        else:
            self.above = at, calls
        if self.below is not None and self.above is not None:
            width = self.above[0] - self.below[0]
            self.slope = max(FLATTEST, math.log(self.above[1] / self.below[1]) / width)
            guessed = self.below[0] + math.log(self.wanted / self.below[1]) / self.slope
            # Half of the way where a guess says little: one fell on one side twice, or the calls were not all counted.
            margin = 0.5 * width if same_side or self.above[1] == MANY * self.wanted else 0.1 * width
            return min(self.above[0] - margin, max(self.below[0] + margin, guessed))
        side = self.hints[1 if few else 0]
        if side is not None and (side > at) == few:
            return side
        step = longer * max(LEAST_CHANGE, abs(math.log(self.wanted / calls))) / self.slope
        return at + math.copysign(step, self.wanted - calls)


def _closest(tried: Mapping[float, float], target: float, tolerance: float) -> float:
    """The value whose calls are closest to the target; calls above the tolerance count as twice as far."""

    def distance(value: float) -> float:
        over = tried[value] - target
        return over if abs(over) <= tolerance * target else 2 * over if over > 0 else -over

    return min(tried, key=lambda value: abs(distance(value)))
