"""What may stand in for a winner: a Beta(a, b) with fewer digits, and hand-made schedules.

A stand-in is named only by what is known of it. A rounder Beta(a, b) has the winner's counts, or a price, exact or by
the profile. A baseline has its values on the report split, paired with the winner's. What a model of the trials
expects of other schedules is no ground.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import estimate
from mdm_tune.core.types import sign_of
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.profile_choice import Chooser, weights_of
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.schedules.box import Box, rounded, rounder_pairs
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.gains import Gain

__all__ = ["SHARE", "Place", "Rounder", "StandIns", "rounder_at"]

SHARE = 0.05  # of the gain over linear: the most that a stand-in with a price may lose
MOST_DIGITS = 3
ROUNDING = 1e-12

Ground = Literal["counts", "exact", "profile"]


@dataclass(frozen=True, kw_only=True)
class Rounder(JsonRecord):
    """A Beta(a, b) with fewer digits that may stand in for a winner.

    Attributes:
        schedule: Its name.
        by: The ground: the winner's counts, exact values, or the prices of the profile.
        loss: What it loses against the winner, in the unit of the metric; 0 with the winner's counts.
        most: The upper end of the 95 % interval of the loss; equal to it unless a profile of examples prices it.
    """

    schedule: str
    by: Ground
    loss: float
    most: float

    def text(self, gain: float) -> str:
        """What is known of it, in words; ``gain`` is that of the winner over linear."""
        if self.by == "counts":
            return f"{self.schedule} has the same counts"
        if self.by == "exact":
            return _exact_loss(self.schedule, self.most, gain)
        if self.most <= ROUNDING:
            return f"{self.schedule} is as good or better, by the profile (95 %)"
        return f"{self.schedule} loses at most {_lost(self.most, gain)}, by the profile (95 %)"


@dataclass(frozen=True, kw_only=True)
class StandIns(JsonRecord):
    """What may stand in for the winner of a budget.

    Attributes:
        rounder: A Beta(a, b) with fewer digits; None if none is known.
        baselines: The winner's gains over the baselines that may stand in for it, by name. With exact values these lose
            at most ``SHARE`` of the gain over linear. Otherwise they are not shown to be worse on the report split, by
            intervals that are corrected for all budgets and baselines.
        text: The same in words.
    """

    rounder: Rounder | None
    baselines: dict[str, Gain]
    text: str

    @classmethod
    def of(cls, rounder: Rounder | None, gains: Mapping[str, Gain], gain: float) -> Self:
        """The record.

        Args:
            rounder: A Beta(a, b) with fewer digits; None if none is known.
            gains: The winner's gains over all baselines with other counts, by name.
            gain: The winner's gain over linear.
        """
        exact = all(each.exact for each in gains.values())
        most = _tolerance(gain)
        kept = {name: each for name, each in gains.items() if (each.value <= most if exact else not each.shown)}
        parts = [] if rounder is None else [rounder.text(gain)]
        if exact:
            parts += [_exact_loss(name, each.value, gain) for name, each in kept.items()]
        elif kept:
            surely = {name for name, each in kept.items() if each.familywise and each.familywise[1] < -ROUNDING}
            for words, names in (("better", surely), ("not shown to be worse", kept.keys() - surely)):
                shown = {name: each.corrected_text for name, each in kept.items() if name in names}
                gains_over = ", ".join(f"{text} over {name}" for name, text in shown.items())
                if shown:
                    parts.append(f"{words}: {', '.join(shown)} (the winner's gain, corrected: {gains_over})")
        if gains and not kept:
            several = len(gains) > 1
            limit = f"{'are' if several else 'is'} {'' if exact else 'shown to be '}worse"
            if exact and gain > ROUNDING:
                limit = f"{'lose' if several else 'loses'} more than {100 * SHARE:g} % of the gain over linear"
            parts.append(f"{_none_of([*gains])}, which {limit}")
        return cls(rounder=rounder, baselines=kept, text="; ".join(parts))


@dataclass(frozen=True, kw_only=True)
class Place:
    """A winner at one budget, as a rounder one is compared with it.

    Attributes:
        evaluator: The evaluator for its block length.
        winner: The winner.
        steps: The budget.
        gain: Its gain over linear.
        chooser: The profile that prices schedules; None if no profile does.
    """

    evaluator: Evaluator
    winner: Beta
    steps: int
    gain: float
    chooser: Chooser | None = None

    def rounder(self, schedule: Beta) -> Rounder | None:
        """A schedule as a stand-in for the winner; None if it may lose more than ``SHARE`` of the gain over linear."""
        own, other = (self.evaluator.setting(policy, self.steps) for policy in (self.winner, schedule))
        if own.key == other.key:
            return Rounder(schedule=schedule.name, by="counts", loss=0.0, most=0.0)
        metric = self.evaluator.metric
        if self.chooser is not None:
            loss, width = _priced_loss(self.chooser, own, other)
            if width is None:
                return None
            found = Rounder(schedule=schedule.name, by="profile", loss=loss, most=loss + width)
        elif isinstance(metric, ExactMetric):
            loss = sign_of(metric.direction) * (_value(metric, own) - _value(metric, other))
            found = Rounder(schedule=schedule.name, by="exact", loss=loss, most=loss)
        else:
            return None
        return found if found.most <= _tolerance(self.gain) else None


def rounder_at(places: Sequence[Place], box: Box) -> list[Rounder] | None:
    """The Beta(a, b) with the fewest digits that may stand in for one winner at each of its budgets.

    Only the roundings of a and b up and down are tried. Of several with as many digits, the one that loses least is
    taken; of equal ones, the nearest in log scale.

    Args:
        places: The winner at each of its budgets.
        box: The box of the search.

    Returns:
        One entry per place, all of the same schedule; None if there is none, or if the winner is itself as round.
    """
    pair = places[0].winner.a, places[0].winner.b
    for digits in range(1, MOST_DIGITS + 1):
        pairs = rounder_pairs(pair, box, digits)
        if pair in pairs:
            return None
        found = [[place.rounder(Beta(*other)) for place in places] for other in pairs]
        whole = [[each for each in row if each is not None] for row in found]
        fitting = [row for row in whole if len(row) == len(places)]
        if fitting:
            return min(fitting, key=lambda row: sum(max(each.most, 0.0) for each in row))
    return None


def _none_of(names: Sequence[str]) -> str:
    """The names of all that cannot stand in."""
    return f"none of {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else f"not {names[0]}"


def _exact_loss(name: str, loss: float, gain: float) -> str:
    if abs(loss) <= ROUNDING:
        return f"{name} is as good"
    return f"{name} loses {_lost(loss, gain)}" if loss > 0 else f"{name} is better by {rounded(-loss, 2, up=False):g}"


def _lost(loss: float, gain: float) -> str:
    """A loss above 0 and its share of the gain, rounded up."""
    return f"{rounded(loss, 2, up=True):g}, {rounded(100 * loss / gain, 2, up=True):g} % of the gain over linear"


def _tolerance(gain: float) -> float:
    """The most that a stand-in with a known value may lose."""
    return SHARE * max(gain, 0.0) + ROUNDING


def _value(metric: ExactMetric, setting: Setting) -> float:
    if setting.counts is not None:
        return metric.fixed(setting.counts, setting.block_length)
    return metric.ancestral(np.array(setting.alphas))


def _priced_loss(chooser: Chooser, winner: Setting, other: Setting) -> tuple[float, float | None]:
    """What a schedule loses against the winner on the curve that is optimised, and how far its interval reaches above.

    The width is that of the paired differences on the examples: 0 if the profile is exact, None with too few examples.
    """
    more, profile = weights_of(other) - weights_of(winner), chooser.profile
    loss = float(more @ chooser.pricer.curve)
    if profile.exact:
        return loss, 0.0
    found = estimate(profile.prices(more), groups=profile.groups)
    return loss, None if found.ci is None else found.ci[1] - found.value
