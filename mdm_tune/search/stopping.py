"""Rules that end the trials of a budget early: more would gain less than the noise, or all values are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.statistics import Groups
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.metrics.quality import ExactMetric, SampleMetric
from mdm_tune.search.finalists import Trial
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.scoring import noise_of_best

__all__ = ["all_values_equal", "first_look", "settled"]

Values = NDArray[np.float64]
SETTLING = 10  # fewest trials before the search may end by itself
TRIALS, VALUES = 3, 100  # fewest that must be equal: of all values fewer than 3 % then differ, at 95 %


def settled(
    space: BetaSpace,
    before: Sequence[Trial],
    full: Mapping[int, Values],
    direction: Direction,
    groups: Groups | None,
) -> bool:
    """Whether an upper bound of what further trials could gain lies below the noise of the two best trials.

    Args:
        space: The schedules that are proposed.
        before: The finished trials.
        full: (examples,) values of each trial that was scored on all examples, by its number.
        direction: The metric's direction.
        groups: The group of each example; None if all are independent.
    """
    noise = noise_of_best(full, direction, groups)
    if noise is None or len(before) < SETTLING:
        return False
    gain = space.possible_gain([(trial.policy, trial.value) for trial in before], direction)
    rounding = 1e-12 + 1e-9 * abs(before[0].value)  # the bound is a rounding error if all values are equal
    return gain <= noise + rounding


def all_values_equal(
    before: Sequence[Trial], full: Mapping[int, Values], metric: ExactMetric | SampleMetric
) -> Ended | None:
    """The ending if all examples of all finished trials have the same value.

    Such an objective does not distinguish policies, so more trials would be no use.

    Args:
        before: As in ``settled``.
        full: As in ``settled``.
        metric: The objective.

    Returns:
        The ending; None if values differ, are exact, or are too few.
    """
    if isinstance(metric, ExactMetric) or any(trial.dropped and not trial.cut for trial in before):
        return None
    if len(full) < TRIALS or sum(map(len, full.values())) < VALUES:
        return None
    values = np.concatenate([*full.values()])
    if np.ptp(values) != 0:
        return None
    remedy = _remedy(metric, values[0])
    return Ended.of(Ending.ALL_EQUAL, value=values[0], schedules=len(full), remedy=remedy)


def first_look(metric: SampleMetric, value: float) -> str:
    """A sentence of advice for a pilot whose values are all equal.

    Args:
        metric: The objective.
        value: The value.
    """
    worst, best = _worst_and_best(metric)
    if value == best:
        return "If the trials do too, nothing is left to gain."
    lowest = "This is the worst there is: look" if value == worst else "Look"
    return f"{lowest} at what mdm-tune sample draws before more is paid for."


def _worst_and_best(metric: SampleMetric) -> tuple[float | None, float | None]:
    """The worst and the best possible value; None for unknown ones."""
    worst, best = (metric.bounds or (None, None))[:: sign_of(metric.direction)]
    return worst, best


def _remedy(metric: SampleMetric, value: float) -> str:
    """What to do about an objective that has the same value everywhere."""
    worst, best = _worst_and_best(metric)
    if value == best:
        return "nothing is left to gain: take fewer steps, or harder examples"
    lowest = ", the worst there is" if value == worst else ""
    return (
        f"such an objective tells no schedules apart{lowest}: look at what mdm-tune sample draws, whether references "
        "are the same once the tokenizer has written and read them, at the texts that end an answer (dataset.stop), "
        "and at how an answer is found in a text (metrics)"
    )
