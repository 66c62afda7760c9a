"""The maps over (a, b): their box, what they mark, and the profile's prices."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mdm_tune.pages.landscapes import (
    MANY,
    box_of,
    map_of_profile,
    map_of_progress,
    map_of_trials,
    wins_at_edge,
)
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.pages.run_views import CurveView, Progress, RunView
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.pricing import nelbo
from tests.support.search_results import BUDGET, two_budgets

AXIS = np.geomspace(0.1, 10.0, 7)
CONFIG = {"search": {"space": {"a": [0.1, 10.0], "b": [0.1, 10.0]}}, "sampler": {"counts": "one-per-step"}}
CURVE = CurveView(
    length=8,
    block_length=8,
    vocabulary=4,
    exact=False,
    examples=64,
    revealed=(0, 2, 4, 7),
    mean=(1.3, 1.0, 0.9, 0.6),
    low=None,
    high=None,
    pricing=(1.3, 1.15, 1.0, 0.95, 0.9, 0.8, 0.7, 0.6),
)


def hill(a: float, b: float) -> float:
    """A metric with its maximum at (0.5, 1)."""
    return 0.8 - 0.05 * math.log(a / 0.5) ** 2 - 0.02 * math.log(b) ** 2


def made(noise: float = 0.0, **changes: Any) -> RunView:
    source = np.random.default_rng(0)
    trials = [
        {"number": number, "a": float(a), "b": float(b), "block_length": 8, "examples": 64, "fresh": True}
        | {"value": hill(a, b) + noise * source.normal(), "dropped": False, "cut": False}
        for number, (a, b) in enumerate((a, b) for a in AXIS for b in AXIS)
    ]
    budget = {**BUDGET, "schedule": {"type": "beta", "a": 0.5, "b": 1.0}, "trial_points": trials, **changes}
    choose = [{"schedule": label, "value": 0.8, "ci": [0.7, 0.9]} for label in ("linear", "beta:0.5,1.0", "sine")]
    identity = {"config": CONFIG, "fingerprints": {}, "versions": {}}
    record = two_budgets() | {"budgets": [{**budget, "choose": budget["choose"] or choose}]}
    return read_run(RunRecords(name="x", path="x", search=record, identity=identity))


def test_the_map_follows_the_metric_and_marks_what_was_tried() -> None:
    view = made()
    found = map_of_trials(view.budgets[0], replace(view.about, exact=True), Looks(view), 15)
    assert found is not None
    truth = np.array([[hill(a, b) for b in np.asarray(found.b)] for a in np.asarray(found.a)])
    assert np.abs(np.asarray(found.values) - truth).max() < 0.05
    assert len(found.trials) == 49 and found.finalists == [(0.5, 1.0)]
    assert found.winner is not None and (found.winner.a, found.winner.b) == (0.5, 1.0)
    assert {place.name for place in found.named} == {"linear", "squared-sine"}
    assert "trial 1: a 0.1, b 0.1, spelling" in found.trials[0].tip and found.better == "higher"


@pytest.mark.parametrize(
    ("schedule", "winner"),
    [
        ({"type": "linear", "a": None, "b": None}, (0.5, 0.5)),
        ({"type": "squared-sine", "a": None, "b": None}, (1.0, 1.0)),
        ({"type": "sine", "a": None, "b": None}, (AXIS[2], AXIS[3])),  # outside the family: the best trial
    ],
)
def test_a_winner_that_is_hand_made(schedule: dict[str, Any], winner: tuple[float, float]) -> None:
    view = made(schedule=schedule)
    found = map_of_trials(view.budgets[0], view.about, Looks(view), 9)
    assert found is not None and found.winner is not None
    assert (found.winner.a, found.winner.b) == pytest.approx(winner)
    assert winner not in [(place.a, place.b) for place in found.named]
    assert found.winner_name == ("best trial" if schedule["type"] == "sine" else "winner")


def test_a_best_trial_that_is_hand_made_has_its_name() -> None:
    trial = {"number": 0, "a": 0.5, "b": 0.5, "block_length": 8, "examples": 64, "value": 0.8, "dropped": False}
    view = made(schedule={"type": "sine"}, trial_points=[trial])
    found = map_of_trials(view.budgets[0], view.about, Looks(view), 9)
    assert found is not None and found.winner is not None and found.winner.name == "best trial linear Beta(0.5, 0.5)"


def test_a_winner_has_its_place_in_its_name_without_exponents() -> None:
    view = made(schedule={"type": "beta", "a": 120.4, "b": 0.456})
    found = map_of_trials(view.budgets[0], view.about, Looks(view), 9)
    assert found is not None and found.winner is not None and found.winner.name == "winner Beta(120.4, 0.456)"


def test_a_winner_at_the_edge_of_the_map_is_seen() -> None:
    view = made(0.002)
    edge, inner = ((9.9, 1.0), (0.101, 1.0), (1.0, 10.0)), ((0.5, 1.0), (9.0, 9.0))
    for a, b in (*edge, *inner):
        budget = replace(view.budgets[0], a=a, b=b)
        assert wins_at_edge(budget, view.about, Looks(view)) == ((a, b) in edge)
    assert not wins_at_edge(made(schedule={"type": "sine"}).budgets[0], view.about, Looks(view))


def test_few_trials_have_no_colours_and_none_have_no_map() -> None:
    view = made()
    budget = view.budgets[0]
    few = map_of_trials(replace(budget, points=budget.points[:3]), view.about, Looks(view), 9)
    assert few is not None and few.values is None and len(few.trials) == 3
    assert map_of_trials(replace(budget, points=()), view.about, Looks(view), 9) is None


def test_many_trials_are_thinned_but_for_finalists() -> None:
    view = made()
    points = tuple(replace(view.budgets[0].points[24 if n == 290 else 0], number=n) for n in range(300))
    last = replace(points[290], a=0.5, b=1.0)
    found = map_of_trials(
        replace(view.budgets[0], points=(*points[:290], last, *points[291:])), view.about, Looks(view), 9
    )
    assert found is not None and len(found.trials) == MANY and any(trial.a == 0.5 for trial in found.trials)


def test_trials_of_other_block_lengths_are_left_out() -> None:
    view = made()
    points = tuple(replace(point, block_length=4) if point.number % 2 else point for point in view.budgets[0].points)
    found = map_of_trials(replace(view.budgets[0], points=points), view.about, Looks(view), 9)
    assert found is not None and len(found.trials) == 25


def test_the_trials_so_far_have_a_map() -> None:
    view = made()
    progress = Progress(
        stage="",
        done=1,
        total=9,
        updated="",
        steps=(4,),
        current=4,
        best=None,
        points=view.budgets[0].points,
    )
    found = map_of_progress(progress, view.about, Looks(view), 9)
    assert found is not None and len(found.trials) == 49 and found.winner_name == "best trial"
    assert map_of_progress(replace(progress, points=()), view.about, Looks(view), 9) is None


def test_the_box_is_that_of_the_search_or_holds_the_trials() -> None:
    view = made()
    points = view.budgets[0].points
    assert box_of(view.about, points) == ((0.1, 10.0), (0.1, 10.0))
    other = replace(view.about, config={"search": {"space": {"a": [0.2, 1.0], "b": [0.3, 3.0]}}})
    assert box_of(other, points) == ((0.2, 1.0), (0.3, 3.0))
    unknown = replace(view.about, config={"search": {"space": {"a": "odd"}}})
    assert box_of(unknown, [replace(points[0], a=0.01, b=40.0)]) == ((0.01, 10.0), (0.1, 40.0))
    assert box_of(replace(view.about, config={}), ()) == ((0.1, 10.0), (0.1, 10.0))


def test_the_profile_is_priced_as_the_definition_says() -> None:
    view = made()
    budget = view.budgets[0]
    found = map_of_profile(budget, view.about, Looks(view), [CURVE], 6)
    assert found is not None and found.better == "lower"
    values = np.asarray(found.values)
    for row, a in enumerate(np.asarray(found.a)):
        for column, b in enumerate(np.asarray(found.b)):
            counts = to_counts(Beta(float(a), float(b)), 4, 8)
            assert values[row, column] == pytest.approx(nelbo(CURVE.pricing, counts))
    assert found.winner is not None and "least NELBO" in found.winner.name


def test_a_profile_without_its_pricing_curve_is_interpolated() -> None:
    view = made()
    found = map_of_profile(view.budgets[0], view.about, Looks(view), [replace(CURVE, pricing=())], 5)
    assert found is not None
    curve = np.minimum.accumulate(np.interp(np.arange(8), CURVE.revealed, CURVE.mean))
    counts = to_counts(Beta(0.1, 0.1), 4, 8)
    assert np.asarray(found.values)[0, 0] == pytest.approx(nelbo(curve, counts))


def test_no_map_of_a_profile_in_other_blocks_or_with_steps_that_blocks_cannot_share() -> None:
    view = made()
    budget = view.budgets[0]
    assert map_of_profile(budget, view.about, Looks(view), [replace(CURVE, block_length=4)], 5) is None
    blocks = replace(budget, block_length=4, steps=3)
    assert map_of_profile(blocks, view.about, Looks(view), [replace(CURVE, block_length=4)], 5) is None
    assert map_of_profile(budget, view.about, Looks(view), [], 5) is None
