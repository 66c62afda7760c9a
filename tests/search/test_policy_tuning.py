"""Trials of adaptive policies at the calls of linear.

Covers: policies.
Covers: equal_calls.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from optuna.storages import InMemoryStorage
from torch import Tensor

from mdm_tune.config.file import PolicyKind, SearchConfig
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.splits import law_dataset
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.schedules.adaptive_names import AdaptiveName, parse_adaptive
from mdm_tune.schedules.curves import Beta, Linear, parse_schedule
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.equal_calls import linear_calls, rows_of_looking
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.outcomes import Ended, Ending, Outcome
from mdm_tune.search.policies import PlanSpace, allotted, check_policies
from mdm_tune.search.power import Detectable
from mdm_tune.search.tuning import TrialRunner
from tests.support.drawn_metrics import DrawnMetric, surprise
from tests.support.helpers import CountingDenoiser, changed, sampler_of
from tests.support.laws import dirichlet
from tests.support.searches import Dead, Mortal, run, scoring, trials_of

LENGTH, STEPS = 24, 8
LAW = MarkovChain(dirichlet(2, 4, 4), dirichlet(1, 4), LENGTH)
KINDS: tuple[PolicyKind, ...] = ("counts", "threshold", "quota", "entropy-bound", "cap", "klass")
SEARCH = SearchConfig(
    policies=KINDS, strategy="gp", trials=18, finalists=3, baselines=("linear", "squared-sine"), auto_stop=False
)


class Uneven(CountingDenoiser):
    """The law, but surer of later positions, so that confidences have many values."""

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        return super().__call__(tokens, wanted) * (0.5 + wanted.nonzero()[:, 1:] / 12)


def evaluator(order: str = "confidence", block_length: int = LENGTH) -> tuple[Evaluator, CountingDenoiser]:
    denoiser = Uneven(LAW)
    dataset = law_dataset(LAW, {"tune": 96, "choose": 64, "report": 128}, root=0)
    sampler = sampler_of(order, batch=256)
    return Evaluator(denoiser, LENGTH, sampler, surprise(LAW), dataset, block_lengths=(block_length,)), denoiser


@pytest.fixture(scope="module")
def found() -> tuple[Budget, list[Any], Evaluator, int]:
    here, denoiser = evaluator()
    budget, events = run(here, SEARCH, STEPS)
    return budget, events, here, denoiser.rows


def by_kind(budget: Budget) -> dict[str, list[Any]]:
    return {study.kind: list(study.trials) for study in budget.studies}


def test_every_finished_trial_makes_the_calls_of_linear_on_the_tune_split(found: Any) -> None:
    """They are measured again one by one, by another evaluator. The tolerance is the one that the page names."""
    budget = found[0]
    here, _ = evaluator()
    checked = 0
    for kind, trials in by_kind(budget).items():
        for trial in trials:
            if kind == "counts" or trial.dropped:
                continue
            setting = here.setting(trial.policy, STEPS)
            (scores,) = here.measure_each([Measurement(setting, here.split("tune").shuffled())])
            assert scores.values is not None
            assert trial.calls == pytest.approx(scores.nfe)
            assert trial.value == pytest.approx(float(scores.values.mean()))
            assert scores.nfe == pytest.approx(STEPS, rel=0.03), trial.policy.name
            checked += 1
    assert checked >= 5


@pytest.mark.parametrize("kind", ["threshold", "entropy-bound"])
def test_no_value_of_a_scan_comes_much_closer_to_the_budget(found: Any, kind: str) -> None:
    """Brute force over 80 values of the only number of the policy, on all tune examples."""
    (trial,) = by_kind(found[0])[kind]
    here, _ = evaluator()
    split = here.split("tune").shuffled()
    grid = np.linspace(0.2, 1.0, 80) if kind == "threshold" else np.geomspace(1e-2, 8.0, 80)
    plans = [AdaptiveName(f"{kind}:{value:.6g}", kind, float(f"{value:.6g}")) for value in grid]  # type: ignore[arg-type]
    rows = here.fill([here.setting(plan, STEPS) for plan in plans], split.start, split.seeds)
    calls = rows.nfe.view(len(plans), -1).double().mean(1).numpy()
    best = np.abs(calls - STEPS).min()
    assert abs(trial.calls - STEPS) <= max(best + 0.02 * STEPS, 0.01 * STEPS)


def test_the_trials_are_shared_and_named_by_what_can_be_run_again(found: Any) -> None:
    budget = found[0]
    trials = by_kind(budget)
    assert {kind: len(each) for kind, each in trials.items()} == allotted(KINDS, 18)
    assert sum(map(len, trials.values())) == budget.trials == 18
    for kind, each in trials.items():
        for trial in each:
            if kind == "counts":
                assert isinstance(trial.policy, Beta)
                continue
            again = parse_adaptive(trial.policy.name)
            assert again == trial.policy and again.kind == kind and again.value is not None
            if kind in ("quota", "cap"):
                assert again.counts_steps == (2 * STEPS if kind == "quota" else STEPS // 2)
                assert isinstance(parse_schedule(again.schedule or ""), Beta)


def test_what_trials_cost_is_what_the_denoiser_computed(found: Any) -> None:
    budget, _, _, rows = found
    assert budget.cost.denoiser_rows == rows
    adaptive = [trial for kind, each in by_kind(budget).items() if kind != "counts" for trial in each]
    spent = sum(trial.cost.denoiser_rows for trial in adaptive)
    assert spent <= rows_of_looking(96) * 96 * STEPS * len(adaptive)


def test_the_report_has_the_best_of_every_kind_at_the_calls_that_it_made(found: Any) -> None:
    budget = found[0]
    here, _ = evaluator()
    assert [outcome.kind for outcome in budget.policies] == list(KINDS)
    assert budget.claims == len(KINDS)
    (foreseen,) = [event for event in found[1] if isinstance(event, Detectable)]
    assert foreseen.claims == budget.claims  # what the pilot foresees is what the comparison asks for
    for outcome in budget.policies:
        best = outcome.best
        assert best is not None
        scores = here.measure_on(here.setting(best.policy, STEPS), here.split("report"))
        assert scores.values is not None and best.scores.values is not None
        assert scores.values.tolist() == best.scores.values.tolist()
        assert best.calls.ratio == pytest.approx(scores.nfe / STEPS)
        linear = here.score(here.setting(parse_schedule("linear"), STEPS), "report").values
        assert linear is not None
        assert best.gain.value == pytest.approx(float((linear - scores.values).mean()))
    bests = [outcome.best for outcome in budget.policies if outcome.best is not None]
    assert budget.policy in [best.policy for best in bests] or max(best.gain.value for best in bests) < 0.05


def test_a_gain_at_more_calls_is_no_gain_at_equal_cost(found: Any) -> None:
    budget = found[0]
    shown = replace(budget.gain, shown=True)
    equal = replace(budget, gain=shown, loser=None, winner=replace(budget.winner, nfe=1.01 * STEPS))
    more = replace(equal, winner=replace(budget.winner, nfe=1.03 * STEPS))
    assert equal.outcome is Outcome.BETTER and equal.beats_linear and "more-calls" not in equal.flags
    assert more.outcome is Outcome.MORE_CALLS and not more.beats_linear and "more-calls" in more.flags


def test_a_killed_search_goes_on_as_if_it_had_not_been_killed(found: Any) -> None:
    """It is killed after each of some writes; the trials, their values and calls are those of the whole search."""
    small = changed(SEARCH, trials=8, policies=("threshold", "quota"))
    whole, _ = run(evaluator()[0], small, STEPS)
    told = [[(t.policy, t.value, t.calls, t.key) for t in each.trials] for each in whole.studies]
    storage = Mortal()
    for life in (6, 3, 4):
        storage.life = life
        with pytest.raises(Dead):
            run(evaluator()[0], small, STEPS, storage)
    storage.life = 10**6
    again, _ = run(evaluator()[0], small, STEPS, storage)
    assert [[(t.policy, t.value, t.calls, t.key) for t in each.trials] for each in again.studies] == told
    assert again.winner.setting == whole.winner.setting and again.gain == whole.gain


def test_a_budget_out_of_reach_says_why() -> None:
    """Every token of this law is certain once one is known, so that no threshold makes eight calls."""
    constant = MarkovChain(np.eye(4), np.full(4, 0.25), LENGTH)
    dataset = law_dataset(constant, {"tune": 32, "choose": 32, "report": 32}, root=0)
    here = Evaluator(constant, LENGTH, sampler_of("confidence"), DrawnMetric(lambda result: result.nfe), dataset)
    storage = InMemoryStorage()
    budget, events = run(here, changed(SEARCH, trials=4, policies=("counts", "threshold")), STEPS, storage)
    counts, threshold = budget.policies
    assert threshold.best is None and threshold.trials == 1
    assert threshold.why is not None and "cannot make 8 calls" in threshold.why
    (event,) = [event for event in trials_of(events) if event.unreachable]
    assert event.state == "budget out of reach" and event.value == np.inf
    (entry,) = Ledger(storage, f"run/steps-{STEPS}-threshold").finished().values()
    assert entry.record["unreachable"] == threshold.why
    assert budget.unreachable == (f"{event.policy.name} {threshold.why}",)
    assert budget.dropped == sum(trial.dropped for trial in by_kind(budget)["counts"])  # it is none of these
    assert counts.why is not None or counts.best is not None


@pytest.mark.parametrize(
    ("kinds", "trials", "shares"),
    [
        (("counts",), 25, {"counts": 25}),
        (("counts", "threshold"), 25, {"counts": 24, "threshold": 1}),
        (("threshold", "entropy-bound"), 25, {"threshold": 1, "entropy-bound": 1}),
        (KINDS, 18, {"counts": 4, "threshold": 1, "quota": 4, "entropy-bound": 1, "cap": 4, "klass": 4}),
        (KINDS, 6, dict.fromkeys(KINDS, 1)),
        (("quota", "counts", "klass"), 8, {"quota": 3, "counts": 3, "klass": 2}),
    ],
)
def test_trials_are_shared_equally_by_what_has_something_to_tune(kinds: Any, trials: int, shares: Any) -> None:
    assert allotted(kinds, trials) == shares


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_proposal_is_a_function_of_seed_number_and_trials(kind: PolicyKind) -> None:
    space = PlanSpace(kind=kind, search=changed(SEARCH, trials=12), steps=STEPS, seed=3)
    given = space.given([Beta(0.7, 0.4)])
    assert len(given) == 1 or {plan.value for plan in given} == {None}
    known = [(plan.at(0.5), float(place)) for place, plan in enumerate(given)]
    if not space.ranges:
        return
    (first,) = proposed = space.propose(range(9, 10), known, [], "minimize", exact=False)
    assert proposed == space.propose(range(9, 10), known, [], "minimize", exact=False)
    point = space.point(first)
    assert all(low <= point[name] <= high for name, (low, high) in space.ranges.items())
    assert space.policy_at(point) == first
    trials: Any = [SimpleNamespace(policy=policy, value=value, unreachable=None) for policy, value in known]
    trials.append(SimpleNamespace(policy=given[0].at(0.9), value=np.inf, unreachable="cannot make 8 calls"))
    metric = SimpleNamespace(direction="minimize")
    runner: Any = SimpleNamespace(points=(), space=space, priced=False, evaluator=SimpleNamespace(metric=metric))
    # A policy that cannot reach the budget teaches nothing.
    assert TrialRunner.propose(runner, range(9, 10), trials) == {9: first}


def test_policies_that_cannot_be_run_are_refused_before_anything_is_paid_for() -> None:
    here, denoiser = evaluator(block_length=6)
    with pytest.raises(InputError, match="cap at 4 steps has counts of 2 steps: 2 steps are fewer than the 4 blocks"):
        check_policies(here, changed(SEARCH, policies=("cap",)), [4])  # 2 steps for 4 blocks
    assert denoiser.rows == 0
    assert torch.get_num_threads() >= 1


def test_an_evaluator_builds_the_counts_of_a_quota_at_the_steps_of_its_name() -> None:
    here, _ = evaluator()
    for name, steps in (("quota:linear#16@0.9", 16), ("quota:linear@0.9", 8)):
        plan = parse_adaptive(name)
        assert plan is not None
        setting = here.setting(plan, STEPS)
        assert setting.base == here.setting(parse_schedule("linear"), steps)
        assert setting.counts is None and setting.nfe == STEPS
    keys = {here.setting(plan, STEPS).key for plan in map(parse_adaptive, ("threshold:0.5", "threshold:0.6")) if plan}
    assert len(keys) == 2 and len(list(itertools.chain(*keys))) == 6


@pytest.mark.parametrize("stops", [False, True])
def test_the_calls_to_meet_are_those_that_linear_makes(stops: bool) -> None:
    """With answers that end early they are fewer than the steps, and are measured once."""
    here, denoiser = evaluator()
    section = here.sampler.section.model_copy(update={"stop_at_end": stops})
    here = replace(here, sampler=Sampler(section, end_tokens=(3,)))
    with scoring(here) as scores:
        target, cost = linear_calls(scores, here, STEPS)
        rows = denoiser.rows
        again, _ = linear_calls(scores, here, STEPS)
        assert denoiser.rows == rows == cost.denoiser_rows and (rows > 0) == stops
    split = here.split("tune").shuffled()
    filled = here.fill([here.setting(Linear(), STEPS)], split.start, split.seeds)
    for examples in (1, 16, 96):
        assert target(examples) == again(examples) == pytest.approx(float(filled.nfe[:examples].double().mean()))
    assert (target(96) < STEPS) == stops


def test_kinds_that_end_for_different_reasons_say_so_in_words_that_are_read_again() -> None:
    settings = changed(SEARCH, policies=("counts", "threshold", "quota"), trials=11, rows=6000, racing=False)
    budget, _ = run(evaluator()[0], settings, STEPS)
    assert budget.ended is not None and budget.ended.ending is Ending.BY_KIND
    assert budget.ended.text.startswith("trials of counts: ") and "trials of quota: " in budget.ended.text
    assert Ended.from_json(budget.ended.to_json()) == budget.ended
