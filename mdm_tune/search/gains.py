"""Claims about values on unseen examples: a gain, no loss beyond a margin, no loss of diversity."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.interval_text import finite_or_none, interval_record, interval_text
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import (
    CONFIDENCE,
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
from mdm_tune.evaluation.scores import Scores, paired_difference
from mdm_tune.search.outcomes import Outcome
from mdm_tune.search.rare_losses import seldom_worse, worst_surplus

__all__ = [
    "MANY",
    "Diversity",
    "Gain",
    "Loss",
    "NoWorse",
    "calls_interval",
    "claimed",
    "differing_of",
    "diversity_of",
    "figure_estimate",
    "gain_of",
    "no_worse",
    "outcome_of",
]

FEWEST = 10  # examples that must differ before a mean difference is claimed
MANY = 32  # the same for differences of several sizes, whose largest loss may not be among few examples
ROUNDING = 1e-12

Other = Literal["reference", "data"]
OTHERS: tuple[Other, ...] = get_args(Other)

Values = NDArray[np.float64]
Figures = Mapping[str, Values]  # the values of a metric's diversity figures, by name


@dataclass(frozen=True)
class Gain:
    """The gain of one policy over another. Positive is better, in either direction of the metric.

    Attributes:
        value: The gain.
        ci: The gain's own 95 % interval; None for exact values and too few examples.
        familywise: The interval corrected for all claims of a search, which hold together at 95 %; None as for ``ci``.
        differing: Examples, or groups of examples, on which the two policies differ; None for exact values.
        shown: Whether the gain may be claimed.
        fewest: Examples, or groups, that must differ for a claim; None for exact values.
    """

    value: float
    ci: tuple[float, float] | None
    familywise: tuple[float, float] | None
    differing: int | None
    shown: bool
    fewest: int | None = None

    @property
    def exact(self) -> bool:
        """Whether the gain has no sampling error."""
        return self.differing is None

    @property
    def no_interval(self) -> str | None:
        """Why there is no interval; None if there is one."""
        return None if self.ci is not None else "exact" if self.exact else TOO_FEW

    @property
    def untested(self) -> bool:
        """Whether samples were compared but are too few for an interval."""
        return self.ci is None and not self.exact

    @property
    def text(self) -> str:
        """The gain with its own interval, or the reason that it has none."""
        return interval_text(self.value, self.ci, self.no_interval)

    @property
    def corrected_text(self) -> str:
        """The gain with the interval corrected for all claims, or the reason that it has none."""
        return interval_text(self.value, self.familywise, self.no_interval)

    def to_json(self) -> dict[str, Any]:
        """The gain as a JSON object; numbers that are not finite are null."""
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
        """Read the result of ``to_json``; null is read as infinity.

        Raises:
            ValueError: If a key is missing, or if its value has another type.
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
        """Whether a loss is shown: the whole 95 % interval lies below 0. An exact value need only be worse."""
        return self.value < -ROUNDING if self.exact else self.ci is not None and self.ci[1] < -ROUNDING


def gain_of(scores: Scores, baseline: Scores, direction: Direction, claims: int) -> Gain:
    """Compute the gain over a baseline on the same examples with the same noise.

    The gain is shown if the whole interval at 1 - 0.05 / claims (Bonferroni) lies above 0 and enough examples differ
    (``differing_of``). An exact value need only be better.

    Args:
        scores: The policy's scores.
        baseline: The baseline's scores.
        direction: The metric's direction.
        claims: The number of claims of the search.
    """
    better, worse = (scores, baseline)[:: sign_of(direction)]
    difference = paired_difference(better, worse)
    familywise = paired_difference(better, worse, corrected_confidence(claims)).ci
    if better.values is None or worse.values is None:
        return Gain(value=difference.value, ci=None, familywise=None, differing=None, shown=difference.value > ROUNDING)
    differing, needed = differing_of(better.values - worse.values, better.groups)
    shown = familywise is not None and familywise[0] > ROUNDING and differing >= needed
    return Gain(
        value=difference.value, ci=difference.ci, familywise=familywise, differing=differing, shown=shown, fewest=needed
    )


def outcome_of(gain: Gain, *, lost: bool, blocked: bool, more_calls: bool = False) -> Outcome:
    """What a gain over linear shows.

    Args:
        gain: The gain of the returned policy over linear at the same budget.
        lost: Whether linear is returned in place of a policy that is shown to be worse.
        blocked: Whether a loss of diversity forbids the claim (``Diversity.blocks``).
        more_calls: Whether the policy made more denoiser calls than linear (``equal_cost``).

    Returns:
        The outcome. Only ``BETTER`` permits the claim that the policy is better than linear.
    """
    if gain.untested:
        return Outcome.UNTESTED
    if lost:
        return Outcome.WORSE
    if gain.shown and more_calls:
        return Outcome.MORE_CALLS
    if gain.shown:
        return Outcome.LESS_DIVERSE if blocked else Outcome.BETTER
    if gain.ci is None or gain.familywise is None or gain.ci[0] <= 0:
        return Outcome.NO_GAIN
    return Outcome.TOO_FEW_DIFFER if gain.familywise[0] > 0 else Outcome.UNCORRECTED


def calls_interval(scores: Scores, linear: Scores, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The interval of a policy's calls over those of another one, linearised; None if the ratio does not vary.

    Source: Cochran, Sampling Techniques, 3rd ed., section 6.3.

    Args:
        scores: The policy's scores.
        linear: Those of the other one, such as linear, on the same examples.
        confidence: Of the interval.
    """
    ratio = scores.nfe / linear.nfe
    if scores.calls is None and linear.calls is None:
        return None
    own, other = (each.nfe if each.calls is None else each.calls for each in (scores, linear))
    rest = np.asarray((own - ratio * np.asarray(other)) / linear.nfe, dtype=float)
    found = ratio + rest - rest.mean()
    return None if is_constant(found) else estimate(found, confidence, groups=scores.groups).ci


def differing_of(differences: Values, groups: Groups | None) -> tuple[int, int]:
    """Count the examples that differ, and how many must differ before the mean difference is claimed.

    10 must differ if all differences have one size, as for right and wrong answers; otherwise three wins without a
    loss would pass for a gain. 32 must differ if they have several sizes: among few left-skewed differences the
    largest losses are often missing, and no interval accounts for them (docs/intervals.md).

    Args:
        differences: (n,) difference on each example.
        groups: The group of each example; None if all are independent.

    Returns:
        The examples, or groups of examples, that differ, and the number that must.
    """
    names = range(len(differences)) if groups is None else groups
    sums: dict[Hashable, float] = {}
    for name, difference in zip(names, differences.tolist(), strict=True):
        if difference != 0:
            sums[name] = sums.get(name, 0.0) + difference
    sizes = np.abs([*sums.values()])
    return len(sizes), FEWEST if not len(sizes) or is_constant(sizes) else MANY


def claimed(samples: Values, confidence: float, span: float) -> NDArray[np.bool_]:
    """Decide for many simulated searches whether ``gain_of`` would show a gain.

    Args:
        samples: (samples, n) independent differences of each search.
        confidence: Of the interval, in (0, 1).
        span: The largest possible difference, used if all differences of a search are equal.

    Returns:
        (samples,) whether the gain is shown.
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
    """Whether one policy is no worse than another, up to a margin (non-inferiority).

    Attributes:
        difference: The difference of the means; positive is better.
        bound: Its one-sided lower bound, with the noise of the margin included; None for exact values and too few
            examples.
        margin: The largest loss that counts as no loss.
        holds: Whether the bound lies above -margin, and enough examples differ or ``seldom_worse`` agrees.
        better: Whether it holds and the policy is shown to be better: the bound of the difference, without a margin, at
            the same level lies above 0, and enough examples differ. Both claims together need no further correction:
            where the policy is no better but within the margin, only this one can be wrong.
    """

    difference: float
    bound: float | None
    margin: float
    holds: bool
    better: bool = False


def no_worse(scores: Scores, other: Scores, direction: Direction, share: float, level: float) -> NoWorse:
    """Test whether scores are no worse than another policy's on the same examples.

    The margin is a share of a mean on the same examples. Therefore the mean of difference + margin is bounded, example
    by example. As for a gain, enough examples must differ: 100 examples without a difference may hide a loss of 1 %.
    Where fewer differ and values are bounded, such as right and wrong answers, ``seldom_worse`` decides: 1,000 examples
    without a difference exclude it.

    Args:
        scores: The policy's scores.
        other: The scores that it is compared with.
        direction: The metric's direction.
        share: The margin as a share of |other's value|.
        level: The probability that the test holds wrongly if the loss equals the margin.
    """
    sign = sign_of(direction)
    difference, margin = sign * (scores.estimate.value - other.estimate.value), share * abs(other.estimate.value)
    if scores.values is None or other.values is None:
        holds = difference >= -margin - ROUNDING
        return NoWorse(difference=difference, bound=None, margin=margin, holds=holds, better=difference > ROUNDING)
    gains = sign * (scores.values - other.values)
    surplus = gains + share * np.sign(other.estimate.value) * other.values
    worst = None if scores.bounds is None else worst_surplus(scores.bounds, share)
    interval = estimate(surplus, 1 - 2 * level, groups=scores.groups).ci
    if interval is None:
        return NoWorse(difference=difference, bound=None, margin=margin, holds=False)
    differing, needed = differing_of(gains, scores.groups)
    holds = interval[0] > ROUNDING and (differing >= needed or seldom_worse(surplus, worst, level, scores.groups))
    own = estimate(gains, 1 - 2 * level, groups=scores.groups).ci
    return NoWorse(
        difference=difference,
        bound=interval[0] - margin,
        margin=margin,
        holds=holds,
        better=holds and differing >= needed and own is not None and own[0] > ROUNDING,
    )


@dataclass(frozen=True)
class Loss(JsonRecord):
    """The loss of one diversity figure: how far the winner's mean lies below another mean, as a share of the latter.

    Attributes:
        figure: The figure's name.
        than: The comparison: linear at many steps (reference), or the data.
        share: The winner's loss.
        share_of_linear: The loss of linear at the winner's budget.
        flagged: Whether the loss exceeds the threshold, and 0 by more than noise.
        blocks: Whether the flag forbids the claim that the winner is better.
        share_ci: Welch's 95 % interval of the difference of the two means, as shares of the other mean; None if there
            is none, and in older records.
    """

    figure: str
    than: Other
    share: float
    share_of_linear: float
    flagged: bool
    blocks: bool
    share_ci: tuple[float, float] | None = None

    @property
    def flag(self) -> str:
        """The name of the flag."""
        return f"{'less-diverse' if self.than == 'reference' else 'less-diverse-than-data'}:{self.figure}"


@dataclass(frozen=True)
class Diversity:
    """The diversity of the winner's samples compared with others, all on the same number of examples.

    Attributes:
        examples: The number of examples.
        threshold: The share of a figure that the winner may lose.
        figures: Estimates by source (winner, linear, and reference and data if there are any) and figure.
        losses: The losses against the reference and the data.
    """

    examples: int
    threshold: float
    figures: dict[str, dict[str, Estimate]]
    losses: tuple[Loss, ...]

    @property
    def flagged(self) -> tuple[Loss, ...]:
        """The losses that exceed both the threshold and the noise."""
        return tuple(loss for loss in self.losses if loss.flagged)

    @property
    def flags(self) -> tuple[str, ...]:
        """The names of all flags."""
        return tuple(loss.flag for loss in self.flagged)

    @property
    def blocks(self) -> bool:
        """Whether a flag forbids the claim that the winner is better."""
        return any(loss.blocks for loss in self.losses)


def diversity_of(
    drawn: Mapping[str, Figures], examples: int, threshold: float, groups: Groups | None = None
) -> Diversity:
    """Compare the winner's diversity figures with those of the reference (linear at many steps) and of the data.

    A figure is flagged if the winner's mean lies below the other mean by more than ``threshold`` of it, and if Welch's
    95 % interval of the difference excludes zero. The flag blocks only if the winner lies as far below linear at its
    own budget. Otherwise the loss is due to few steps, the order or the model, not to the policy.

    Args:
        drawn: Figures by source; winner and linear (at the winner's budget) are required.
        examples: The samples on which each figure is computed.
        threshold: The share of a figure that the winner may lose.
        groups: The group of each sample; None if all are independent. Batches of samples hold whole groups.
    """
    winner, linear = drawn["winner"], drawn["linear"]
    losses = []
    for than in OTHERS:
        for figure, values in drawn.get(than, {}).items():
            mean = float(np.mean(values))
            share, of_linear = (
                1 - float(np.mean(figures[figure])) / mean if mean else 0.0 for figures in (winner, linear)
            )
            of_values = _groups_of_figure(values, groups)
            flagged = _clearly_lower(values, winner[figure], threshold * mean, of_values)
            blocks = flagged and _clearly_lower(linear[figure], winner[figure], threshold * mean, of_values)
            ends = welch(values, winner[figure], groups=(of_values, of_values)).ci
            losses.append(
                Loss(
                    figure=figure,
                    than=than,
                    share=share,
                    share_of_linear=of_linear,
                    flagged=flagged,
                    blocks=blocks,
                    share_ci=None if ends is None or mean <= 0 else (ends[0] / mean, ends[1] / mean),
                )
            )
    estimates = {
        source: {figure: figure_estimate(values, groups) for figure, values in figures.items()}
        for source, figures in drawn.items()
    }
    return Diversity(examples=examples, threshold=threshold, figures=estimates, losses=tuple(losses))


def figure_estimate(values: Values, groups: Groups | None) -> Estimate:
    """The mean of a diversity figure. groups: of each sample; a figure of batches has fewer values than samples."""
    return estimate(values, groups=_groups_of_figure(values, groups))


def _groups_of_figure(values: Values, groups: Groups | None) -> Groups | None:
    """The groups of the samples, if the figure has a value of each sample; else None."""
    return groups if groups is not None and len(values) == len(groups) else None


def _clearly_lower(higher: Values, lower: Values, amount: float, groups: Groups | None) -> bool:
    """Whether the mean of ``lower`` lies below that of ``higher`` by more than ``amount`` and by more than noise."""
    difference = welch(higher, lower, groups=(groups, groups))
    return difference.value > amount and difference.ci is not None and difference.ci[0] > 0
