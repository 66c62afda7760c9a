"""What is proposed: given points first, then samplers on what is finished, the same for the same trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from optuna.samplers import GPSampler, TPESampler
from scipy.stats import qmc

from mdm_tune.config.file import SearchConfig, SpaceConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.proposals import propose
from mdm_tune.search.space import START, given_points
from tests.support.helpers import changed
from tests.support.searches import SETTINGS

WARM = (Beta(0.736, 0.430), Beta(20.0, 0.3))  # the second lies outside the box
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


@pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc", "grid"])
def test_linear_and_squared_sine_come_first_then_the_points_of_a_guide(strategy: str) -> None:
    found = given_points(settings(strategy), 0, 8, WARM)
    assert found[:2] == [Beta(0.5, 0.5), Beta(1.0, 1.0)]
    assert (tuple(found[2:4]) == WARM) == (strategy != "grid")
    assert (WARM[0] in found) == (strategy != "grid")
    assert len(found) == {"gp": 6, "tpe": 6, "qmc": 12, "grid": 100}[strategy]


@pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc"])
def test_the_rest_of_the_given_points_is_a_sobol_sequence_in_log_scale(strategy: str) -> None:
    chosen = settings(strategy, space=SpaceConfig(a=(0.5, 4.0), b=(0.1, 10.0)))
    found = given_points(chosen, 0, 8)[2:]
    rng = np.random.default_rng(derive_seed(0, "qmc", 8))
    unit = qmc.Sobol(2, rng=rng).random_base2(5)[: len(found)]
    expected = np.array([0.5, 0.1]) * np.array([8.0, 100.0]) ** unit
    np.testing.assert_allclose([(beta.a, beta.b) for beta in found], expected, rtol=1e-12)
    assert given_points(chosen, 0, 9)[2:] != found != given_points(chosen, 1, 8)[2:]


def test_more_trials_go_on_with_the_sequence() -> None:
    """A search that is resumed with more trials proposes what it would have proposed from the beginning."""
    longest = given_points(settings("qmc", 300), 0, 8, WARM)
    for trials in (1, 4, 5, 7, 8, 33, 299):
        found = given_points(settings("qmc", trials), 0, 8, WARM)
        assert found[: max(trials, 4)] == longest[: max(trials, 4)] and len(found) == max(trials, 4)


def test_a_warm_start_takes_the_place_of_points_that_fill_the_box() -> None:
    many = tuple(Beta(1.0 + i, 1.0) for i in range(1, 8))
    assert given_points(settings("gp"), 0, 8, many) == [*START, *many]
    assert given_points(settings("gp"), 0, 8, many[:3]) == [*START, *many[:3], given_points(settings("gp"), 0, 8)[2]]


def test_a_grid_is_the_papers_in_an_order_of_its_own() -> None:
    found = given_points(settings("grid"), 0, 8)
    tenths = [i / 10 for i in range(1, 11)]
    assert sorted((beta.a, beta.b) for beta in found) == [(a, b) for a in tenths for b in tenths]
    assert found[2:] != sorted(found[2:], key=lambda beta: (beta.a, beta.b))
    assert given_points(settings("grid"), 0, 9) != found
    inside = given_points(settings("grid", space=SpaceConfig(a=(0.65, 2.0), b=(0.1, 0.3))), 0, 8)
    assert {(beta.a, beta.b) for beta in inside[2:]} == {(a, b) for a in tenths[6:] for b in tenths[:3]}


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_samplers_close_in_on_the_best_trials_in_either_direction(strategy: str, direction: str) -> None:
    sign = 1 if direction == "minimize" else -1
    known = [(beta, sign * found) for beta, found in finished(20)]
    number = len(known)
    near = []
    for at in range(number, number + 5):
        beta = propose(settings(strategy), 0, 8, at, known, [], direction, exact=True)  # type: ignore[arg-type]
        assert beta in settings(strategy).space
        known.append((beta, sign * value(beta)))
        near.append(value(beta))
    assert np.median(near) < np.median([found for _, found in finished(20)]) / 2


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_a_proposal_follows_from_seed_number_and_trials_alone(strategy: str) -> None:
    def ask(number: int = 9, steps: int = 8, running: Sequence[Beta] = (), sign: int = 1, seed: int = 0) -> Beta:
        known = [(beta, sign * found) for beta, found in finished(9)]
        return propose(settings(strategy), seed, steps, number, known, running, "minimize", exact=False)

    first = ask()
    assert ask() == first
    assert first not in [ask(number=10), ask(steps=9), ask(seed=1), ask(sign=-1), ask(running=[first])]


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_candidates_that_are_asked_together_keep_apart(strategy: str) -> None:
    """What runs is known to the sampler, so that four asked at once are four places."""
    running: list[Beta] = []
    for number in range(20, 24):
        found = propose(settings(strategy), 0, 8, number, finished(20), running, "minimize", exact=False)
        running.append(found)
    points = np.log([(beta.a, beta.b) for beta in running])
    gaps = [np.linalg.norm(points[i] - points[j]) for i in range(4) for j in range(i)]
    assert min(gaps) > 0.01


@pytest.mark.parametrize("strategy", ["gp", "tpe"])
def test_points_outside_the_box_are_no_trouble_to_the_samplers(strategy: str) -> None:
    chosen = settings(strategy, space=SpaceConfig(a=(2.0, 5.0), b=(2.0, 5.0)))
    assert not any(beta in chosen.space for beta in START)
    found = propose(chosen, 0, 8, 7, finished(7), [Beta(20.0, 0.3), Beta(3.0, 3.0)], "minimize", exact=False)
    assert found in chosen.space


@pytest.mark.parametrize(("strategy", "kind"), [("gp", GPSampler), ("tpe", TPESampler)])
def test_the_strategy_names_the_sampler(strategy: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    sample = kind.sample_relative

    def noted(self: object, *arguments: object) -> object:
        used.append(type(self).__name__)
        return sample(self, *arguments)

    monkeypatch.setattr(kind, "sample_relative", noted)
    propose(settings(strategy), 0, 8, 9, finished(9), [], "minimize", exact=True)
    assert used == [kind.__name__]
