"""The flat part of a budget's box: from the Gaussian process on its trials, or from the profile that prices them.

It sees the tune split only. It is advice: it takes no part in the choice of a winner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mdm_tune.config.file import SpaceConfig
from mdm_tune.core.statistics import estimate
from mdm_tune.core.types import sign_of
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.profile_choice import Chooser, weights_of
from mdm_tune.evaluation.settings import Policy
from mdm_tune.schedules.counts import beta_grids
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.flat import (
    DETAIL,
    EXACTLY_NAMED,
    Box,
    FlatPart,
    Tried,
    flat_part,
    surface_of,
    upper_of_trials,
)
from mdm_tune.schedules.pricing import ancestral_weights, count_weights
from mdm_tune.search.finalists import Trial

__all__ = ["flat_of_profile", "flat_of_trials"]

Floats = NDArray[np.float64]
COARSE = 16  # points per axis for ancestral reveal, where all plans differ and each is priced
ROUNDING = 1e-12  # of an exact price, relative


def flat_of_trials(
    evaluator: Evaluator, trials: Sequence[Trial], winner: Policy, space: SpaceConfig
) -> FlatPart | None:
    """The flat part by the Gaussian process on the trials.

    Args:
        evaluator: The evaluator for the winner's block length.
        trials: The finished trials in this block length.
        winner: The policy that the search returns. If it is no Beta(a, b), the best trial takes its place.
        space: The box of the search.

    Returns:
        The flat part; None if there are too few trials, or if all have the same value.
    """
    box, sign = _box(space), sign_of(evaluator.metric.direction)
    betas = [(trial, trial.policy) for trial in trials if isinstance(trial.policy, Beta)]
    surface = surface_of(
        tuple(Tried(a=beta.a, b=beta.b, value=trial.value, examples=trial.examples) for trial, beta in betas),
        box,
        evaluator.exact,
    )
    if surface is None:
        return None
    reference = _place(winner)
    if reference is None:
        full = [(trial, beta) for trial, beta in betas if not trial.dropped and math.isfinite(trial.value)]
        if not full:
            return None
        _, best = max(full, key=lambda pair: (sign * pair[0].value, -pair[0].number))
        reference = best.a, best.b
    upper = upper_of_trials(surface, box, reference, sign)
    return flat_part(upper, box, reference, source="trials", of_winner=_place(winner) is not None)


def flat_of_profile(evaluator: Evaluator, chooser: Chooser, winner: Policy, steps: int) -> FlatPart | None:
    """The flat part by an information profile: schedules whose price is not shown to be above the winner's.

    The difference of two prices is that on the curve that is optimised. The width of its interval is that of the paired
    difference on the examples of the profile.

    Args:
        evaluator: The evaluator for the profile's block length.
        chooser: The profile on the tune split.
        winner: The policy that the search returns. If it is no Beta(a, b), the one of least price takes its place.
        steps: The step budget.

    Returns:
        The flat part; None if the profile has too few examples for intervals.
    """
    reference = _place(winner)
    best = chooser.best_beta(steps) if reference is None else winner
    middle = weights_of(evaluator.setting(best, steps))
    place = _place(best)
    assert place is not None  # a Beta
    if not chooser.profile.exact and _half_width(chooser, middle) is None:
        return None

    def upper_end(weights: Floats) -> float:
        more = middle - weights  # what the winner's plan prices above the other's
        slack = ROUNDING * abs(float(middle @ chooser.pricer.curve))
        return float(more @ chooser.pricer.curve) + (_half_width(chooser, more) or 0.0) + slack

    def upper(pairs: Floats) -> Floats:
        if evaluator.sampler.bernoulli:
            alphas = beta_grids(pairs[:, 0], pairs[:, 1], steps)
            return np.array([upper_end(ancestral_weights(row, evaluator.length)) for row in alphas])
        plans, places = np.unique(evaluator.beta_counts(pairs[:, 0], pairs[:, 1], steps), axis=0, return_inverse=True)
        ends = np.array([upper_end(count_weights(plan, evaluator.length)) for plan in plans])
        return np.asarray(ends[places.ravel()])

    return flat_part(
        upper,
        _box(chooser.space),
        place,
        source="profile",
        of_winner=reference is not None,
        points=COARSE if evaluator.sampler.bernoulli else DETAIL,
    )


def _half_width(chooser: Chooser, weights: Floats) -> float | None:
    """How far the 95 % interval of a price reaches above its value; 0 if exact, None with too few examples."""
    profile = chooser.profile
    if profile.exact:
        return 0.0
    found = estimate(profile.prices(weights), groups=profile.groups)
    return None if found.ci is None else found.ci[1] - found.value


def _place(policy: Policy) -> tuple[float, float] | None:
    """a and b; None outside the family."""
    return (policy.a, policy.b) if isinstance(policy, Beta) else EXACTLY_NAMED.get(policy.name)


def _box(space: SpaceConfig) -> Box:
    (a, b) = space.ranges.values()
    return a, b
