"""The trials of one budget: their order, their values, what is answered from the record, and why they end."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna import load_study
from optuna.storages import InMemoryStorage

from mdm_tune.config.file import SpaceConfig
from mdm_tune.datasets.splits import Use
from mdm_tune.denoisers.analytic import Parity
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics import quality
from mdm_tune.schedules.curves import Beta
from mdm_tune.search import proposals, space, tuning
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.racing import look_sizes
from mdm_tune.search.scoring import race
from mdm_tune.search.space import Guide, given_points
from tests.support.helpers import changed, resampled
from tests.support.searches import FIXED, SETTINGS, SIZES, Given, book, exact, noise, run, sampled, trials_of, tuned

STRATEGIES = pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc", "grid"])


@STRATEGIES
def test_linear_and_squared_sine_are_the_first_two_trials(strategy: str) -> None:
    _, trials = tuned(exact(), changed(SETTINGS, strategy=strategy, trials=4))
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [(t.policy.a, t.policy.b) for t in trials[:2]] == [(0.5, 0.5), (1.0, 1.0)]
    assert trials[0].value == pytest.approx(1.0884, abs=1e-4)
    assert trials[1].value == pytest.approx(1.0244, abs=1e-4)


@STRATEGIES
def test_points_of_a_guide_follow_the_starting_points(strategy: str) -> None:
    guide = Guide((Beta(0.736, 0.430), Beta(20.0, 0.3)))  # the second lies outside the box
    _, trials = tuned(exact(), changed(SETTINGS, strategy=strategy, trials=5), guide=guide)
    schedules = [trial.policy for trial in trials]
    assert len(schedules) == 5
    assert (tuple(schedules[2:4]) == guide.points) == (strategy != "grid")
    assert (guide.points[0] in schedules) == (strategy != "grid")


def test_the_points_of_a_guide_are_those_that_the_search_began_with() -> None:
    """More trials of an earlier budget may have another winner."""
    storage = InMemoryStorage()
    for trials, points in ((3, (Beta(0.7, 0.4), Beta(0.3, 0.3))), (5, (Beta(3.0, 3.0),))):
        found, _ = tuned(exact(), changed(SETTINGS, trials=trials), storage=storage, guide=Guide(points))
    assert [trial.policy for trial in found.trials[2:4]] == [Beta(0.7, 0.4), Beta(0.3, 0.3)]


def test_grid_visits_the_papers_points_once_and_scores_distinct_counts_only() -> None:
    budget, events = run(exact(), changed(SETTINGS, strategy="grid", trials=500), steps=4)
    trials = trials_of(events)
    points = {(t.policy.a, t.policy.b) for t in trials}
    assert len(trials) == len(points) <= 100
    assert {round(10 * a) for a, _ in points} <= set(range(1, 11))
    distinct = {trial.setting.key for trial in trials}
    assert budget.reused == sum(not trial.fresh for trial in trials) == len(trials) - len(distinct)


@pytest.mark.parametrize("together", [1, 4])
def test_counts_that_were_scored_before_cost_nothing(together: int) -> None:
    """Also where one batch proposes the same counts twice."""
    evaluator, denoiser = sampled()
    settings = changed(SETTINGS, strategy="qmc", trials=40, racing=False, together=together)
    found, events = tuned(evaluator, settings, steps=3)
    fresh = [event for event in events if event.fresh]
    values = {event.setting.key: event.value for event in fresh}
    assert len(values) == len(fresh) < len(events)
    assert all(event.value == values[event.setting.key] for event in events)
    assert sum(trial.cost.denoiser_rows for trial in found.trials) == denoiser.rows
    alone, _ = sampled()
    for event in fresh:
        assert event.value == pytest.approx(alone.score(event.setting, "tune").estimate.value, rel=1e-12)


def test_the_search_stops_when_all_reachable_counts_are_scored() -> None:
    law = Parity(3)
    evaluator = Evaluator(law, 3, FIXED, quality.order_kl_metric(law), None)
    budget, events = run(evaluator, changed(SETTINGS, strategy="qmc", trials=400), steps=2)
    assert budget.ended == Ended.of(Ending.EXHAUSTED) and budget.trials < 400
    assert {trial.setting.key for trial in trials_of(events)} == {(1, 2), (2, 1)}


def test_a_starting_point_outside_the_box_is_still_a_trial() -> None:
    settings = changed(SETTINGS, strategy="gp", trials=14, space=SpaceConfig(a=(2.0, 5.0), b=(2.0, 5.0)))
    _, trials = tuned(exact(), settings)
    assert [(t.policy.a, t.policy.b) for t in trials[:2]] == [(0.5, 0.5), (1.0, 1.0)]
    assert all(2 <= t.policy.a <= 5 and 2 <= t.policy.b <= 5 for t in trials[2:])


# Races within a search


def order(evaluator: Evaluator) -> list[int]:
    return [int(name) for name in evaluator.split("tune").shuffled().ids]


@pytest.mark.parametrize("together", [1, 4])
def test_a_lucky_prefix_is_no_win(together: int) -> None:
    """One schedule is perfect on the first eight examples of a race, and worse than any other on all others."""

    def rule(setting: Setting, use: Use, examples: np.ndarray) -> np.ndarray:
        values = 10.0 + (setting.counts or (0,))[0] + 0.5 * noise(setting, use, examples)
        if setting.counts != lucky or use != "tune":
            return values
        return np.where(np.isin(examples, first), 0.0, values + 10.0)

    settings = changed(SETTINGS, strategy="qmc", trials=20, together=together, finalists=3)
    evaluator = Given.by(rule)
    first, lucky = order(evaluator)[:8], evaluator.setting(given_points(settings, 0, 4)[4], 4).counts
    budget, events = run(evaluator, settings, 4)
    tried = next(event for event in trials_of(events) if event.setting.counts == lucky)
    assert tried.dropped is None or tried.dropped > 8  # it passed the first look
    assert tried.value > max(event.best for event in trials_of(events)[1:])
    assert lucky not in [scores.setting.counts for scores in budget.chosen_from]


def test_dropped_trials_are_no_finalists_and_not_the_best() -> None:
    """Candidates that are dropped early, on examples that are easy: their own mean would look better than any."""
    easy = order(Given.by(noise))[:8]

    def rule(setting: Setting, use: Use, examples: np.ndarray) -> np.ndarray:
        hard = np.where(np.isin(examples, easy) & (use == "tune"), -50.0, 0.0)
        return hard + setting.key[0] + setting.key[1] / 3 + 0.1 * noise(setting, use, examples)

    storage = InMemoryStorage()
    settings = changed(SETTINGS, strategy="qmc", trials=16, finalists=16)
    budget, events = run(Given.by(rule), settings, 4, storage)
    entries = book(storage, 4)
    trials = trials_of(events)
    full = {event.setting.key: event.value for event in trials if event.dropped is None}
    dropped = {event.setting.key for event in trials if event.dropped}
    assert len(dropped) > 3 and len(full) > 2
    chosen = {scores.setting.key for scores in budget.chosen_from}
    assert chosen.isdisjoint(dropped - {scores.setting.key for scores in budget.baselines.values()})
    assert set(full) <= chosen
    for number, (_, value, record) in entries.items():
        if record["dropped"]:  # the incumbent of its batch is the best of those before
            before = [entries[n] for n in range(number - (number - 1) % 4) if entries[n][2]["values"]]
            _, lead, its = min(before, key=lambda entry: entry[1])
            own = Given.by(rule).together([setting_of(record["key"])], "tune", record["dropped"])[0][0]
            paired = own - np.array(its["values"])[: record["dropped"]]
            assert value == pytest.approx(lead + paired.mean(), rel=1e-12) and value > lead
            assert own.mean() < value
    bests = [event.best for event in trials]
    assert bests[-1] == min(full.values()) and all(best in full.values() for best in bests)
    for place, event in enumerate(trials):  # a best value is told with the trial that reached it
        assert event.best == min(each.value for each in trials[: place + 1] if each.dropped is None)


def setting_of(key: list[int]) -> Setting:
    return Setting("", len(key), 16, counts=tuple(key))


@pytest.mark.parametrize("racing", [True, False])
def test_points_that_are_asked_together_get_the_values_that_they_get_alone(racing: bool) -> None:
    """A Sobol sequence proposes the same; who is scored on all examples has the same value."""
    settings = changed(SETTINGS, strategy="qmc", trials=14, racing=racing)
    found = {}
    for together in (1, 4):
        evaluator, _ = sampled()
        _, found[together] = tuned(evaluator, changed(settings, together=together), 6)
    one, four = found[1], found[4]
    assert [event.policy for event in one] == [event.policy for event in four]
    both = [(a, b) for a, b in zip(one, four, strict=True) if a.dropped is None and b.dropped is None]
    assert all(a.value == b.value for a, b in both)
    assert len(both) == 14 if not racing else len(both) >= 3
    assert min(event.value for event in one) == min(event.value for event in four)


def test_a_trial_reports_each_look_that_it_survives() -> None:
    storage = InMemoryStorage()
    evaluator = Given.by(
        lambda setting, use, at: max(setting.key) / 4 + noise(setting, use, at), {**SIZES, "tune": 1000}
    )
    _, events = tuned(evaluator, SETTINGS, 8, storage)
    trials = {
        int(trial.user_attrs["task"]): trial for trial in load_study(study_name="run/steps-8", storage=storage).trials
    }
    assert {event.dropped is None for event in events} == {True, False}
    for event in events[1:]:
        told = trials[event.number].intermediate_values
        until = 1000 if event.dropped is None else event.dropped - 1
        assert list(told) == ([look for look in look_sizes(1000) if look <= until] if event.fresh else [])
        assert len(told) <= 32 and all(np.isfinite(list(told.values())))
        if event.fresh and event.dropped is None:
            assert told[1000] == event.value
    assert trials[0].intermediate_values == {}  # there was nobody to race against


@pytest.mark.parametrize("together", [1, 4])
def test_a_sampler_knows_what_else_is_in_its_batch(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    running: dict[range, list[Beta]] = {}

    propose = proposals.BetaSpace.propose

    def spy(space: proposals.BetaSpace, numbers: range, known: Any, runs: Any, *rest: Any, **more: Any) -> Any:
        running[numbers] = list(runs)
        return propose(space, numbers, known, runs, *rest, **more)

    monkeypatch.setattr(proposals.BetaSpace, "propose", spy)
    found, _ = tuned(Given.by(noise), changed(SETTINGS, trials=14, together=together))
    proposed = [trial.policy for trial in found.trials]
    firsts = [0, *range(1, 14, together)]
    for numbers, others in running.items():
        assert others == proposed[max(first for first in firsts if first <= numbers.start) : numbers.start]
    assert [number for numbers in running for number in numbers] == [*range(6, 14)]


def test_batches_are_run_in_their_order_and_written_when_their_scores_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[int] = []

    def count(*arguments: Any, **named: Any) -> Any:
        written.append(len(book(storage)))
        return race(*arguments, **named)

    storage = InMemoryStorage()
    monkeypatch.setattr(tuning, "race", count)
    _, events = tuned(Given.by(noise), SETTINGS, storage=storage)
    assert [event.number for event in events] == list(range(12))
    assert written == [0, 1, 5, 9]


# The ends


def with_any_limit(chance: np.random.Generator) -> tuple[Evaluator, Any, int]:
    """A search of any kind whose rows may not suffice."""
    steps, examples = int(chance.choice([2, 4, 8, 12])), int(chance.choice([8, 20, 40]))
    evaluator, _ = sampled({"tune": examples, "choose": 8, "report": 8}, str(chance.choice(["random", "entropy"])))
    if evaluator.sampler.drawing.order == "random" and chance.random() < 0.4:
        evaluator = replace(evaluator, sampler=resampled(evaluator.sampler, reveal="bernoulli"))
    settings = changed(
        SETTINGS,
        strategy=str(chance.choice(["qmc", "grid", "tpe"])),
        trials=int(chance.integers(2, 15)),
        together=int(chance.choice([1, 2, 4, 8])),
        racing=bool(chance.random() < 0.8),
        rows=int(chance.integers(1, 8 * steps * examples)),
    )
    return evaluator, settings, steps


@pytest.mark.parametrize("seed", range(40))
def test_rows_are_never_more_than_allowed_beyond_the_first_trial(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "SCANS", (12, 12))  # the scan takes longer than all the rest
    evaluator, settings, steps = with_any_limit(np.random.default_rng(seed))
    found, _ = tuned(evaluator, settings, steps, seed=seed)
    rows = [trial.cost.denoiser_rows for trial in found.trials]
    assert sum(rows) == evaluator.denoiser.rows  # type: ignore[attr-defined]
    assert sum(rows) <= max(settings.rows, rows[0])
    if len(found.trials) < settings.trials:
        assert found.ended in (Ended.of(Ending.ROWS, rows=settings.rows), Ended.of(Ending.EXHAUSTED))
    else:
        assert found.ended in (None, Ended.of(Ending.EXHAUSTED))


@pytest.mark.parametrize(("times", "trials"), [(0, 1), (1, 5), (2, 9)])
def test_a_search_without_time_begins_no_batch(times: int, trials: int) -> None:
    """Linear is scored, however late it is. The sampler's batch holds all examples of a batch of candidates."""
    asked: list[float] = []

    def in_time(calls: float, more: float) -> bool:
        asked.append(calls)
        return len(asked) <= times

    found, _ = tuned(Given.by(noise), changed(SETTINGS, racing=False), 8, in_time=in_time)
    assert (len(found.trials), found.ended) == (trials, Ended.of(Ending.TIME))
    assert asked == [4 * 64 * 8] * times + [asked[-1]] and not any(trial.dropped for trial in found.trials)
    asked.clear()
    priced, _ = tuned(exact(), SETTINGS, 8, in_time=in_time)
    assert (len(priced.trials), priced.ended) == (1 + times, Ended.of(Ending.TIME))


@pytest.mark.parametrize("racing", [True, False])
def test_a_batch_is_cut_where_time_runs_out(racing: bool) -> None:
    """The better candidates go on while there is time, and in the end the best one or none, as good as they all are."""
    settings = changed(SETTINGS, strategy="qmc", trials=5, racing=racing)
    linear, part, calls = 64 * 4, 16 * 4, 64 * 4 * 4  # a part: four examples of four candidates
    survivors = []
    for limit in range(0, calls + 1, 16):
        evaluator = Given.by(lambda setting, use, at: 1e-3 * noise(setting, use, at))
        evaluator = replace(evaluator, sampler=resampled(evaluator.sampler, batch=16))

        def in_time(needed: float, more: float, evaluator: Given = evaluator, limit: int = limit) -> bool:
            """The batch begins however little time there is, as if that had gone meanwhile."""
            return evaluator.rows == linear or evaluator.rows - linear + needed <= limit

        found, events = tuned(evaluator, settings, 4, in_time=in_time)
        assert evaluator.rows - linear <= max(limit, part) and len(events) == 5
        survivors.append(sum(event.dropped is None for event in events[1:]))
        finalists = [trial for trial in found.trials if not trial.dropped]
        assert len(finalists) == 1 + survivors[-1]
    assert survivors[0] == 0 and survivors[-1] == 4 and survivors == sorted(survivors)
    assert len(set(survivors)) >= 4


def test_time_for_all_changes_nothing() -> None:
    """Parts of a batch give the values, the races and the rows of the whole."""
    one, events = tuned(Given.by(noise), SETTINGS, 8)
    cut = Given.by(noise)
    cut = replace(cut, sampler=resampled(cut.sampler, batch=8))
    two, others = tuned(cut, SETTINGS, 8, in_time=lambda calls, more: True)
    assert events == others
    assert [trial.cost.denoiser_rows for trial in one.trials] == [trial.cost.denoiser_rows for trial in two.trials]


def test_what_time_cut_is_scored_when_there_is_time_again() -> None:
    """All four of the second batch are cut at once; with another timeout the search goes on until none is left out."""
    storage, evaluator, answers = InMemoryStorage(), Given.by(noise), iter([True])
    evaluator = replace(evaluator, sampler=resampled(evaluator.sampler, batch=8))
    settings = changed(SETTINGS, strategy="qmc", trials=200, timeout=1.0)
    first, _ = tuned(evaluator, settings, 2, storage, in_time=lambda calls, more: next(answers, False))
    cut = {trial.key for trial in first.trials if trial.cut}
    assert cut and first.ended == Ended.of(Ending.TIME)
    assert all(trial.dropped for trial in first.trials if trial.cut)
    again, _ = tuned(Given.by(noise), changed(settings, timeout=None), 2, storage)
    assert again.ended == Ended.of(Ending.EXHAUSTED) and len(again.trials) < 200
    assert again.trials[: len(first.trials)] == first.trials
    assert cut <= {trial.key for trial in again.trials[len(first.trials) :] if trial.fresh}


def test_rows_for_candidates_that_all_are_as_good() -> None:
    """No race drops any, so that the limit has to, at the first look of a batch or at a later one."""
    ends = set()
    for rows in range(300, 3000, 100):
        evaluator = Given.by(lambda setting, use, at: 1e-3 * noise(setting, use, at))
        found, events = tuned(evaluator, changed(SETTINGS, strategy="qmc", trials=60, rows=rows), 4)
        assert evaluator.rows <= rows and found.ended == Ended.of(Ending.ROWS, rows=rows)
        assert rows - evaluator.rows < 4 * (4 * 8 + 56)  # too few for four at a first look and one to the end
        ends |= {event.dropped for event in events if event.dropped}
    assert ends == {8, 16, 32}


@pytest.mark.parametrize(("forwards", "trials"), [(1, 5), (2, 1)])
def test_rows_that_do_not_suffice_with_guidance_begin_no_batch(forwards: int, trials: int) -> None:
    """Four first looks at eight examples and the rest of one, twice each."""
    evaluator = replace(Given.by(noise), denoiser=SimpleNamespace(forwards=forwards))  # type: ignore[arg-type]
    rows = 64 * 4 + (4 * 8 + 56) * 4
    found, _ = tuned(evaluator, changed(SETTINGS, trials=5, rows=rows), 4)
    assert len(found.trials) == trials


def test_rows_for_candidates_that_race_against_nobody() -> None:
    """Without races a batch is scored to the end, so that it begins only where there are rows for all of it."""
    for rows in range(200, 2600, 100):
        evaluator = Given.by(noise)
        found, _ = tuned(evaluator, changed(SETTINGS, racing=False, rows=rows), 4)
        assert evaluator.rows <= max(rows, 64 * 4)
        assert len(found.trials) in (1, 5, 9, 12) and not any(trial.dropped for trial in found.trials)


# An objective that is the same throughout


def test_trials_that_fill_a_batch_up_later_have_their_cost() -> None:
    """All of a batch costs the same here; what was written before it was filled up stays as it was."""
    settings, storage = changed(SETTINGS, racing=False, auto_stop=False), InMemoryStorage()
    tuned(Given.by(noise), changed(settings, trials=4), storage=storage)
    before = {number: record["cost"] for number, (_, _, record) in book(storage).items()}
    tuned(Given.by(noise), changed(settings, trials=6), storage=storage)
    costs = {number: record["cost"] for number, (_, _, record) in book(storage).items()}
    rows = 8 * SIZES["tune"]  # a call each
    assert len(before) == 4 and costs == dict.fromkeys(range(6), (rows, rows * 16)) == {**costs, **before}


@pytest.mark.parametrize("total", [0, 1, 7, 1000])
def test_shares_add_up(total: int) -> None:
    for count in range(1, 9):
        shares = tuning._equal_shares(total, count)
        assert sum(shares) == total and len(shares) == count and max(shares) - min(shares) <= 1
