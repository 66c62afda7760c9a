"""Several workers at one run: everything is made once, nothing is lost, and all of them end with the same."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation import Cost, Scores
from mdm_tune.schedules import Beta, Linear, SquaredSine
from mdm_tune.search import sharing, tuning
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.ledger import Claim, Ledger, Worker
from mdm_tune.search.proposals import SearchSettings, Strategy, propose
from mdm_tune.search.scoring import InTime
from mdm_tune.search.sealing import sealed
from mdm_tune.search.sharing import Desk, holds_run, remove_run
from mdm_tune.search.storage import open_storage
from mdm_tune.settings import Setting
from tests.searches import SETTINGS, Dead, Given, book, exact, judging, noise, run, tuned

SIZES: dict[Use, int] = {"tune": 40, "choose": 12, "report": 12}
SMALL = replace(SETTINGS, trials=14, finalists=2, baselines=("linear", "sine"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look at each other all the time."""
    monkeypatch.setattr(tuning, "POLL", 0.002)
    monkeypatch.setattr(sharing, "POLL", 0.002)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("database") / "study.db"
    open_storage(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["journal", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path) -> Path | str:
    if request.param == "journal":
        return tmp_path / "study.journal"
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'study.db')}"


def together(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run functions at the same moment in threads of their own; their results, or the first error."""
    barrier = threading.Barrier(len(works), timeout=20)

    def start(work: Callable[[], Any]) -> Any:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [each.result(60) for each in [pool.submit(start, work) for work in works]]


def given() -> Given:
    return Given(lambda setting, use, at: max(setting.key) / 4 + noise(setting, use, at), SIZES)


# Desk


def test_what_is_made_once_is_made_by_one(where: Path | str) -> None:
    made: Counter[str] = Counter()

    def maker(task: str) -> Callable[[], dict[str, Any]]:
        def make() -> dict[str, Any]:
            made[task] += 1
            return {"task": task, "number": made.total()}

        return make

    def work() -> dict[str, Any]:
        storage = open_storage(where)
        with Worker(storage, "run") as worker:
            desk = Desk(storage, "run", worker)
            first = desk.once("alone", maker("alone"))
            found = desk.each({task: maker(task) for task in "abcdef"})
            assert found["a"]["task"] == "a" and desk.once("alone", maker("never")) == first
            return {"alone": first, **found}

    results = together([work] * 3)
    assert results[0] == results[1] == results[2]
    assert made == {"alone": 1, **dict.fromkeys("abcdef", 1)}


def test_what_a_worker_could_not_make_another_makes() -> None:
    storage = InMemoryStorage()

    def fail() -> dict[str, Any]:
        raise Dead

    with Worker(storage, "run") as one, Worker(storage, "run") as two:
        with pytest.raises(Dead):
            Desk(storage, "run", one).once("task", fail)
        assert Desk(storage, "run", two).once("task", lambda: {"by": 2}) == {"by": 2}
        assert Desk(storage, "run", one).once("task", fail) == {"by": 2}


def test_a_worker_waits_for_what_others_are_at() -> None:
    storage = InMemoryStorage()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> dict[str, Any]:
        begun.set()
        assert go_on.wait(20)
        return {"by": "slow"}

    def first() -> Any:
        with Worker(storage, "run") as worker:
            return Desk(storage, "run", worker).each({"x": slow, "y": lambda: {"by": "first"}})

    def second() -> Any:
        assert begun.wait(20)
        with Worker(storage, "run") as worker:
            desk = Desk(storage, "run", worker)
            others = desk.each({"y": lambda: {"by": "second"}, "z": lambda: {"by": "second"}})
            go_on.set()
            return {**others, **desk.each({"x": lambda: {"by": "second"}})}

    one, two = together([first, second])
    assert two == {"x": {"by": "slow"}, "y": {"by": "second"}, "z": {"by": "second"}}
    assert one == {"x": {"by": "slow"}, "y": {"by": "second"}}


def test_runs_of_other_names_are_let_alone() -> None:
    storage = InMemoryStorage()
    for name in ("one", "one.two", "other"):
        with Worker(storage, name) as worker:
            Desk(storage, name, worker).once("x", lambda name=name: {"of": name})  # type: ignore[misc]
    assert holds_run(storage, "one") and not holds_run(storage, "on") and not holds_run(storage, "one/made")
    remove_run(storage, "one")
    assert not holds_run(storage, "one") and holds_run(storage, "one.two") and holds_run(storage, "other")
    assert len(storage.get_all_studies()) == 4
    with Worker(storage, "other") as worker:
        assert Desk(storage, "other", worker).once("x", dict) == {"of": "other"}


# Judge


def same(one: Scores, two: Scores) -> bool:
    assert one.tokens is not None and two.tokens is not None and one.values is not None and two.values is not None
    return (
        (one.setting, one.estimate, one.nfe, one.use) == (two.setting, two.estimate, two.nfe, two.use)
        and np.array_equal(one.values, two.values)
        and one.tokens.tolist() == two.tokens.tolist()
        and one.tokens.dtype == two.tokens.dtype
        and one.diversity.keys() == two.diversity.keys()
        and all(np.array_equal(one.diversity[name], two.diversity[name]) for name in one.diversity)
    )


def test_scores_from_the_storage_are_those_that_were_measured() -> None:
    storage, evaluator = InMemoryStorage(), Given(noise, SIZES, diverse=float, token=lambda setting: len(setting.key))
    settings = [evaluator.setting(curve, 4) for curve in (Linear(), SquaredSine(), Beta(3.0, 0.4))]
    with judging(evaluator, storage) as judge:
        found = judge.score(settings, "report")
    for setting, scores in zip(settings, found, strict=True):
        assert same(scores, evaluator.measure_on(setting, evaluator.split("report")))
        assert scores.cost.denoiser_rows == 12 * 4
    rows = evaluator.rows
    with judging(evaluator, storage) as judge:
        again = judge.score(settings, "report")
        assert all(same(*pair) for pair in zip(found, again, strict=True))
        assert [scores.cost for scores in again] == [scores.cost for scores in found]  # what it took, whoever did it
        assert all(scores.cost == Cost() for scores in judge.score(settings, "report"))  # but once
    assert evaluator.rows == rows


def test_each_setting_is_scored_once_on_each_part_of_a_split() -> None:
    told: list[tuple[str, int]] = []
    evaluator = given()
    linear, other, label = evaluator.setting(Linear(), 4), evaluator.setting(Beta(3.0, 0.4), 4), "again"
    with judging(evaluator) as judge:
        found = judge.score(
            [linear, other, replace(linear, label=label)],
            "choose",
            lambda setting, place: told.append((setting.label, place)),
        )
        assert [scores.setting.label for scores in found] == ["linear", "beta:3.0,0.4", label]
        assert told == [("linear", 0), ("beta:3.0,0.4", 1)]
        assert [scores.cost.denoiser_rows for scores in found] == [48, 48, 0]
        few = judge.score([linear], "choose", examples=5)[0]
        assert few.count == 5 and few.values is not None and found[0].values is not None
        np.testing.assert_array_equal(few.values, found[0].values[:5])
        assert judge.score([linear], "report")[0].cost.denoiser_rows == 48
    assert evaluator.rows == 2 * 48 + 20 + 48


def test_exact_values_need_no_storage() -> None:
    evaluator = exact()
    with judging(evaluator) as judge:
        (found,) = judge.score([evaluator.setting(Linear(), 8)], "report")
        assert found.estimate.value == pytest.approx(1.0884, abs=1e-4)
        assert judge.desk.made.finished() == {}


def test_workers_score_each_setting_once(where: Path | str) -> None:
    measured: Counter[tuple[float, ...]] = Counter()

    class Counted(Given):
        def measure_on(self, setting: Setting, split: Any) -> Scores:
            measured[setting.key] += 1
            return super().measure_on(setting, split)

    def work() -> list[Scores]:
        evaluator = Counted(noise, SIZES)
        settings = [evaluator.setting(Beta(a, 0.5), 4) for a in (0.2, 0.5, 1.0, 2.0, 5.0)]
        with judging(evaluator, open_storage(where)) as judge:
            return judge.score(settings, "choose")

    one, two = together([work] * 2)
    assert all(same(*pair) for pair in zip(one, two, strict=True))
    assert len(measured) == 5 and set(measured.values()) == {1}
    assert [scores.cost for scores in one] == [scores.cost for scores in two]


# A search


def result(budget: Budget) -> tuple[Any, ...]:
    scores = [budget.winner, *budget.baselines.values(), *budget.chosen_from]
    values = [None if each.values is None else each.values.tolist() for each in scores]
    counts = (budget.trials, budget.reused, budget.dropped, budget.ended, budget.gain)
    return budget.schedule, [each.setting for each in scores], values, counts, budget.cost.denoiser_rows


def searched(where: Path | str, settings: SearchSettings, workers: int, **more: Any) -> tuple[list[Budget], Any, int]:
    """The budgets that the workers return, the trials, and the rows of all."""
    evaluators = [given() for _ in range(workers)]

    def work(number: int) -> Callable[[], Budget]:
        return lambda: run(evaluators[number], settings, 6, open_storage(where), **more)[0]

    budgets = together([work(number) for number in range(workers)])
    return budgets, book(open_storage(where), 6), sum(evaluator.rows for evaluator in evaluators)


@pytest.mark.parametrize(
    ("where", "strategy"), [("journal", "qmc"), ("journal", "tpe"), ("sqlite", "tpe")], indirect=["where"]
)
def test_workers_share_a_search(where: Path | str, strategy: Strategy) -> None:
    settings = replace(SMALL, strategy=strategy, together=2)
    budgets, trials, rows = searched(where, settings, 3 if isinstance(where, Path) else 2)
    assert list(trials) == list(range(14))
    assert all(result(budget) == result(budgets[0]) for budget in budgets)
    assert budgets[0].trials == 14 and budgets[0].ended is None
    fresh = [tuple(record["key"]) for _, _, record in trials.values() if record["fresh"]]
    assert {tuple(record["key"]) for _, _, record in trials.values()} == set(fresh)
    assert budgets[0].cost.denoiser_rows == rows
    if strategy == "qmc":  # what is proposed does not depend on who is first, nor does the value of the best
        quiet = book_of(settings)
        assert {n: params for n, (params, _, _) in trials.items()} == {n: params for n, (params, _, _) in quiet.items()}
        assert min(value for _, value, _ in trials.values()) == min(value for _, value, _ in quiet.values())


def book_of(settings: SearchSettings) -> Any:
    storage = InMemoryStorage()
    run(given(), settings, 6, storage)
    return book(storage, 6)


def held_by_another(storage: InMemoryStorage, worker: Worker, task: str) -> Claim:
    claim = Ledger(storage, "run/steps-6", worker).claim(task, {"a": 7.0, "b": 0.7}, SMALL.box)
    assert claim is not None
    return claim


def test_candidates_wait_for_linear_which_they_race_against(monkeypatch: pytest.MonkeyPatch) -> None:
    storage, finished = InMemoryStorage(), []
    with Worker(storage, "run") as other:
        claim = held_by_another(storage, other, "0")

        def sleep(seconds: float) -> None:
            finished.append(book(storage, 6))
            claim.release()

        monkeypatch.setattr(tuning, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
        found, _ = tuned(given(), SMALL, 6, storage)
    assert finished == [{}] and len(found.trials) == 14


def test_a_sampler_knows_what_runs_here_and_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    running: dict[int, list[Beta]] = {}
    storage = InMemoryStorage()
    with Worker(storage, "run") as other:
        claim = held_by_another(storage, other, "9")

        def spy(
            settings: SearchSettings, steps: int, number: int, known: Any, runs: Any, *rest: Any, **more: Any
        ) -> Beta:
            running[number] = list(runs)
            if number == 13:
                claim.release()
            return propose(settings, steps, number, known, running[number], *rest, **more)

        monkeypatch.setattr(tuning, "propose", spy)
        found, _ = tuned(given(), replace(SMALL, together=4), 6, storage)
    proposed = {trial.number: trial.schedule for trial in found.trials}
    elsewhere = Beta(7.0, 0.7)
    assert running[6] == [proposed[5], elsewhere] and running[8] == [proposed[5], proposed[6], proposed[7], elsewhere]
    assert running[13] == [elsewhere] and running[10] == [proposed[9]]


def test_a_worker_gives_back_what_it_claims_while_another_ends_the_trials() -> None:
    """The other has seen then that nobody held a trial, and may have left."""

    class Meanwhile(InMemoryStorage):
        def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
            if template_trial is not None and template_trial.user_attrs["task"] == "6":
                key = f"ended {SMALL.limits}"
                self.set_study_user_attr(study_id, key, sealed(key, "another has found so"))
            return super().create_new_trial(study_id, template_trial)

    found, events = tuned(given(), replace(SMALL, together=4), 6, Meanwhile())
    assert [trial.number for trial in found.trials] == [event.number for event in events] == [*range(5)]
    assert found.ended == "another has found so"


def test_workers_end_together(where: Path | str) -> None:
    """One of them has no more time, while the other would go on: both end with the same trials."""
    batches = iter([True] * 4)
    times: list[InTime] = [lambda calls, more: next(batches, False), lambda calls, more: True]
    settings = replace(SMALL, strategy="tpe", together=1, trials=30)

    def work(number: int) -> Callable[[], Budget]:
        return lambda: run(given(), settings, 6, open_storage(where), in_time=lambda kind: times[number])[0]

    one, two = together([work(0), work(1)])
    assert result(one) == result(two)
    assert one.trials < 30 and one.ended == "the time for trials is used up"
