"""Why the trials of a budget end early."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.storages import InMemoryStorage

from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import SquaredSine
from mdm_tune.search.events import AllValuesEqual
from mdm_tune.search.outcomes import Ended, Ending
from tests.support.helpers import changed
from tests.support.searches import SETTINGS, Given, exact, noise, run, tuned


def flat(setting: Setting, use: Use, examples: np.ndarray) -> np.ndarray:
    """No schedule is better than another."""
    return noise(setting, use, examples)


def steep(setting: Setting, use: Use, examples: np.ndarray) -> np.ndarray:
    """The best of these counts is found late."""
    return float(np.linalg.norm(np.subtract(setting.counts or (), (1, 2, 5, 8)))) + 0.01 * noise(setting, use, examples)


@pytest.mark.parametrize("constant", [None, 0.0, 3.0])
def test_a_search_that_may_stops_where_nothing_is_to_be_gained(constant: float | None) -> None:
    def rule(setting: Setting, use: Use, examples: np.ndarray) -> np.ndarray:
        """Without noise the same values with every schedule, and not the same on every example."""
        return flat(setting, use, examples) if constant is None else constant + (examples == 0).astype(float)

    settings = changed(SETTINGS, strategy="tpe", trials=40, auto_stop=True)
    found, _ = tuned(Given.by(rule), settings, 4)
    assert 10 <= len(found.trials) < 30 and found.ended == Ended.of(Ending.SETTLED)
    whole, _ = tuned(Given.by(rule), changed(settings, auto_stop=False), 4)
    assert len(whole.trials) == 40 and whole.ended is None


def test_a_search_goes_on_while_it_gets_better() -> None:
    found, events = tuned(Given.by(steep), changed(SETTINGS, strategy="tpe", trials=30, auto_stop=True), 4, seed=6)
    assert len(found.trials) == 30 and found.ended is None
    assert events[-1].best < events[9].best - 0.1


def test_what_is_computed_or_priced_stops_by_nothing_but_its_trials() -> None:
    """There is no noise, and no row to save."""
    settings = changed(SETTINGS, strategy="qmc", trials=30, auto_stop=True, rows=1)
    found, _ = tuned(exact(), settings, 8)
    assert len(found.trials) == 30 and found.ended is None


@pytest.mark.parametrize(
    ("value", "direction", "said"),
    [
        (
            0.0,
            "maximize",
            "such an objective tells no schedules apart, the worst there is: look at what mdm-tune sample",
        ),
        (1.0, "maximize", "nothing is left to gain: take fewer steps, or harder examples"),
        (0.0, "minimize", "nothing is left to gain"),
        (0.25, "maximize", "such an objective tells no schedules apart: look at what mdm-tune sample"),
    ],
)
def test_an_objective_that_is_the_same_throughout_ends_the_search(value: float, direction: Any, said: str) -> None:
    evaluator = Given.by(lambda setting, use, examples: np.full(len(examples), value), direction=direction)
    evaluator = replace(evaluator, metric=replace(evaluator.metric, bounds=(0.0, 1.0)))  # type: ignore[type-var]
    budget, events = run(evaluator, SETTINGS)
    assert budget.trials == 5  # linear, and the first batch
    assert budget.ended is not None and budget.ended.ending is Ending.ALL_EQUAL
    assert budget.ended.text.startswith(f"every example scores {value:g} with all 5 schedules that were tried; {said}")
    assert {each.setting.label for each in budget.chosen_from} == {"linear", "squared-sine", "sine"}  # no finalists
    (told,) = [event for event in events if isinstance(event, AllValuesEqual)]
    first = f"Each of the 32 pilot examples scores {value:g} with linear and with squared-sine. "
    best = value == (1.0 if direction == "maximize" else 0.0)
    look = "ook at what mdm-tune sample draws before more is paid for."
    worst = ("This is the worst there is: l" if "worst" in said else "L") + look
    assert told.text == first + ("If the trials do too, nothing is left to gain." if best else worst)


@pytest.mark.parametrize("place", [0, 63])
def test_one_other_value_is_no_reason_to_end(place: int) -> None:
    """In one trial, on one example."""

    def rule(setting: Setting, use: Use, examples: np.ndarray) -> np.ndarray:
        other = use == "tune" and setting.counts == to_counts(SquaredSine(), 8, 16)
        return np.where(other & (examples == place), 1.0, 0.0)

    budget, _ = run(Given.by(rule, direction="maximize"), SETTINGS)
    assert budget.trials == SETTINGS.trials


def test_few_values_that_are_alike_are_no_reason_to_end() -> None:
    """Five schedules on 16 examples are 80 values: one of 27 may well be another."""
    sizes: dict[Use, int] = {"tune": 16, "choose": 16, "report": 16}
    budget, _ = run(
        Given.by(lambda setting, use, examples: np.zeros(len(examples)), sizes), changed(SETTINGS, trials=5)
    )
    assert budget.trials == 5 and budget.ended is None


def test_a_budget_that_ends_early_ends_no_other_budget() -> None:
    """All values are equal at 4 steps, and not at 8 and 2; a resumed search reads again why each budget ended."""

    def rule(setting: Setting, use: Use, examples: np.ndarray) -> np.ndarray:
        return np.zeros(len(examples)) if setting.steps == 4 else noise(setting, use, examples)

    storage, settings = InMemoryStorage(), changed(SETTINGS, strategy="qmc", trials=7)
    for _ in range(2):
        evaluator = Given.by(rule)
        budgets = [run(evaluator, settings, steps, storage)[0] for steps in (8, 4, 2)]
        assert [(each.trials, each.ended and each.ended.ending) for each in budgets] == [
            (7, None),
            (5, Ending.ALL_EQUAL),
            (7, None),
        ]
