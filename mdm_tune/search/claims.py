"""What may be claimed of values on unseen examples: a gain, no loss, no less diverse; and what could be seen at all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.intervals import finite_or_none, interval_record, interval_text
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import (
    TOO_FEW,
    Estimate,
    Groups,
    corrected_confidence,
    estimate,
    interval_of_equal,
    is_constant,
    lower_bounds,
    welch,
)
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.evaluator import Scores, paired_difference
from mdm_tune.search.outcomes import Outcome

__all__ = [
    "MANY",
    "Diversity",
    "Gain",
    "Loss",
    "NoWorse",
    "claimed",
    "differing_of",
    "diversity_of",
    "gain_of",
    "no_worse",
    "outcome_of",
]

FEWEST = 10  # examples that must differ before anything is claimed of a mean difference
MANY = 32  # and where the differences have several sizes: the largest loss may not have been seen
ROUNDING = 1e-12

Other = Literal["reference", "data"]
OTHERS: tuple[Other, ...] = get_args(Other)

Values = NDArray[np.float64]
Figures = Mapping[str, Values]  # the values of a metric's diversity figures, by name


@dataclass(frozen=True)
class Gain:
    """How much better one schedule is than another; positive is better, whichever direction the metric has.

    ci: its own 95 % interval. familywise: the interval that holds together with those of the other claims of a search
    at 95 %. Both None where there are too few examples. differing: examples, or groups of them, on which the two
    differ, and fewest: how many must for a claim. All None where values are exact. shown: whether the gain may be
    claimed.
    """

    value: float
    ci: tuple[float, float] | None
    familywise: tuple[float, float] | None
    differing: int | None
    shown: bool
    fewest: int | None = None

    @property
    def exact(self) -> bool:
        """Whether it has no sampling error."""
        return self.differing is None

    @property
    def no_interval(self) -> str | None:
        """Why there is no interval; None where there is one."""
        return None if self.ci is not None else "exact" if self.exact else TOO_FEW

    @property
    def untested(self) -> bool:
        """Whether a difference of samples has no interval, so that nothing is known of it in either direction."""
        return self.ci is None and not self.exact

    @property
    def text(self) -> str:
        """The gain with its own interval, or why it has none."""
        return interval_text(self.value, self.ci, self.no_interval)

    @property
    def corrected_text(self) -> str:
        """The gain with the interval that holds together with those of the other claims."""
        return interval_text(self.value, self.familywise, self.no_interval)

    def to_json(self) -> dict[str, Any]:
        """The gain as an object; what is not finite is null."""
        return {
            "value": finite_or_none(self.value),
            "ci": interval_record(self.ci),
            "ci_familywise": interval_record(self.familywise),
            "no_interval": self.no_interval,
            "examples_that_differ": self.differing,
            "examples_that_must_differ": self.fewest,
            "shown": self.shown,
        }

    @classmethod
    def from_json(cls, record: object) -> Self:
        """The gain that ``to_json`` wrote so; null is read as infinity.

        Raises:
            ValueError: a key is missing, or its value is of another type.
        """
        if not isinstance(record, dict) or not {"examples_that_differ", "examples_that_must_differ"} <= record.keys():
            raise ValueError("a gain says how many examples differ, and how many must")
        own = Estimate.from_json(record)
        together = Estimate.from_json({**record, "ci": record.get("ci_familywise")})
        return cls(
            value=own.value,
            ci=own.ci,
            familywise=together.ci,
            differing=record["examples_that_differ"],
            shown=record.get("shown") is True,
            fewest=record["examples_that_must_differ"],
        )

    @property
    def loss(self) -> bool:
        """Whether it is clearly a loss: the 95 % interval lies below 0 altogether; exact values need only be worse."""
        return self.value < -ROUNDING if self.exact else self.ci is not None and self.ci[1] < -ROUNDING


def gain_of(scores: Scores, baseline: Scores, direction: Direction, claims: int) -> Gain:
    """The gain of scores over a baseline on the same examples with the same noise, one of ``claims`` of a search.

    Shown where the interval at 1 - 0.05 / claims (Bonferroni) lies above 0 and enough examples differ
    (``differing_of``); exact values need only be better.
    """
    better, worse = (scores, baseline)[:: sign_of(direction)]
    found = paired_difference(better, worse)
    familywise = paired_difference(better, worse, corrected_confidence(claims)).ci
    if better.values is None or worse.values is None:
        return Gain(value=found.value, ci=None, familywise=None, differing=None, shown=found.value > ROUNDING)
    differing, needed = differing_of(better.values - worse.values, better.groups)
    shown = familywise is not None and familywise[0] > ROUNDING and differing >= needed
    return Gain(value=found.value, ci=found.ci, familywise=familywise, differing=differing, shown=shown, fewest=needed)


def outcome_of(gain: Gain, *, lost: bool, blocked: bool) -> Outcome:
    """What a gain over linear shows.

    Args:
        gain: of the schedule that is returned, over linear at the same budget.
        lost: whether linear is returned in place of a schedule that is shown to be worse.
        blocked: whether a loss of diversity keeps the gain from being counted (``Diversity.blocks``).

    Returns:
        The outcome; ``BETTER`` alone lets the schedule be called better than linear.
    """
    if gain.untested:
        return Outcome.UNTESTED
    if lost:
        return Outcome.WORSE
    if gain.shown:
        return Outcome.LESS_DIVERSE if blocked else Outcome.BETTER
    if gain.ci is None or gain.familywise is None or gain.ci[0] <= 0:
        return Outcome.NO_GAIN
    return Outcome.TOO_FEW_DIFFER if gain.familywise[0] > 0 else Outcome.UNCORRECTED


def differing_of(differences: Values, groups: Groups | None = None) -> tuple[int, int]:
    """How many examples, or groups of them, differ, and how many must before anything is claimed of the mean.

    10 where all differences have one size, as those of right and wrong answers have: three wins and no loss would pass
    for a gain. 32 where they have several: of few left-skewed differences the largest losses are often unseen, and no
    interval knows of them (docs/intervals.md).
    """
    names = range(len(differences)) if groups is None else groups
    sums: dict[Hashable, float] = {}
    for name, each in zip(names, differences.tolist(), strict=True):
        if each != 0:
            sums[name] = sums.get(name, 0.0) + each
    sizes = np.abs([*sums.values()])
    return len(sizes), FEWEST if not len(sizes) or is_constant(sizes) else MANY


def claimed(samples: Values, confidence: float, span: float) -> NDArray[np.bool_]:
    """Which of many samples of independent differences (samples, n) show a gain (samples,), as ``gain_of`` decides.

    confidence: of the interval. span: the largest difference that is possible, where all of a sample are equal.
    """
    count, sizes = samples.shape[1], np.abs(samples)
    if count < FEWEST:
        return np.zeros(len(samples), dtype=bool)
    largest = sizes.max(axis=1)
    smallest = np.where(sizes > 0, sizes, np.inf).min(axis=1)
    needed = np.where(largest - smallest > ROUNDING * np.maximum(1.0, largest), MANY, FEWEST)
    lowest, first = lower_bounds(samples, confidence), samples[:, 0]
    equal = np.ptp(samples, axis=1) <= ROUNDING * np.maximum(1.0, np.abs(first))
    lowest[equal] = interval_of_equal(0.0, count, (-1.0, 1.0), confidence)[0] * (first[equal] + span) + first[equal]
    shown: NDArray[np.bool_] = (lowest > ROUNDING) & (np.count_nonzero(samples, axis=1) >= needed)
    return shown


@dataclass(frozen=True)
class NoWorse:
    """Whether one schedule is no worse than another but for a margin (non-inferiority).

    difference: of the means, positive is better. bound: its lower bound, one-sided, the margin's own noise included;
    None where values are exact, or too few. margin: the loss that counts as none. holds: the bound lies above -margin.
    """

    difference: float
    bound: float | None
    margin: float
    holds: bool


def no_worse(scores: Scores, other: Scores, direction: Direction, share: float, level: float) -> NoWorse:
    """Test scores against another schedule's on the same examples; the margin is ``share`` of the other's |value|.

    level: the chance to hold where the loss is the margin. The margin is a share of a mean on the same examples, so
    what is bounded is the mean of difference + margin, example by example. As for a gain, enough examples must differ:
    a loss of 1 % may stay unseen in 100 examples without a difference.
    """
    sign = sign_of(direction)
    more, margin = sign * (scores.estimate.value - other.estimate.value), share * abs(other.estimate.value)
    if scores.values is None or other.values is None:
        return NoWorse(difference=more, bound=None, margin=margin, holds=more >= -margin - ROUNDING)
    gains = sign * (scores.values - other.values)
    surplus = gains + share * np.sign(other.estimate.value) * other.values
    found = estimate(surplus, 1 - 2 * level, groups=scores.groups).ci
    if found is None:
        return NoWorse(difference=more, bound=None, margin=margin, holds=False)
    differing, needed = differing_of(gains, scores.groups)
    return NoWorse(
        difference=more,
        bound=found[0] - margin,
        margin=margin,
        holds=found[0] > ROUNDING and differing >= needed,
    )


@dataclass(frozen=True)
class Loss(JsonRecord):
    """What the winner's mean of one diversity figure lies below another's, as a share of that.

    than: linear at many steps, or the data itself. share_of_linear: what linear at the winner's budget loses likewise.
    flagged: more than the threshold is lost and more than noise. blocks: the flag keeps the winner from being called
    better.
    """

    figure: str
    than: Other
    share: float
    share_of_linear: float
    flagged: bool
    blocks: bool

    @property
    def flag(self) -> str:
        """The name of the flag."""
        return f"{'less-diverse' if self.than == 'reference' else 'less-diverse-than-data'}:{self.figure}"


@dataclass(frozen=True)
class Diversity:
    """The diversity of a winner's samples beside others', all on the same number of examples.

    figures: by who (winner, linear, and where there are any reference and data) and name. threshold: the share that a
    winner may lose.
    """

    examples: int
    threshold: float
    figures: dict[str, dict[str, Estimate]]
    losses: tuple[Loss, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """The names of all flags."""
        return tuple(loss.flag for loss in self.losses if loss.flagged)

    @property
    def blocks(self) -> bool:
        """Whether a flag keeps the winner from being called better."""
        return any(loss.blocks for loss in self.losses)


def diversity_of(
    drawn: Mapping[str, Figures], examples: int, threshold: float, groups: Groups | None = None
) -> Diversity:
    """Compare the winner's figures with those of the reference (linear at many steps) and of the data.

    drawn: by who, winner and linear (at the winner's budget) among them; each computed on ``examples`` samples.
    groups: of these samples, where some share one; batches of samples hold whole groups.

    A figure is flagged where the winner's mean lies below the other's by more than ``threshold`` of it, and Welch's
    95 % interval of the difference excludes zero. The flag blocks only where the winner lies that far below linear at
    its own budget as well: the rest of the loss is that of few steps, of the order or of the model, not the schedule's.

    This replaces a rule that flagged every mean below linear's interval at the same budget, however small the loss, and
    saw neither what the model can do with many steps nor the data.
    """
    winner, linear = drawn["winner"], drawn["linear"]
    losses = []

    def of(values: Values) -> Groups | None:
        return groups if groups is not None and len(values) == len(groups) else None

    for than in OTHERS:
        for figure, values in drawn.get(than, {}).items():
            unit = float(np.mean(values))
            share, of_linear = (1 - float(np.mean(by[figure])) / unit if unit else 0.0 for by in (winner, linear))
            flagged = _clearly(values, winner[figure], threshold * unit, of(values))
            blocks = flagged and _clearly(linear[figure], winner[figure], threshold * unit, of(values))
            losses.append(
                Loss(figure=figure, than=than, share=share, share_of_linear=of_linear, flagged=flagged, blocks=blocks)
            )
    figures = {
        who: {figure: estimate(each, groups=of(each)) for figure, each in found.items()} for who, found in drawn.items()
    }
    return Diversity(examples=examples, threshold=threshold, figures=figures, losses=tuple(losses))


def _clearly(higher: Values, lower: Values, amount: float, groups: Groups | None) -> bool:
    """Whether the second mean lies below the first by more than the amount and by more than noise."""
    found = welch(higher, lower, groups=(groups, groups))
    return found.value > amount and found.ci is not None and found.ci[0] > 0
