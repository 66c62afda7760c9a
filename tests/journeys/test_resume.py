"""A search that is stopped after any of its writes and goes on ends like one that was not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna import create_study
from optuna.storages import BaseStorage, InMemoryStorage

from mdm_tune.config.file import SearchConfig
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.schedules.curves import Beta
from mdm_tune.search import tuning
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.space import Guide, reachable_counts
from mdm_tune.search.storage import open_storage
from tests.support.helpers import changed
from tests.support.searches import SETTINGS, Dead, Given, Mortal, book, exact, noise, run, sampled, tuned

SIZES: Any = {"tune": 40, "choose": 8, "report": 12}
SMALL = changed(SETTINGS, trials=11, finalists=2, baselines=("linear", "sine"))
WARM = Guide((Beta(0.736, 0.430),))

Run = Callable[[BaseStorage], Any]  # a search on a storage; returns all of its outcome but seconds


@pytest.fixture(autouse=True)
def scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts a box can reach is always the same, and takes longer than all the rest here."""
    known: dict[str, Any] = {}

    def scan(evaluator: Evaluator, steps: int, search: Any) -> Any:
        place = f"{evaluator.sampler} {steps} {search}"
        if place not in known:
            known[place] = tuning_scan(given(), steps, search)
        return known[place]

    monkeypatch.setattr(tuning, "reachable_counts", scan)


tuning_scan = reachable_counts


def given() -> Evaluator:
    """A problem with much noise: races drop some candidates early, some late, and keep some."""
    return Given.by(lambda setting, use, examples: max(setting.key) / 4 + noise(setting, use, examples), SIZES)


def trials(settings: SearchConfig, evaluator: Callable[[], Evaluator] = given) -> Run:
    """The trials of a budget, with what the events told of those that this process ran."""

    def tune(storage: BaseStorage) -> Any:
        found, _ = tuned(evaluator(), settings, storage=storage, guide=WARM)
        return (
            [replace(trial, cost=replace(trial.cost, seconds=0.0)) for trial in found.trials],
            found.ended,
            book(storage),
        )

    return tune


def whole(settings: SearchConfig, evaluator: Callable[[], Evaluator] = given) -> Run:
    """A budget from its pilot to its report."""
    return lambda storage: outcome(run(evaluator(), settings, storage=storage, guide=WARM)[0])


def outcome(budget: Budget) -> tuple[Any, ...]:
    scores = [budget.winner, *budget.baselines.values(), *budget.chosen_from]
    values = [None if each.values is None else each.values.tolist() for each in scores]
    return (
        [(budget.policy, each.setting, each.estimate, each.nfe, its) for each, its in zip(scores, values, strict=True)],
        (budget.trials, budget.reused, budget.dropped, budget.ended, budget.gain, budget.detectable),
        (budget.cost.denoiser_rows, budget.cost.denoiser_tokens),
    )


def stopped_everywhere(search: Run, killed: bool = True, first: int = 0, every: int = 1) -> tuple[Any, int]:
    """Stop after each number of writes, go on, and compare with the quiet run; returns that and how many it took."""
    quiet = Mortal()
    expected = search(quiet)
    for writes in range(first, quiet.writes, every):
        storage = Mortal(killed)
        storage.life = writes
        with pytest.raises(Dead):
            search(storage)
        storage.life = float("inf")
        assert search(storage) == expected, f"stopped after {writes} of {quiet.writes} writes"
    return expected, quiet.writes


@pytest.mark.parametrize("rows", [None, 1000])
@pytest.mark.parametrize(
    ("strategy", "together", "every"), [("qmc", 4, 1), ("tpe", 4, 1), ("tpe", 1, 2), ("grid", 3, 2)]
)
def test_killed_after_any_write(strategy: str, together: int, every: int, rows: int | None) -> None:
    search = trials(changed(SMALL, strategy=strategy, together=together, rows=rows))
    (found, ended, _), writes = stopped_everywhere(search, every=every)
    assert len(found) == 11 and {trial.dropped for trial in found} == {True, False} if rows is None else len(found) < 11
    assert ended == (None if rows is None else Ended.of(Ending.ROWS, rows=rows))
    assert writes > len(found)


def test_interrupted_after_any_write() -> None:
    """The trials that an interrupted process had finished stay."""
    stopped_everywhere(trials(changed(SMALL, strategy="tpe")), killed=False, every=2)


def test_killed_after_any_write_of_the_comparison() -> None:
    """From the last trial on."""
    settings = changed(SMALL, strategy="qmc")
    quiet = Mortal()
    trials(settings)(quiet)
    _, writes = stopped_everywhere(whole(settings), first=quiet.writes)
    assert writes > quiet.writes + 5  # a finalist and two baselines are chosen from, two are reported


@pytest.mark.parametrize("evaluator", [exact, lambda: sampled(SIZES)[0]], ids=["exact", "measured"])
def test_killed_with_real_values(evaluator: Callable[[], Evaluator]) -> None:
    search = whole(changed(SMALL, strategy="tpe"), evaluator)
    stopped_everywhere(search, first=3, every=23)


def test_killed_with_a_gaussian_process_that_may_end_the_trials() -> None:
    search = trials(changed(SMALL, strategy="gp", trials=16, auto_stop=True))
    stopped_everywhere(search, first=25, every=30)


def test_trials_of_others_in_the_study_change_nothing() -> None:
    """Such as one that was put there by hand and that nobody has asked for."""
    quiet, storage = InMemoryStorage(), InMemoryStorage()
    search = trials(changed(SMALL, strategy="tpe"))
    study = create_study(storage=storage, study_name="run/steps-8", direction="minimize")
    study.enqueue_trial({"a": 0.5, "b": 0.5})
    study.tell(study.ask(), 0.0)
    study.enqueue_trial({"a": 2.0, "b": 0.5})
    assert search(storage) == search(quiet)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_journal_with_a_torn_last_line_goes_on(tmp_path: Path, cut: int) -> None:
    settings, path = changed(SMALL, strategy="tpe"), tmp_path / "study.journal"
    run(given(), changed(settings, trials=5), storage=open_storage(path))
    path.write_bytes(path.read_bytes()[:-cut])
    resumed, _ = run(given(), settings, storage=open_storage(path))
    quiet, _ = run(given(), settings)
    assert outcome(resumed) == outcome(quiet)


@pytest.mark.parametrize("together", [1, 4])
def test_more_trials_go_on_from_fewer(together: int) -> None:
    """Where a batch was cut short by the number of trials, its missing ones follow."""
    settings, storage = changed(SMALL, strategy="tpe", together=together), InMemoryStorage()
    for count in (1, 3, 7, 8, 11):
        found = trials(changed(settings, trials=count))(storage)
        assert [trial.number for trial in found[0]] == list(range(count))
    if together == 1:
        assert found == trials(settings)(InMemoryStorage())
