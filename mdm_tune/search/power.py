"""The power of a report split: the smallest gain that 80 % of searches would claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Estimate, corrected_confidence, grouped, is_constant, lower_bounds
from mdm_tune.datasets.splits import Split
from mdm_tune.evaluation.scores import Scores, paired_difference
from mdm_tune.search.gains import MANY, claimed

__all__ = ["Detectable", "detectable", "independent_of", "smallest_gain"]

POWER = 0.80
LARGE = 0.1  # share of linear's value: a gain of this size should be shown
TIES = 0.1  # share of equal examples above which a gain is modelled as more wins, not as a shift of all differences
DRAWN = 250_000  # most differences that a simulation holds in memory
FEW, SEVERAL = 250, 2500  # fewest and most simulated searches
LONGEST = 4096  # most examples of a simulated search; beyond, gains fall with the square root of the number
HALVINGS = 13

Values = NDArray[np.float64]


def independent_of(split: Split) -> int:
    """The number of independent examples of a split, or of groups."""
    return len(split.ids) if split.shared is None else len(set(split.shared))


def smallest_gain(differences: Values, count: int, confidence: float, span: float) -> float:
    """Estimate the smallest true gain that is shown in 80 % of searches, by simulation from a pilot.

    If few scores of the pilot are equal, a gain shifts all differences. If many are equal, as for right and wrong
    answers, the rarer of wins and losses keeps its frequency, and the other becomes as frequent as the gain requires;
    their sizes are those of the pilot. Simulated searches are judged by ``claimed``. They are the same in each call.

    Args:
        differences: (n,) difference of two policies on each pilot example, in either direction.
        count: Independent examples of the report split.
        confidence: Of a claim's interval, in (0, 1).
        span: The largest possible difference.

    Returns:
        The gain; infinite if the split can show none.
    """
    if count > LONGEST:
        return smallest_gain(differences, LONGEST, confidence, span) * math.sqrt(LONGEST / count)
    searches = int(np.clip(DRAWN // max(1, count), FEW, SEVERAL))
    rng = np.random.default_rng(0)
    sizes = np.abs(differences[differences != 0])
    if len(sizes) >= (1 - TIES) * len(differences) and not is_constant(sizes):
        return _smallest_shift(differences, (searches, count), confidence, rng)
    rarer = min(int((differences < 0).sum()), int((differences > 0).sum()))
    # Few examples underestimate the rarer of the two. If it never occurs, it is taken to be impossible.
    losses = min((rarer + 1) / len(differences), 0.5) if rarer else 0.0
    place = rng.random((searches, count))
    magnitudes = rng.choice(sizes, (searches, count)) if len(sizes) else np.full((searches, count), span)

    def power(gain: float) -> float:
        lost = min(losses, (1 - gain) / 2)  # once all examples differ, losses become wins
        signs = np.where(place < lost + gain, 1.0, 0.0) - np.where(place >= 1 - lost, 1.0, 0.0)
        return float(claimed(signs * magnitudes, confidence, span).mean())

    gain = _smallest_with_power(power, 0.0, 1.0)
    return math.inf if gain is None else gain * float(sizes.mean() if len(sizes) else span)


def _smallest_shift(differences: Values, shape: tuple[int, int], confidence: float, rng: np.random.Generator) -> float:
    """The smallest shift of all differences that is shown in 80 % of searches.

    A shift moves each interval by the same amount, so that one simulation is enough. The result is the mean over both
    directions of the difference, since the better policy is not known.

    Args:
        differences: (n,) as in ``smallest_gain``.
        shape: The number of simulated searches, and of examples.
        confidence: As in ``smallest_gain``.
        rng: The source of randomness.
    """
    if shape[1] < MANY:
        return math.inf
    count = len(differences)
    # Pilots that happen to vary little promise too much. The variance of Student's t corrects this on average.
    deviations = (differences - differences.mean()) * math.sqrt(count / max(1, count - 3))
    drawn = rng.choice(deviations, shape)
    return float(np.mean([np.quantile(-lower_bounds(sample, confidence), POWER) for sample in (drawn, -drawn)]))


def _smallest_with_power(power: Callable[[float], float], low: float, high: float) -> float | None:
    """The gain in [low, high] at which the power reaches 80 %, by bisection; None if it does not reach it."""
    if power(high) < POWER:
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


@dataclass(frozen=True)
class Detectable:
    """The power of a report split, from linear and squared-sine on a pilot of other examples.

    Attributes:
        steps: The step budget.
        gain: The smallest gain that the split shows with 80 % power; infinite if it can show none.
        limit: The gain that it should show.
        linear: The value of linear on the pilot.
        difference: Squared-sine - linear on the pilot.
        report: Independent examples of the report split, or groups.
        claims: Budgets of the search times kinds of policy, for which intervals are corrected.
        pilot: The differences on the pilot, by example or group.
        span: The largest possible difference.
        examples: All examples of the report split.
        pilot_size: Examples of the pilot.
        spare: Most further examples of the report split; None if there is no limit, or it is unknown.
    """

    steps: int
    gain: float
    limit: float
    linear: float
    difference: Estimate
    report: int
    claims: int
    pilot: tuple[float, ...] = ()
    span: float = 0.0
    examples: int | None = None
    pilot_size: int | None = None
    spare: int | None = None

    @property
    def can_be_shown(self) -> bool:
        """Whether the split can show any gain at all."""
        return math.isfinite(self.gain)

    @property
    def large(self) -> bool:
        """Whether the split may not show gains of the size that it should show."""
        return self.gain > self.limit

    @cached_property
    def needed(self) -> int | None:
        """The independent report examples that would show the limit; None if it is 0 or no number suffices."""
        if not self.limit:
            return None
        if not self.large:
            return self.report
        pilot, confidence = np.array(self.pilot), corrected_confidence(self.claims)
        count, gain = self.report, self.gain
        for _ in range(8):
            factor = (gain / self.limit) ** 2 if math.isfinite(gain) else 2.0
            count = max(count + 1, math.ceil(count * factor))
            gain = smallest_gain(pilot, count, confidence, self.span)
            if gain <= self.limit:
                return count
        return None


def detectable(
    linear: Scores, other: Scores, report: int, claims: int, examples: int | None = None, spare: int | None = None
) -> Detectable | None:
    """Estimate the smallest gain that a report split shows, from two policies on the same pilot examples.

    The limit is 10 % of |linear's value|, or the far end of the 95 % interval of the pilot's difference if that is
    less. A split that cannot show the limit would miss even a change as large as that between the two policies.

    Args:
        linear: The scores of linear on the pilot.
        other: The scores of another policy on the pilot.
        report: Independent examples of the report split, or groups.
        claims: Budgets of the search times kinds of policy.
        examples: All examples of the report split; None if all are independent.
        spare: Most further examples that it could have; None if there is no limit, or it is unknown.

    Returns:
        The estimate; None if values are exact, or if the pilot gives no estimate of the noise: it has fewer than two
        independent examples, or all differences are equal and the values are not right or wrong.
    """
    if linear.values is None or other.values is None:
        return None
    units = grouped(other.values - linear.values, linear.groups)
    if len(units) < 2:
        return None
    bounds, all_values = linear.bounds, np.concatenate([linear.values, other.values])
    span = float(np.ptp(all_values)) if bounds is None else bounds[1] - bounds[0]
    if is_constant(units) and not (bounds is not None and np.isin(all_values, bounds).all()):
        return None
    gain = smallest_gain(units, report, corrected_confidence(claims), span)
    difference = paired_difference(other, linear)
    possible = abs(difference.value) if difference.ci is None else max(map(abs, difference.ci))
    limit = LARGE * abs(linear.estimate.value)
    if possible > 0 and difference.ci is not None:
        limit = min(limit, possible)
    value, pilot = linear.estimate.value, tuple(units.tolist())
    return Detectable(
        steps=linear.setting.steps,
        gain=gain,
        limit=limit,
        linear=value,
        difference=difference,
        report=report,
        claims=claims,
        pilot=pilot,
        span=span,
        examples=examples or report,
        pilot_size=len(linear.values),
        spare=spare,
    )
