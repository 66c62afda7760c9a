"""The flat part of a budget: by trials as the process has it, by a profile against prices of each grid point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from mdm_tune.config.file import SpaceConfig
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.profile_choice import Chooser
from mdm_tune.evaluation.scores import Cost
from mdm_tune.metrics import quality
from mdm_tune.schedules.counts import alpha_grid, to_counts
from mdm_tune.schedules.curves import Beta, Linear, Schedule, Sine
from mdm_tune.schedules.flat import Tried, surface_of
from mdm_tune.schedules.pricing import ancestral_nelbo, nelbo
from mdm_tune.schedules.profile import Profile
from mdm_tune.search.finalists import Trial
from mdm_tune.search.flat import flat_of_profile, flat_of_trials
from tests.support.helpers import sampler_of
from tests.support.searches import FIXED, SHORT, Given

SPACE = SpaceConfig(a=(0.2, 2.0), b=(0.25, 4.0))
STEPS, LENGTH = 4, 16
AXES = np.geomspace(0.2, 2.0, 40), np.geomspace(0.25, 4.0, 40)
SOME = np.random.default_rng(0).integers(40, size=(120, 2)).tolist()  # points of the grid
EVALUATOR = Evaluator(SHORT, LENGTH, FIXED, quality.order_kl_metric(SHORT), None)


def chooser(profile: Profile) -> Chooser:
    return Chooser(profile=profile, sampler=FIXED, monotone=False, space=SPACE, limit=LENGTH)


def counts(a: float, b: float) -> tuple[int, ...]:
    return to_counts(Beta(a, b), STEPS, LENGTH)


def test_an_exact_profile_leaves_what_is_no_worse() -> None:
    curve = SHORT.profile(LENGTH)
    flat = flat_of_profile(EVALUATOR, chooser(Profile.of_law(curve, 2, LENGTH)), Beta(1.0, 0.8), STEPS)
    assert flat is not None and flat.source == "profile" and flat.of_winner
    most = nelbo(curve, counts(1.0, 0.8)) + 1e-9
    for row, column in SOME:
        assert flat.inside[row, column] == (nelbo(curve, counts(AXES[0][row], AXES[1][column])) <= most)
    assert 0 < flat.share < 0.5


def test_a_measured_profile_leaves_what_its_examples_cannot_tell_apart() -> None:
    curve, source = SHORT.profile(LENGTH), np.random.default_rng(1)
    values = np.maximum(curve + 0.2 * source.normal(size=(400, 1)) + 0.2 * source.normal(size=(400, LENGTH)), 0.01)
    profile = Profile(
        length=LENGTH, block_length=LENGTH, vocab_size=2, revealed=np.arange(LENGTH), values=values, exact=False
    )
    flat = flat_of_profile(EVALUATOR, chooser(profile), Linear(), STEPS)
    assert flat is not None

    def prices(a: float, b: float) -> np.ndarray:
        steps = counts(a, b)
        return np.asarray(values[:, np.cumsum([0, *steps[:-1]])] @ steps)

    clear = 0
    for row, column in SOME:
        less = prices(0.5, 0.5) - prices(AXES[0][row], AXES[1][column])
        upper = less.mean() + student.ppf(0.975, 399) * less.std(ddof=1) / 20
        if abs(upper) > 0.01:  # our interval is a little wider than Student's
            assert flat.inside[row, column] == (upper > 0)
            clear += 1
    assert clear > 0.8 * len(SOME)
    assert 0 < flat.share < 0.5 and "linear" in flat.named
    few = profile.of_examples(np.arange(9))
    assert flat_of_profile(EVALUATOR, chooser(few), Linear(), STEPS) is None
    other = flat_of_profile(EVALUATOR, chooser(profile), Sine(), STEPS)
    assert other is not None and not other.of_winner
    assert other.reference == pytest.approx(tuple(chooser(profile).best_beta(STEPS).parameters.values()))


def test_ancestral_reveal_is_priced_as_such() -> None:
    """The grid is coarser, since each of its points has a price of its own."""
    profile = Profile.of_law(SHORT.profile(LENGTH), 2, LENGTH)
    sampler = sampler_of(reveal="bernoulli")
    evaluator = Evaluator(SHORT, LENGTH, sampler, quality.order_kl_metric(SHORT), None)
    flat = flat_of_profile(evaluator, replace(chooser(profile), sampler=sampler), Beta(1.0, 0.8), STEPS)
    assert flat is not None and flat.inside.shape == (16, 16)
    most = ancestral_nelbo(profile.curve, alpha_grid(Beta(1.0, 0.8), STEPS))
    for row, column in [(0, 0), (8, 8), (9, 6), (10, 5), (15, 15), (11, 9)]:
        alphas = alpha_grid(Beta(float(flat.grid.a[row]), float(flat.grid.b[column])), STEPS)
        assert flat.inside[row, column] == (ancestral_nelbo(profile.curve, alphas) <= most)
    assert 0 < flat.share < 0.5


def trials() -> list[Trial]:
    source = np.random.default_rng(2)
    pairs = np.exp(source.uniform(-1, 1, (14, 2))).tolist()
    return [
        Trial(
            number=number,
            policy=Beta(a, b),
            key=(a, b),
            value=np.log(a) ** 2 + np.log(b) ** 2 + 0.05 * source.normal(),
            fresh=True,
            cost=Cost(),
            dropped=number == 3,
            examples=8 if number == 3 else 64,
        )
        for number, (a, b) in enumerate(pairs)
    ]


@pytest.mark.parametrize("winner", [Beta(1.1, 0.9), Linear(), Sine()])
def test_trials_leave_what_their_process_does_not_put_above_the_winner(winner: Schedule) -> None:
    tried, evaluator = trials(), Given.by(lambda setting, use, examples: np.zeros(len(examples)))
    flat = flat_of_trials(evaluator, tried, winner, SPACE)
    assert flat is not None and flat.source == "trials"
    full = [trial for trial in tried if not trial.dropped]
    best = min(full, key=lambda trial: trial.value).policy
    reference = {"linear": (0.5, 0.5), "sine": (best.a, best.b)}.get(winner.name, (1.1, 0.9))
    assert flat.reference == reference and flat.of_winner == (winner.name != "sine")
    box = ((0.2, 2.0), (0.25, 4.0))
    surface = surface_of(
        tuple(Tried(each.policy.a, each.policy.b, each.value, each.examples) for each in tried), box, False
    )
    assert surface is not None
    place = np.log(np.array([[*reference], [AXES[0][7], AXES[1][30]]]) / [0.2, 0.25]) / np.log([10.0, 16.0])
    difference, deviation = surface.difference(place[1:], place[0])
    assert flat.inside[7, 30] == (-difference[0] + 1.96 * deviation[0] >= 0)
    assert 0 < flat.share < 1 and flat.inside.mean() == pytest.approx(flat.share)


def test_too_few_trials_leave_nothing_to_say() -> None:
    evaluator = Given.by(lambda setting, use, examples: np.zeros(len(examples)))
    assert flat_of_trials(evaluator, trials()[:3], Linear(), SPACE) is None
