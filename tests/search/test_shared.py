"""One schedule for all budgets against an enumeration of the box, kills, and paired differences of stored scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from mdm_tune.config.file import SearchConfig
from mdm_tune.core.statistics import estimate
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.pricing import nelbo
from mdm_tune.search.outcomes import Ending
from mdm_tune.search.shared import SharedEvaluator, SharedSearch, search_shared
from mdm_tune.search.space import Guide
from tests.support.helpers import resampled
from tests.support.searches import CHAIN, FIXED, SETTINGS, Dead, Mortal, exact, sampled, scoring

BUDGETS = (4, 8)
SHARED = SETTINGS.model_copy(update={"shared": True, "trials": 9, "finalists": 2, "together": 3})


def search(
    evaluator: Evaluator,
    settings: SearchConfig = SHARED,
    storage: Mortal | None = None,
    guides: Sequence[Guide] = (Guide((Beta(0.75, 0.55),)), Guide((Beta(0.7, 0.5),))),
    seed: int = 0,
) -> SharedSearch:
    with scoring(evaluator, storage) as scores:
        return search_shared(scores, BUDGETS, settings, guides=dict(zip(BUDGETS, guides, strict=True)), seed=seed)


def truth(beta: Beta, steps: int) -> float:
    """The KL over orders, from the profile of the law; one token per step has none."""
    curve = CHAIN.profile(32)
    return nelbo(curve, to_counts(beta, steps, 32)) - float(curve.sum())


def test_the_schedule_is_the_best_of_the_box_by_the_mean_over_the_budgets() -> None:
    """Up to 1 %, as 22 of 24 seeds do."""
    found = search(exact(), SHARED.model_copy(update={"strategy": "gp", "trials": 20, "together": 1}), seed=1)
    axis = np.geomspace(0.2, 2.0, 10)
    best = min(np.mean([truth(Beta(a, b), steps) for steps in BUDGETS]) for a in axis for b in axis)
    schedule = found.mean.policy
    assert isinstance(schedule, Beta)
    values = [truth(schedule, steps) for steps in BUDGETS]
    assert found.mean.winner.estimate.value == pytest.approx(np.mean(values)) and np.mean(values) < 1.01 * best
    for steps, budget, value in zip(BUDGETS, found.budgets, values, strict=True):
        own = [truth(trial.policy, steps) for trial in found.trials]
        assert budget.own.steps == steps and budget.shared.winner.estimate.value == pytest.approx(value)
        assert budget.own.winner.estimate.value == pytest.approx(min(own))
        assert budget.loss.value == pytest.approx(value - min(own)) and budget.loss.exact
        assert budget.shared.gain.value == pytest.approx(truth(Beta(0.5, 0.5), steps) - value)
    assert sum(budget.own.cost.denoiser_rows for budget in found.budgets) == 0


@cache
def whole() -> tuple[SharedSearch, int, int]:
    evaluator, denoiser = sampled()
    storage = Mortal()
    return search(evaluator, storage=storage), denoiser.rows, storage.writes


def outcome(found: SharedSearch) -> list[object]:
    trials = [(trial.policy, trial.value, trial.dropped, trial.cost.denoiser_rows) for trial in found.trials]
    budgets = [
        (
            each.own.policy,
            each.own.winner.estimate,
            each.shared.winner.estimate,
            each.loss,
            each.own.cost.denoiser_rows,
        )
        for each in found.budgets
    ]
    return [found.mean.policy, found.mean.winner.estimate, trials, budgets]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_a_search_that_was_killed_ends_as_if_it_had_not_been(share: float) -> None:
    uninterrupted, _, writes = whole()
    storage = Mortal()
    storage.life = int(share * writes)
    with pytest.raises(Dead):
        search(sampled()[0], storage=storage)
    storage.life = float("inf")
    assert outcome(search(sampled()[0], storage=storage)) == outcome(uninterrupted)


def test_losses_and_gains_are_paired_and_corrected_for_the_budgets() -> None:
    found, rows, _ = whole()
    for budget in found.budgets:
        own, shared, linear = (
            each.values for each in (budget.own.winner, budget.shared.winner, budget.own.baselines["linear"])
        )
        assert own is not None and shared is not None and linear is not None
        assert budget.loss.value == pytest.approx(np.mean(shared - own))  # smaller is better
        assert budget.shared.gain.value == pytest.approx(np.mean(linear - shared))
        if (shared != own).any():
            assert budget.loss.familywise == pytest.approx(estimate(shared - own, 0.975).ci)
        else:
            assert budget.loss.familywise == (0, 0)
    means = [budget.shared.winner.values for budget in found.budgets]
    assert found.mean.winner.values == pytest.approx(np.mean([each for each in means if each is not None], axis=0))
    spent = sum(budget.own.cost.denoiser_rows for budget in found.budgets)
    assert spent == rows
    trials = sum(trial.cost.denoiser_rows for trial in found.trials)
    assert sum(budget.own.tuning.denoiser_rows for budget in found.budgets) == trials < spent


def test_the_own_best_of_a_budget_is_the_best_of_all_trials_that_were_scored_in_full() -> None:
    found, _, _ = whole()
    full = {trial.policy for trial in found.trials if not trial.dropped}
    assert 2 < len(full) < len(found.trials)  # the race drops some
    for budget in found.budgets:
        (study,) = budget.own.studies
        assert {trial.policy for trial in study.trials} == full and budget.own.trials == len(full)
        named = {scores.setting.name for scores in budget.own.chosen_from}
        assert named > {"linear", "squared-sine", "sine"} and len(named) <= 3 + SHARED.finalists


def test_rows_are_limited_for_each_budget() -> None:
    found = search(sampled()[0], SHARED.model_copy(update={"rows": 600, "together": 1, "racing": False}))
    assert found.mean.ended is not None and found.mean.ended.ending is Ending.ROWS
    assert sum(trial.cost.denoiser_rows for trial in found.trials) <= 1200 and 1 < len(found.trials) < 9


def test_prices_of_a_profile_are_averaged_and_need_no_rows() -> None:
    evaluator, denoiser = sampled(order="random")
    guides = [Guide(price=lambda setting, steps=steps: steps + float(setting.counts[0])) for steps in BUDGETS]  # type: ignore[misc]
    found = search(evaluator, guides=guides)
    for trial in found.trials:
        counts = [to_counts(trial.policy, steps, 16) for steps in BUDGETS]
        assert trial.value == pytest.approx(
            np.mean([steps + each[0] for steps, each in zip(BUDGETS, counts, strict=True)])
        )
    assert sum(trial.cost.denoiser_rows for trial in found.trials) == 0 < denoiser.rows


@pytest.mark.parametrize("reveal", ["fixed", "bernoulli"])
def test_keys_differ_where_the_sampler_sees_a_difference_at_some_budget(reveal: str) -> None:
    one = Evaluator(CHAIN, 32, resampled(FIXED, reveal=reveal), exact().metric, None)
    evaluator = SharedEvaluator.over(one, BUDGETS)
    first, second = (evaluator.setting(beta, 0) for beta in (Beta(0.5, 0.5), Beta(0.5, 0.6)))
    assert first.key != second.key and first.key == evaluator.setting(Beta(0.5, 0.5), 0).key
    assert first.nfe == pytest.approx(sum(one.setting(Beta(0.5, 0.5), steps).nfe for steps in BUDGETS))
    if reveal == "fixed":
        a, b = np.array([0.5, 0.5, 0.7]), np.array([0.5, 0.6, 3.0])
        assert evaluator.beta_keys(a, b, 0) == {
            evaluator.setting(Beta(*pair), 0).key for pair in zip(a.tolist(), b.tolist(), strict=True)
        }
        assert evaluator.steps_of_blocks(0) == (4, 8)
