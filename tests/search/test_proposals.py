"""What is proposed: given points first, then samplers on what is finished, the same for the same trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
from mdm_tune.search.proposals import BetaSpace, GaussianProcess
from mdm_tune.search.space import START
from tests.support.helpers import changed
from tests.support.searches import SETTINGS

BEST = np.array([math.log(2.0), math.log(0.3)])


def settings(strategy: str, trials: int = 12, **changes: object) -> SearchConfig:
    return changed(SETTINGS, strategy=strategy, trials=trials, **changes)


def propose(
    strategy: str,
    number: int,
    known: Sequence[tuple[Beta, float]],
    running: Sequence[Beta] = (),
    *,
    count: int = 1,
    direction: Any = "minimize",
    exact: bool = False,
    steps: int = 8,
    seed: int = 0,
) -> list[Any]:
    """The proposals of a space of schedules for trials from a number on."""
    space = BetaSpace(settings(strategy), steps, seed)
    return space.propose(range(number, number + count), known, running, direction, exact=exact)


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
        (beta,) = propose(strategy, at, known, direction=direction, exact=True)
        assert beta in settings(strategy).space
        known.append((beta, sign * value(beta)))
        near.append(value(beta))
    assert np.median(near) < np.median([found for _, found in finished(20)]) / 2


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_a_proposal_follows_from_seed_number_and_trials_alone(strategy: str) -> None:
    def ask(number: int = 9, steps: int = 8, running: Sequence[Beta] = (), sign: int = 1, seed: int = 0) -> Beta:
        known = [(beta, sign * found) for beta, found in finished(9)]
        (found,) = propose(strategy, number, known, running, steps=steps, seed=seed)
        return found

    first = ask()
    assert ask() == first
    assert first not in [ask(number=10), ask(steps=9), ask(seed=1), ask(sign=-1), ask(running=[first])]


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_candidates_that_are_asked_together_keep_apart(strategy: str) -> None:
    """What runs is known to the sampler, so that four asked at once are four places."""
    points = np.log([(beta.a, beta.b) for beta in propose(strategy, 20, finished(20), count=4)])
    gaps = [np.linalg.norm(points[i] - points[j]) for i in range(4) for j in range(i)]
    assert min(gaps) > 0.01


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_the_first_of_a_batch_are_those_of_a_smaller_batch(strategy: str) -> None:
    """So a search with more trials continues one whose last batch was smaller."""
    four = propose(strategy, 20, finished(20), [Beta(4.0, 0.2)], count=4)
    assert len({*four}) == 4
    assert propose(strategy, 20, finished(20), [Beta(4.0, 0.2)], count=2) == four[:2]


def test_a_place_that_is_proposed_again_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The covariance of a point with itself is singular, which would end the search."""
    seen: list[list[Beta]] = []

    def corner(self: object, study: optuna.Study, *arguments: object) -> dict[str, float]:
        running = study.get_trials(states=[TrialState.RUNNING])
        seen.append([Beta(**trial.params) for trial in running if trial.params])
        return {"a": 0.1, "b": 10.0}

    monkeypatch.setattr(GPSampler, "sample_relative", corner)
    first, other = Beta(4.0, 0.2), Beta(0.1, 10.0)
    assert propose("gp", 20, finished(20), [first, first], count=3) == [other, other, other]
    assert seen == [[first], [first, other], [first, other]]


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_points_outside_the_box_are_no_trouble_to_the_samplers(strategy: str) -> None:
    chosen = settings(strategy, space=SpaceConfig(a=(2.0, 5.0), b=(2.0, 5.0)))
    assert not any(beta in chosen.space for beta in START)
    running = [Beta(20.0, 0.3), Beta(3.0, 3.0)]
    assert (
        BetaSpace(chosen, 8, 0).propose(range(7, 8), finished(7), running, "minimize", exact=False)[0] in chosen.space
    )


@pytest.mark.parametrize(("strategy", "kind"), [("gp", GPSampler), ("tpe", TPESampler)])
def test_the_strategy_names_the_sampler(strategy: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[type] = []
    sample = kind.sample_relative

    def noted(self: object, *arguments: object) -> object:
        used.append(kind)
        return sample(self, *arguments)

    monkeypatch.setattr(kind, "sample_relative", noted)
    propose(strategy, 9, finished(9), exact=True)
    assert used == [kind]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_without_a_search_of_its_own_the_sampler_is_that_of_optuna(
    monkeypatch: pytest.MonkeyPatch, direction: Direction
) -> None:
    """To the last digit, also with trials that run, and also for several."""
    monkeypatch.delattr(GaussianProcess, "_optimize_acqf")
    running = [Beta(0.3, 3.0), Beta(4.0, 0.2)]
    found = propose("gp", 12, finished(12), running, count=3, direction=direction)
    ranges = {name: FloatDistribution(0.1, 10.0, log=True) for name in ("a", "b")}
    study = optuna.create_study(direction=direction, sampler=GPSampler(seed=derive_seed(0, "sampler", 8, 12) % 2**32))
    study.add_trials([create_trial(value=each, params=vars(beta), distributions=ranges) for beta, each in finished(12)])
    state = TrialState.RUNNING
    study.add_trials([create_trial(state=state, params=vars(beta), distributions=ranges) for beta in running])
    assert [vars(beta) for beta in found] == [study.ask(ranges).params for _ in range(3)]


@pytest.mark.parametrize("exact", [False, True])
def test_a_proposal_is_as_good_by_the_acquisition_function_as_that_of_optuna(
    monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    """Its values are logarithms. Optuna finds its point by gradients."""
    found: list[tuple[float, float]] = []
    own = GaussianProcess._optimize_acqf

    def both(self: GaussianProcess, acqf: Any, best_params: Any) -> Any:
        points = own(self, acqf, best_params), GPSampler._optimize_acqf(self, acqf, best_params)
        found.append(tuple(float(acqf.eval_acqf_no_grad(each[None])[0]) for each in points))  # type: ignore[arg-type]
        return points[0]

    monkeypatch.setattr(GaussianProcess, "_optimize_acqf", both)
    for count in (8, 30):
        propose("gp", count, finished(count), count=3, exact=exact)
    assert len(found) == 6, "Optuna calls the method by another name"
    assert all(ours > theirs - 0.01 for ours, theirs in found)
