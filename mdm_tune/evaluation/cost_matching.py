"""Choose the number of an adaptive policy so that it makes as many denoiser calls as a budget has."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.schedules.adaptive_names import AdaptiveName

__all__ = ["MANY", "Match", "Matching", "Scale", "Stage", "match", "match_in_stages"]

MANY = 1.5  # times the target's calls; how many more they are need not be known
REACHED = 0.1  # the largest relative distance from the target that counts as meeting it, unless it is a single call
SLOPE = 0.7  # of log(calls) on the scale, until two values have shown it
FLATTEST = 0.05
LEAST_CHANGE = 0.01  # of log(calls), that a step means to make until both sides of the target are known
TELLING = 0.03  # of log(calls); where it changes by less, and was meant to, that says little of the slope
LEAST_STEP = 0.02  # of the scale, where a shorter one leads to no other value
NARROW = 0.0025  # of the scale; calls that differ by more than allowed on so little are said to jump
FAR = 100.0  # of the scale, beyond all of its places
INSIDE = 0.1  # of a bracket, that a value keeps from its ends
DIGITS = 12.0  # thresholds closer to 1 than 1e-12 are 1, and bounds below 1e-12 nats are 0
LARGEST_BOUND = 64.0  # nats
FIRST = 1.0  # the place that is tried first: a threshold of 0.9, or a bound of 0.1 nats


@dataclass(frozen=True)
class Scale:
    """The scale of a policy's value, along which its calls rise: the negative decadic logarithm of what makes it bold.

    That is the distance of a threshold from 1, or the bound in nats. At the upper end the policy is as cautious as it
    can be.

    Attributes:
        plan: The policy.
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
    """The value of a policy that comes closest to a number of calls.

    Attributes:
        value: The value.
        calls: Its mean calls on the examples.
        target: The calls that were to be met on these examples.
        reached: Whether the calls are met within ``REACHED``, or within one call of one example.
        tried: The calls at every value that was tried.
        sure: If the target is not met, whether no other value comes closer: the calls jump past it, or an end of the
            scale is on the same side.
    """

    value: float
    calls: float
    target: float
    reached: bool
    tried: Mapping[float, float]
    sure: bool

    def unreachable(self, steps: int) -> str | None:
        """Why no value makes the calls of a budget, as what a policy does; None if one does."""
        if self.reached:
            return None
        return f"cannot make {self.target:.4g} calls at {quantity(steps, 'step')}: {self.nearest}"

    @property
    def nearest(self) -> str:
        """The calls that come nearest to the target on both sides, as what a policy does."""
        latest = [*self.tried.items()][::-1]
        under = [pair for pair in latest if pair[1] < self.target]
        over = [pair for pair in latest if pair[1] >= self.target]
        if under and over:
            (low, fewer), (high, more) = max(under, key=_calls), min(over, key=_calls)
            if self.sure:  # the ends of a bracket that can hardly be told apart
                (low, fewer), (high, more) = under[0], over[0]
            ends = f"from {fewer:.4g} (at {shortest(low)}) to {self._shown(more)} (at {shortest(high)})"
            return f"its calls jump {ends}" if self.sure else f"no value that was tried is {ends}"
        (value, calls), side = (max(under, key=_calls), "most") if under else (min(over, key=_calls), "least")
        known = f"{f'at {side}' if self.sure else 'for example'} {self._shown(calls)}"
        return f"it makes {known} (at {shortest(value)})"

    def _shown(self, calls: float) -> str:
        return f"{calls:.4g}" if math.isfinite(calls) else f"more than {MANY * self.target:.4g}"


def _calls(pair: tuple[float, float]) -> float:
    return pair[1]


Matching = Generator[tuple[float, int], float, Match]


@dataclass(frozen=True)
class Stage:
    """Values are tried on this many examples until the calls are met within the tolerance.

    After so many tries it is enough that they are met within ``enough``. Where not even this is so, tries go on until
    no value can come closer.
    """

    examples: int
    tries: int
    tolerance: float
    enough: float = REACHED

    def met(self, calls: float, target: float, tolerance: float) -> bool:
        """Whether calls are close enough to the target: within the tolerance, or one call of one example off."""
        return abs(calls - target) <= max(tolerance * target, 1 / self.examples)


def match_in_stages(
    target: Callable[[int], float], stages: Sequence[Stage], scale: Scale, guess: float | None = None
) -> Matching:
    """Find the value of a policy at which its mean calls are closest to a target, on few examples and then on more.

    Args:
        target: The calls to meet, above 0, on the first so many examples.
        stages: The stages, with more examples each.
        scale: The scale on which values are tried.
        guess: The first value to try; None for a threshold of 0.9 or a bound of 0.1 nats.

    Yields:
        As ``match``.

    Returns:
        The match on the examples of the last stage.
    """
    found: Match | None = None
    for stage in stages:
        found = yield from match(target(stage.examples), stage, scale, guess, found)
    assert found is not None
    return found


def match(
    target: float, stage: Stage, scale: Scale, guess: float | None = None, earlier: Match | None = None
) -> Matching:
    """Find the value of a policy at which its mean calls on some examples are closest to a target.

    The calls rise along the scale. They may jump, since calls are whole numbers and examples are few. Values on both
    sides of the target bracket it, and the bracket shrinks until the calls are met or it can hardly be told apart. The
    calls on fewer examples show how the calls rise, up to a factor, and where to begin. They bound nothing: the mean
    of 16 examples is easily off by 10 %, which can be a decade of the scale. A value with at most the target's calls is
    preferred to one with more.

    Args:
        target: The calls to meet, above 0.
        stage: The number of examples, and how close the calls are to come.
        scale: The scale on which values are tried.
        guess: The first value to try, where there is no earlier match; None for a threshold of 0.9 or a bound of 0.1.
        earlier: The match on fewer of the examples; None if there is none.

    Yields:
        A value and the number of examples; ``send`` its mean calls on them, or infinity if these are more than ``MANY``
        times the target and were not all counted.

    Returns:
        The match. It is not ``reached`` if no value meets the target.
    """
    low, high = scale.ends
    if earlier is not None:
        guess = earlier.value
    at = FIRST if guess is None else min(high, max(low, scale.place(guess)))
    bracket = _Bracket(target, stage.tries, None if earlier is None else _Curve.of(earlier, scale))
    tried = dict[float, float]()
    while True:
        value = scale.value(at)
        sure = value in tried or bracket.narrow  # an end of the scale, or calls that jump
        if sure and (value in tried or len(tried) >= stage.tries):
            break
        if len(tried) >= stage.tries:
            best = tried[_closest(tried, target, stage.tolerance)]
            if stage.met(best, target, stage.enough):
                break
        calls = tried[value] = yield value, stage.examples
        if abs(calls - target) <= stage.tolerance * target:
            break
        following = min(high, max(low, bracket.next(at, calls)))
        if following != at and scale.value(following) == value and not bracket.closed:
            following = min(high, max(low, at + math.copysign(LEAST_STEP, following - at)))
        at = following
    value = _closest(tried, target, stage.tolerance)
    return Match(
        value=value,
        calls=tried[value],
        target=target,
        reached=stage.met(tried[value], target, REACHED),
        tried=tried,
        sure=sure,
    )


@dataclass(frozen=True)
class _Curve:
    """How log(calls) rises along the scale, up to a constant: places, and the heights there."""

    places: tuple[float, ...]
    heights: tuple[float, ...]

    @classmethod
    def line(cls, slope: float) -> _Curve:
        """The same slope everywhere."""
        return cls((-FAR, FAR), (-FAR * slope, FAR * slope))

    @classmethod
    def of(cls, earlier: Match, scale: Scale) -> _Curve:
        """What an earlier match tried, made to rise everywhere, with its mean slope beyond."""
        points: list[tuple[float, float]] = []
        for place, calls in sorted((scale.place(value), calls) for value, calls in earlier.tried.items()):
            height = math.log(calls if math.isfinite(calls) else MANY * earlier.target)
            if points:
                height = max(height, points[-1][1] + FLATTEST * (place - points[-1][0]))
            points.append((place, height))
        (first, low), (last, high) = points[0], points[-1]
        slope = (high - low) / (last - first) if last > first else SLOPE
        places, heights = zip((first - FAR, low - FAR * slope), *points, (last + FAR, high + FAR * slope), strict=True)
        return cls(places, heights)

    def height(self, place: float) -> float:
        return float(np.interp(place, self.places, self.heights))

    def place(self, height: float) -> float:
        return float(np.interp(height, self.heights, self.places))


@dataclass
class _Bracket:
    """What is known of the place of a value.

    Attributes:
        wanted: The calls to meet.
        tries: After twice as many, guesses are no longer trusted, and the bracket is halved.
        shape: The curve on fewer examples; None if there is none.
        slope: By how much log(calls) grows per unit of the scale, by the last two values.
        count: The values so far.
        below: Place and calls of the nearest value with too few calls.
        above: Place and calls of the nearest value with too many.
        before: Place and calls of the last value.
    """

    wanted: float
    tries: int
    shape: _Curve | None
    slope: float = SLOPE
    count: int = 0
    below: tuple[float, float] | None = None
    above: tuple[float, float] | None = None
    before: tuple[float, float] | None = None

    @property
    def closed(self) -> bool:
        """Whether there are values on both sides."""
        return self.below is not None and self.above is not None

    @property
    def narrow(self) -> bool:
        """Whether the nearest values on both sides can hardly be told apart."""
        return self.below is not None and self.above is not None and self.above[0] - self.below[0] <= NARROW

    @property
    def curve(self) -> _Curve:
        """How the calls rise, by what is known."""
        return self.shape or _Curve.line(self.slope)

    def next(self, at: float, calls: float) -> float:
        """The place to try after this one, which may be off the scale."""
        calls = calls if math.isfinite(calls) else MANY * self.wanted
        few = bool(calls < self.wanted)
        if self.before is not None and at != self.before[0]:
            change, moved = math.log(calls / self.before[1]), at - self.before[0]
            if change != 0 and max(abs(change), self.slope * abs(moved)) >= TELLING:
                self.slope = max(FLATTEST, 0.5 * self.slope, change / moved)  # a plateau may end soon
        same_side = self.before is not None and few == (self.before[1] < self.wanted)
        self.before, self.count = (at, calls), self.count + 1
        if few:
            self.below = at, calls
        else:
            self.above = at, calls
        if self.below is not None and self.above is not None:
            return self._inside(self.below, self.above, halved=same_side or self.count >= 2 * self.tries)
        change = math.log(self.wanted / calls)
        change = math.copysign(max(abs(change), LEAST_CHANGE), self.wanted - calls)
        step = self.curve.place(self.curve.height(at) + change) - at
        return at + step * 2.0 ** (self.count - 1)  # steps become longer until there is a value on the other side

    def _inside(self, below: tuple[float, float], above: tuple[float, float], *, halved: bool) -> float:
        """The place to try between two, about half of the way where a guess says little.

        That is where guesses fell on one side twice, or the calls above were not all counted.
        """
        width = above[0] - below[0]
        margin = (0.5 if halved or above[1] == MANY * self.wanted else INSIDE) * width
        first, last = (math.log(calls) - self.curve.height(place) for place, calls in (below, above))
        low, high = below[0], above[0]
        for _ in range(40):  # the curve, moved so that it meets both ends
            place = 0.5 * (low + high)
            moved = self.curve.height(place) + first + (last - first) * (place - below[0]) / width
            low, high = (place, high) if moved < math.log(self.wanted) else (low, place)
        return min(above[0] - margin, max(below[0] + margin, low))


def _closest(tried: Mapping[float, float], target: float, tolerance: float) -> float:
    """The value whose calls are closest to the target; calls above the tolerance count as twice as far."""

    def distance(value: float) -> float:
        over = tried[value] - target
        return over if abs(over) <= tolerance * target else 2 * over if over > 0 else -over

    return min(
        reversed([*tried]), key=lambda value: abs(distance(value))
    )  # of equals the last, which is in the bracket
