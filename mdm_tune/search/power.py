"""What a report split can show: the smallest gain that is claimed in four of five searches, by the rule of claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Estimate, corrected_confidence, grouped, is_constant, lower_bounds
from mdm_tune.datasets.splits import Split
from mdm_tune.evaluation.evaluator import Scores, paired_difference
from mdm_tune.search.claims import MANY, claimed

__all__ = ["Detectable", "detectable", "independent_of", "smallest_gain"]

POWER = 0.80
LARGE = 0.1  # of linear's value: a gain that should not go unseen
TIES = 0.1  # share of examples without a difference from which on a gain is more wins and not a shift of all
DRAWN = 250_000  # differences that a simulation holds at a time
FEW, SEVERAL = 250, 2500  # simulated searches, at least and at most
LONGEST = 4096  # examples of a simulated search; of more, gains fall with the root of their number
HALVINGS = 13

Values = NDArray[np.float64]


def independent_of(split: Split) -> int:
    """How many examples of a split are independent, or groups of them."""
    return len(split.ids) if split.shared is None else len(set(split.shared))


def smallest_gain(differences: Values, count: int, confidence: float, span: float) -> float:
    """The smallest true gain that ``count`` examples show in 80 % of searches; infinite where they can show none.

    differences (n,): of two schedules on pilot examples, whichever is better. confidence: of the interval of a claim.
    span: the largest difference that is possible. How a gain looks follows from the pilot. Where hardly any two scores
    are equal, all its differences move by the gain. Where many are, as right and wrong answers are, the rarer of wins
    and losses stays as it is, and the other becomes as frequent as the gain takes; their sizes are those of the pilot.
    Searches with such differences are drawn, the same ones in each call, and judged by the rule of claims.
    """
    if count > LONGEST:
        return smallest_gain(differences, LONGEST, confidence, span) * math.sqrt(LONGEST / count)
    searches = int(np.clip(DRAWN // max(1, count), FEW, SEVERAL))
    rng = np.random.default_rng(0)
    sizes = np.abs(differences[differences != 0])
    if len(sizes) >= (1 - TIES) * len(differences) and not is_constant(sizes):
        return _shifted(differences, (searches, count), confidence, rng)
    rarer = min(int((differences < 0).sum()), int((differences > 0).sum()))
    # The rarer of two in few examples is rarer than it is in truth; where it never occurred it may never do.
    losses = min((rarer + 1) / len(differences), 0.5) if rarer else 0.0
    place = rng.random((searches, count))
    drawn = rng.choice(sizes, (searches, count)) if len(sizes) else np.full((searches, count), span)

    def power(gain: float) -> float:
        lost = min(losses, (1 - gain) / 2)  # where all examples differ already, losses become wins
        signs = np.where(place < lost + gain, 1.0, 0.0) - np.where(place >= 1 - lost, 1.0, 0.0)
        return float(claimed(signs * drawn, confidence, span).mean())

    gain = _least(power, 0.0, 1.0)
    return math.inf if gain is None else gain * float(sizes.mean() if len(sizes) else span)


def _shifted(differences: Values, shape: tuple[int, int], confidence: float, rng: np.random.Generator) -> float:
    """A shift by the gain moves the interval by as much, so that one look at each search is enough.

    The mean of a skew to the worse and one to the better, since which of the two schedules is better is not known.
    """
    if shape[1] < MANY:
        return math.inf
    count = len(differences)
    # By Student, so that a pilot that happens to spread little does not promise too much in the mean of pilots.
    apart = (differences - differences.mean()) * math.sqrt(count / max(1, count - 3))
    drawn = rng.choice(apart, shape)
    return float(np.mean([np.quantile(-lower_bounds(each, confidence), POWER) for each in (drawn, -drawn)]))


def _least(power: Callable[[float], float], low: float, high: float) -> float | None:
    """Where the power reaches 80 %, by halving; None where it does so nowhere."""
    if power(high) < POWER:
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


@dataclass(frozen=True)
class Detectable:
    """What a report split can show, from linear and squared-sine on a pilot of other examples.

    gain: the smallest that it shows with 80 % power, infinite where it can show none. limit: what it should show.
    linear: the value of linear, and difference: of squared-sine less linear, both on the pilot. report: independent
    examples of the split, or groups of them, and examples: all of them. claims: budgets that share the 95 %. pilot: the
    differences themselves, and span: the largest that is possible.
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

    @property
    def can_be_shown(self) -> bool:
        """Whether any gain can be shown, however large."""
        return math.isfinite(self.gain)

    @property
    def large(self) -> bool:
        """Whether gains worth having may go unseen."""
        return self.gain > self.limit

    @cached_property
    def needed(self) -> int | None:
        """Report examples that show the limit; None where it is 0, or out of reach."""
        if not self.limit:
            return None
        if not self.large:
            return self.report
        pilot, confidence = np.array(self.pilot), corrected_confidence(self.claims)
        count, gain = self.report, self.gain
        for _ in range(8):
            more = (gain / self.limit) ** 2 if math.isfinite(gain) else 2.0
            count = max(count + 1, math.ceil(count * more))
            gain = smallest_gain(pilot, count, confidence, self.span)
            if gain <= self.limit:
                return count
        return None


def detectable(
    linear: Scores, other: Scores, report: int, claims: int, examples: int | None = None
) -> Detectable | None:
    """The smallest gain that ``report`` independent examples show, from two schedules on the same pilot examples.

    examples: all that the split has, where they come in ``report`` groups.

    The limit is 10 % of |linear's value|, or the largest difference between the two schedules that the pilot leaves
    possible (the far end of its 95 % interval) where that is less: a split above it would not even see a change of
    schedule as great as this one. None where values are exact, and where the pilot does not say what differences look
    like: it has fewer than two examples, or no two scores differ and they are not known to be right or wrong.
    """
    if linear.values is None or other.values is None:
        return None
    units = grouped(other.values - linear.values, linear.groups)
    if len(units) < 2:
        return None
    bounds, seen = linear.bounds, np.concatenate([linear.values, other.values])
    span = float(np.ptp(seen)) if bounds is None else bounds[1] - bounds[0]
    if is_constant(units) and not (bounds is not None and np.isin(seen, bounds).all()):
        return None
    gain = smallest_gain(units, report, corrected_confidence(claims), span)
    found = paired_difference(other, linear)
    possible = abs(found.value) if found.ci is None else max(map(abs, found.ci))
    limit = LARGE * abs(linear.estimate.value)
    if possible > 0 and found.ci is not None:
        limit = min(limit, possible)
    value, pilot = linear.estimate.value, tuple(units.tolist())
    return Detectable(
        steps=linear.setting.steps,
        gain=gain,
        limit=limit,
        linear=value,
        difference=found,
        report=report,
        claims=claims,
        pilot=pilot,
        span=span,
        examples=examples or report,
    )
