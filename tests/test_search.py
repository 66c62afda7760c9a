"""The search on exact laws whose optimum is known, its record, its stops, and that a stopped search goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from mdm_tune import metrics
from mdm_tune.confirmation import Budget, Comparing
from mdm_tune.datasets import law_dataset
from mdm_tune.denoisers.analytic import MarkovChain, Parity, Table
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Evaluator, Sampler, Scores, Setting
from mdm_tune.pricing import optima
from mdm_tune.schedules import Beta, Counts, Linear
from mdm_tune.search import Event, Guide, SearchSettings, Strategy, TrialDone, journal, search_budget

CHAIN = MarkovChain.sticky(2, 0.05, 32)
SETTINGS = SearchSettings("tpe", 12, (0.1, 10.0), (0.1, 10.0), 4, ("linear", "squared-sine", "sine"), 0)
FIXED = Sampler("random", False, 1.0, "one-per-step", 256)


def chain_evaluator() -> Evaluator:
    return Evaluator(CHAIN, 32, FIXED, metrics.order_kl(CHAIN), None)


def run(folder: Path, evaluator: Evaluator, settings: SearchSettings, steps: int = 8) -> tuple[Budget, list[Event]]:
    events: list[Event] = []
    return search_budget(evaluator, steps, settings, journal(folder / "study.journal"), events.append), events


@pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc", "grid"])
def test_linear_and_squared_sine_are_the_first_two_trials(tmp_path: Path, strategy: Strategy) -> None:
    _, events = run(tmp_path, chain_evaluator(), replace(SETTINGS, strategy=strategy, trials=4))
    trials = [event for event in events if isinstance(event, TrialDone)]
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [(t.schedule.a, t.schedule.b) for t in trials[:2]] == [(0.5, 0.5), (1.0, 1.0)]
    assert trials[0].value == pytest.approx(1.0884, abs=1e-4)
    assert trials[1].value == pytest.approx(1.0244, abs=1e-4)


def test_gp_search_reaches_the_optimum_of_the_markov_chain(tmp_path: Path) -> None:
    budget, _ = run(tmp_path, chain_evaluator(), replace(SETTINGS, strategy="gp", trials=40))
    assert budget.winner.estimate.value <= 0.63
    best = metrics.order_kl(CHAIN).fixed(optima(CHAIN.profile(), 8).counts(8))
    assert budget.winner.estimate.value >= best - 1e-12
    assert budget.beats_linear and budget.winner.estimate.ci is None


def test_grid_visits_the_papers_points_once_and_scores_distinct_counts_only(tmp_path: Path) -> None:
    evaluator = chain_evaluator()
    budget, events = run(tmp_path, evaluator, replace(SETTINGS, strategy="grid", trials=500), steps=4)
    trials = [event for event in events if isinstance(event, TrialDone)]
    points = {(t.schedule.a, t.schedule.b) for t in trials}
    assert len(trials) == len(points) <= 100
    assert {round(10 * a) for a, _ in points} <= set(range(1, 11))
    distinct = {trial.setting.key for trial in trials}
    assert budget.reused == sum(not trial.fresh for trial in trials) == len(trials) - len(distinct)


def test_the_search_stops_when_all_reachable_counts_are_scored(tmp_path: Path) -> None:
    law = Parity(3)
    evaluator = Evaluator(law, 3, FIXED, metrics.order_kl(law), None)
    budget, events = run(tmp_path, evaluator, replace(SETTINGS, strategy="qmc", trials=400), steps=2)
    assert budget.exhausted and budget.trials < 400
    keys = {event.setting.key for event in events if isinstance(event, TrialDone)}
    assert keys == {(1, 2), (2, 1)}


def test_a_starting_point_outside_the_box_is_still_a_trial(tmp_path: Path) -> None:
    _, events = run(
        tmp_path, chain_evaluator(), replace(SETTINGS, strategy="gp", trials=14, space_a=(2.0, 5.0), space_b=(2.0, 5.0))
    )
    trials = [event for event in events if isinstance(event, TrialDone)]
    assert [(t.schedule.a, t.schedule.b) for t in trials[:2]] == [(0.5, 0.5), (1.0, 1.0)]
    assert all(2 <= t.schedule.a <= 5 and 2 <= t.schedule.b <= 5 for t in trials[2:])


class Stopped(Exception):
    pass


@pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc"])
@pytest.mark.parametrize("after", [1, 5])
def test_a_search_stopped_in_the_middle_of_a_trial_ends_like_an_uninterrupted_one(
    tmp_path: Path, strategy: Strategy, after: int
) -> None:
    settings = replace(SETTINGS, strategy=strategy)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole, whole_events = run(tmp_path / "whole", chain_evaluator(), settings)

    class Failing(Evaluator):
        """Dies while a trial is running, as a killed process does: the trial stays open in the storage."""

        left = after

        def score(self, setting: Setting, use: str) -> Scores:  # type: ignore[override]
            self.left -= 1
            if self.left < 0:
                raise Stopped
            return super().score(setting, use)  # type: ignore[arg-type]

    with pytest.raises(Stopped):
        run(tmp_path / "cut", Failing(CHAIN, 32, FIXED, metrics.order_kl(CHAIN), None), settings)
    resumed, events = run(tmp_path / "cut", chain_evaluator(), settings)
    tail = [event for event in events if isinstance(event, TrialDone)]
    expected = [event for event in whole_events if isinstance(event, TrialDone)][-len(tail) :]
    assert [(e.number, e.schedule, e.value) for e in tail] == [(e.number, e.schedule, e.value) for e in expected]
    assert resumed.winner == whole.winner
    assert resumed.trials == whole.trials


def test_a_proposal_that_was_enqueued_and_never_asked_for_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole, _ = run(tmp_path / "whole", chain_evaluator(), SETTINGS)
    study = optuna.create_study(storage=journal(tmp_path / "cut" / "study.journal"), study_name="steps-8")
    study.enqueue_trial({"a": 0.5, "b": 0.5})
    resumed, _ = run(tmp_path / "cut", chain_evaluator(), SETTINGS)
    assert (resumed.winner, resumed.trials) == (whole.winner, whole.trials)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_journal_with_a_torn_last_line_goes_on(tmp_path: Path, cut: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole, _ = run(tmp_path / "whole", chain_evaluator(), SETTINGS)
    run(tmp_path / "cut", chain_evaluator(), replace(SETTINGS, trials=5))
    path = tmp_path / "cut" / "study.journal"
    path.write_bytes(path.read_bytes()[:-cut])
    resumed, _ = run(tmp_path / "cut", chain_evaluator(), SETTINGS)
    assert (resumed.winner, resumed.trials) == (whole.winner, whole.trials)


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("no journal\nnor this\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"study\.journal is damaged .* start again with --overwrite"):
        journal(tmp_path / "study.journal")


@pytest.fixture(scope="module")
def sampled() -> Iterator[tuple[Budget, list[Event], Evaluator]]:
    """A search with a sampled objective: path_nll on a Markov chain."""
    import tempfile

    law = MarkovChain.sticky(2, 0.1, 16)
    dataset = law_dataset(law, {"tune": 64, "choose": 64, "report": 128}, root=0)
    sampler = Sampler("entropy", False, 1.0, "one-per-step", 256)
    evaluator = Evaluator(law, 16, sampler, metrics.PathLikelihood("path_nll", "entropy"), dataset)
    with tempfile.TemporaryDirectory() as folder:
        yield (*run(Path(folder), evaluator, SETTINGS, steps=4), evaluator)


def test_finalists_and_baselines_meet_on_choose_and_the_winner_is_reported_on_report(
    sampled: tuple[Budget, list[Event], Evaluator],
) -> None:
    budget, events, _ = sampled
    compared = [event for event in events if isinstance(event, Comparing)]
    assert {event.use for event in compared} == {"choose", "report"}
    compared_on_choose = budget.chosen_from
    assert [scores.setting.label for scores in compared_on_choose[:3]] == ["linear", "squared-sine", "sine"]
    assert len(compared_on_choose) == len({scores.setting.key for scores in compared_on_choose}) == 3 + 4
    best = min(compared_on_choose, key=lambda scores: scores.estimate.value)
    assert budget.schedule.name == best.setting.label
    assert budget.winner.use == "report" and budget.winner.count == 128
    assert set(budget.baselines) == {"linear", "squared-sine", "sine"}


def test_the_gain_is_the_paired_difference_to_linear_and_positive_is_better(
    sampled: tuple[Budget, list[Event], Evaluator],
) -> None:
    budget, _, _ = sampled
    linear, winner = budget.baselines["linear"].values, budget.winner.values
    assert linear is not None and winner is not None
    assert budget.gain.value == pytest.approx(float((linear - winner).mean()))
    assert budget.gain.ci is not None
    assert budget.beats_linear == (budget.gain.ci[0] > 0)


def test_the_cost_is_what_the_trials_and_the_comparison_took(
    sampled: tuple[Budget, list[Event], Evaluator],
) -> None:
    budget, _, evaluator = sampled
    scored = sum(scores.cost.denoiser_rows for scores in evaluator.record.values())
    assert budget.cost.denoiser_rows == scored


def test_a_problem_without_a_gain_says_so(tmp_path: Path) -> None:
    """Independent positions: every schedule has the same value, so linear keeps its name and nothing is claimed."""
    law = Table(("aa", "ab", "ba", "bb"), (1.0, 1.0, 1.0, 1.0))
    evaluator = Evaluator(law, 2, FIXED, metrics.divergence(law, "kl", "random", 1.0), None)
    budget, _ = run(tmp_path, evaluator, SETTINGS, steps=1)
    assert not budget.beats_linear
    assert budget.schedule.name == "linear"
    assert budget.gain.value == pytest.approx(0.0, abs=1e-12)


class Alike(metrics.PathLikelihood):
    """Every schedule but linear is poor in diversity, on the splits named in ``poor``."""

    poor: tuple[int, ...] = ()

    def diversity(self, tokens: torch.Tensor) -> dict[str, np.ndarray]:
        return {"token_entropy": np.linspace(0.99, 1.01, 16) - (0.5 if len(tokens) in self.poor else 0.0)}


@pytest.mark.parametrize("poor", [(), (256,)])
def test_a_less_diverse_winner_is_no_win(tmp_path: Path, poor: tuple[int, ...]) -> None:
    law = MarkovChain.sticky(2, 0.05, 32)
    dataset = law_dataset(law, {"tune": 64, "choose": 96, "report": 256}, root=0)
    metric = Alike("nelbo", "random")
    evaluator = Evaluator(law, 32, FIXED, metric, dataset)
    evaluator.score(evaluator.setting(Linear(), 8), "report")  # while everything is diverse
    object.__setattr__(metric, "poor", poor)
    budget, _ = run(tmp_path, evaluator, SETTINGS)
    assert budget.gain.ci is not None and budget.gain.ci[0] > 0
    assert budget.flags == (("token_entropy",) if poor else ())
    assert budget.beats_linear == (not poor)


def test_the_detectable_gain_needs_a_schedule_that_differs_from_linear(tmp_path: Path) -> None:
    law = MarkovChain.sticky(2, 0.1, 8)
    dataset = law_dataset(law, {"tune": 16, "choose": 16, "report": 16}, root=0)
    evaluator = Evaluator(law, 8, FIXED, metrics.PathLikelihood("nelbo", "random"), dataset)
    budget, _ = run(tmp_path, evaluator, SETTINGS, steps=8)
    assert budget.detectable is None and budget.exhausted


def test_the_baseline_optimum_needs_a_guide_that_knows_it(tmp_path: Path) -> None:
    settings = replace(SETTINGS, trials=2, baselines=("linear", "optimum"))
    with pytest.raises(InputError, match="the baseline optimum needs an information profile; leave it out of search"):
        run(tmp_path, chain_evaluator(), settings)
    best = Counts((1, 2, 2, 3, 4, 5, 6, 9))
    storage = journal(tmp_path / "study.journal")
    budget = search_budget(chain_evaluator(), 8, settings, storage, lambda event: None, Guide(optimum=best))
    assert budget.schedule == best and budget.winner.setting.label == "optimum"
    assert budget.baselines["optimum"].estimate.value == pytest.approx(0.6218, abs=1e-4)
    assert budget.beats_linear


@pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc", "grid"])
def test_points_of_a_guide_follow_the_starting_points(tmp_path: Path, strategy: Strategy) -> None:
    guide = Guide((Beta(0.736, 0.430), Beta(20.0, 0.3)))  # the second lies outside the box
    events: list[Event] = []
    settings = replace(SETTINGS, strategy=strategy, trials=5)
    search_budget(chain_evaluator(), 8, settings, journal(tmp_path / "study.journal"), events.append, guide)
    schedules = [event.schedule for event in events if isinstance(event, TrialDone)]
    assert len(schedules) == 5
    assert (tuple(schedules[2:4]) == guide.points) == (strategy != "grid")
    assert (guide.points[0] in schedules) == (strategy != "grid")


def test_a_price_takes_the_place_of_scoring_on_tune_alone(tmp_path: Path) -> None:
    law = MarkovChain.sticky(2, 0.1, 16)
    dataset = law_dataset(law, {"tune": 16, "choose": 16, "report": 16}, root=0)
    evaluator = Evaluator(law, 16, FIXED, metrics.PathLikelihood("nelbo", "random"), dataset)
    guide = Guide(price=lambda setting: float(setting.counts[0]) if setting.counts else 0.0)
    events: list[Event] = []
    storage = journal(tmp_path / "study.journal")
    budget = search_budget(evaluator, 4, replace(SETTINGS, trials=5), storage, events.append, guide)
    trials = [event for event in events if isinstance(event, TrialDone)]
    assert all(trial.setting.counts and trial.value == trial.setting.counts[0] for trial in trials)
    assert {use for use, _ in evaluator.record} == {"choose", "report"}
    assert budget.cost.denoiser_rows == sum(scores.cost.denoiser_rows for scores in evaluator.record.values())
    assert budget.winner.use == "report"
