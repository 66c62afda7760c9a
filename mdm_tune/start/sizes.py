"""The sizes of splits, from the gain that a report split can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from mdm_tune.config.validators import SMALLEST_SPLIT
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.core.statistics import corrected_confidence
from mdm_tune.search.power import smallest_gain

__all__ = ["Sizes", "choose_sizes", "shown_gain"]

REPORTS = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)  # sizes that are considered
PARTS = (1, 2, 4)  # of tune, choose and report: 25 trials, 8 schedules and 5 schedules then cost about as much
RIGHT_OR_WRONG = np.repeat([1.0, -1.0, 0.0], [10, 10, 80])  # the assumption: one answer in five differs
OTHER = stats.norm.ppf((np.arange(100) + 0.5) / 100)  # differences in standard deviations
WANTED = {True: 0.1, False: 0.2}  # the gain to show: a share of answers, or standard deviations


@dataclass(frozen=True)
class Sizes:
    """The numbers of examples of the three splits, and what they can show.

    Attributes:
        tune: Examples for the trials.
        choose: Examples for the comparison of finalists.
        report: Examples for the numbers that are shown.
        gain: The smallest gain that the report split shows with 80 % power; infinite if it shows none.
    """

    tune: int
    choose: int
    report: int
    gain: float


@cache
def shown_gain(report: int, budgets: int, right_or_wrong: bool) -> float:
    """Estimate the smallest gain that a report split shows with 80 % power.

    No sample is drawn. For right and wrong answers two schedules are assumed to differ on one example in five, as often
    in either direction. For other values the gain is in standard deviations of the difference between two schedules.

    Args:
        report: Independent examples of the report split.
        budgets: Step budgets of the search, for which intervals are corrected.
        right_or_wrong: Whether values are 1 and 0.
    """
    pilot = RIGHT_OR_WRONG if right_or_wrong else OTHER
    return smallest_gain(pilot, report, corrected_confidence(budgets), 1.0)


def choose_sizes(
    available: int | None, budgets: int, right_or_wrong: bool, place: str, reported: int | None = None
) -> Sizes:
    """Choose the sizes of the splits: as many report examples as the wanted gain needs, or as there are.

    Args:
        available: Independent examples; None if the number is unknown.
        budgets: Step budgets of the search.
        right_or_wrong: Whether values are 1 and 0.
        place: Where the examples are, for messages.
        reported: Independent examples of a source of its own for the report; None if all splits have one source.

    Raises:
        InputError: If there are too few examples for three splits.
    """
    uses = ("tune", "choose", "report") if reported is None else ("tune", "choose")
    least = len(uses) * SMALLEST_SPLIT
    if available is not None and available < least:
        raise InputError(
            f"{place} must hold at least {least} different examples, {SMALLEST_SPLIT} for each of "
            f"{', '.join(uses[:-1])} and {uses[-1]}, got {quantity(available, 'example')}; give more"
        )
    enough = math.inf if available is None else available * PARTS[2] // sum(PARTS)
    enough = enough if reported is None else reported
    sizes = (size for size in REPORTS if shown_gain(size, budgets, right_or_wrong) <= WANTED[right_or_wrong])
    report = int(min(next(sizes, REPORTS[-1]), enough))
    tune, choose = (max(SMALLEST_SPLIT, report * part // PARTS[2]) for part in PARTS[:2])
    if available is not None and reported is not None and tune + choose > available:
        tune = max(SMALLEST_SPLIT, available // 3)
        choose = available - tune
    elif available is not None and reported is None:
        report = max(SMALLEST_SPLIT, min(report, available - tune - choose))
    gain = shown_gain(report, budgets, right_or_wrong)
    return Sizes(tune=tune, choose=choose, report=report, gain=gain)
