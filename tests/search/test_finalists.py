"""Who meets on the choose split, and who of them wins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.curves import Beta, Linear
from tests.search.test_confirmation import BASELINES, A, B, Bench, C, Metric


def test_a_dropped_trial_is_never_a_finalist() -> None:
    bench = Bench({A.name: 1.0, B.name: 2.0, C.name: 3.0})
    trials = [
        bench.trial(0, A, 0.1, dropped=True),
        bench.trial(1, B, 0.2),
        bench.trial(2, C, 0.3, dropped=True, cut=True),
    ]
    budget = bench.confirm(trials, finalists=3)
    assert bench.asked[0][1] == ["linear", "squared-sine", B.name]
    assert (budget.trials, budget.dropped, budget.cut) == (3, 1, 1)
    assert bench.confirm(trials[:1]).policy in BASELINES.values()


def test_finalists_are_told_apart_by_tune_and_choose_together() -> None:
    """Of 64 examples each: B is better on choose, A by more on tune, so that A is better in the mean of both."""
    values = {"linear": 9.0, A.name: 2.2, B.name: 2.0}
    bench = Bench(values)
    trials = [bench.trial(0, A, 1.0), bench.trial(1, B, 1.4)]
    assert bench.confirm(trials).policy == A
    assert Bench(values).confirm([bench.trial(0, A, 1.0), bench.trial(1, B, 1.1)]).policy == B
    assert Bench(values, Metric("maximize")).confirm([bench.trial(0, A, 1.0), bench.trial(1, B, 1.4)]).policy != A
    priced = {A.name: 2.2, B.name: 2.0}

    def price(setting: Setting) -> Scores:
        found = np.full(32, priced.get(setting.label, 9.0))
        return Scores(
            setting=setting,
            estimate=Estimate(float(found[0]), None),
            nfe=setting.nfe,
            cost=Cost(),
            use="choose",
            values=found,
        )

    assert bench.confirm(trials, choose=price).policy == A  # both profiles have as many examples


def test_a_finalist_must_be_better_than_a_baseline_on_choose_alone() -> None:
    """On tune it was selected among many, and linear was not."""
    bench = Bench({"linear": 2.0, A.name: 2.2})
    assert bench.confirm([bench.trial(0, A, 0.1)]).policy == Linear()


def test_a_larger_value_wins_where_that_is_better() -> None:
    bench = Bench({"linear": 1.0, "squared-sine": 1.0, A.name: 2.0, B.name: 3.0}, Metric("maximize"))
    budget = bench.confirm([bench.trial(0, A, 0.1), bench.trial(1, B, 0.2)], finalists=1)
    assert bench.asked[0][1][2:] == [B.name] and budget.policy == B
    assert budget.gain.value == pytest.approx(2.0, abs=0.01)


def test_a_name_wins_over_an_equal_trial_and_is_no_finalist_itself() -> None:
    bench = Bench(dict.fromkeys(("linear", "squared-sine", A.name), 1.0), exact=True)
    budget = bench.confirm([bench.trial(0, Beta(0.5, 0.5), 1.0), bench.trial(1, A, 1.0)])
    assert bench.asked[0][1] == ["linear", "squared-sine", A.name]
    assert budget.policy == Linear() and not budget.beats_linear and budget.detectable is None


def test_of_trials_with_equal_counts_the_one_nearest_to_a_hand_made_schedule_is_taken() -> None:
    """The sampler cannot tell them apart, so nothing but the name of the winner depends on it."""
    near = Beta(0.9, 0.95)  # squared-sine is (1, 1)
    values = {"linear": 9.0, "squared-sine": 9.0, A.name: 2.0, near.name: 2.0}
    bench = Bench(values)
    first = bench.trial(0, A, 1.0)
    trials = [first, bench.trial(1, B, 8.0), replace(bench.trial(2, near, 1.0), key=first.key, fresh=False)]
    assert bench.confirm(trials).policy == near
    assert bench.confirm([first, trials[1], replace(trials[2], key=(1.0,))]).policy == A
