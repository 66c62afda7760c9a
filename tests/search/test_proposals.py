"""What is proposed: given points first, then samplers on what is finished, the same for the same trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import GPSampler, TPESampler
from optuna.trial import TrialState, create_trial

from mdm_tune.config.file import SearchConfig, SpaceConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.types import Direction
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.space import START
from tests.support.helpers import changed
from tests.support.searches import SETTINGS

BEST = np.array([math.log(2.0), math.log(0.3)])


def settings(strategy: str, trials: int = 12, **changes: object) -> SearchConfig:
    return changed(SETTINGS, strategy=strategy, trials=trials, **changes)


def value(schedule: Beta) -> float:
    """Best at Beta(2, 0.3), and worse with the distance on a log scale."""
    return float(np.sum((np.log([schedule.a, schedule.b]) - BEST) ** 2))


def finished(count: int) -> list[tuple[Beta, float]]:
    """Trials as a search makes them: the starting points, then all over the box."""
    draw = np.exp(np.random.default_rng(0).uniform(math.log(0.1), math.log(10), (count, 2))).tolist()
    return [(beta, value(beta)) for beta in (*START, *(Beta(a, b) for a, b in draw))][:count]


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_samplers_close_in_on_the_best_trials_in_either_direction(strategy: str, direction: str) -> None:
    sign = 1 if direction == "minimize" else -1
    known = [(beta, sign * found) for beta, found in finished(20)]
    number = len(known)
    near = []
    for at in range(number, number + 5):
        beta = BetaSpace(settings(strategy), 8, 0).propose(at, known, [], direction, exact=True)  # type: ignore[arg-type]
        assert beta in settings(strategy).space
        known.append((beta, sign * value(beta)))
        near.append(value(beta))
    assert np.median(near) < np.median([found for _, found in finished(20)]) / 2


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_a_proposal_follows_from_seed_number_and_trials_alone(strategy: str) -> None:
    def ask(number: int = 9, steps: int = 8, running: Sequence[Beta] = (), sign: int = 1, seed: int = 0) -> Beta:
        known = [(beta, sign * found) for beta, found in finished(9)]
        return BetaSpace(settings(strategy), steps, seed).propose(number, known, running, "minimize", exact=False)

    first = ask()
    assert ask() == first
    assert first not in [ask(number=10), ask(steps=9), ask(seed=1), ask(sign=-1), ask(running=[first])]


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_candidates_that_are_asked_together_keep_apart(strategy: str) -> None:
    """What runs is known to the sampler, so that four asked at once are four places."""
    running: list[Beta] = []
    for number in range(20, 24):
        found = BetaSpace(settings(strategy), 8, 0).propose(number, finished(20), running, "minimize", exact=False)
        running.append(found)
    points = np.log([(beta.a, beta.b) for beta in running])
    gaps = [np.linalg.norm(points[i] - points[j]) for i in range(4) for j in range(i)]
    assert min(gaps) > 0.01


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_points_outside_the_box_are_no_trouble_to_the_samplers(strategy: str) -> None:
    chosen = settings(strategy, space=SpaceConfig(a=(2.0, 5.0), b=(2.0, 5.0)))
    assert not any(beta in chosen.space for beta in START)
    found = BetaSpace(chosen, 8, 0).propose(7, finished(7), [Beta(20.0, 0.3), Beta(3.0, 3.0)], "minimize", exact=False)
    assert found in chosen.space


@pytest.mark.parametrize(("strategy", "kind"), [("gp", GPSampler), ("tpe", TPESampler)])
def test_the_strategy_names_the_sampler(strategy: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    sample = kind.sample_relative

    def noted(self: object, *arguments: object) -> object:
        used.append(type(self).__name__)
        return sample(self, *arguments)

    monkeypatch.setattr(kind, "sample_relative", noted)
    BetaSpace(settings(strategy), 8, 0).propose(9, finished(9), [], "minimize", exact=True)
    assert used == [kind.__name__]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_proposal_is_that_of_the_sampler_called_by_itself(direction: Direction) -> None:
    """To the last digit, also with trials that run."""
    running = [Beta(0.3, 3.0), Beta(4.0, 0.2)]
    found = BetaSpace(settings("gp"), 8, 0).propose(12, finished(12), running, direction, exact=False)
    ranges = {name: FloatDistribution(0.1, 10.0, log=True) for name in ("a", "b")}
    study = optuna.create_study(direction=direction, sampler=GPSampler(seed=derive_seed(0, "sampler", 8, 12) % 2**32))
    study.add_trials([create_trial(value=each, params=vars(beta), distributions=ranges) for beta, each in finished(12)])
    state = TrialState.RUNNING
    study.add_trials([create_trial(state=state, params=vars(beta), distributions=ranges) for beta in running])
    assert vars(found) == study.ask(ranges).params
