"""The page of a search while it runs, when it is stopped, and when it goes on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mdm_tune.commands import live_page
from mdm_tune.commands.events import BudgetStarted, Progress, RunEvent
from mdm_tune.commands.live_page import LivePage
from mdm_tune.commands.report_reading import view_of_folder
from mdm_tune.commands.search import search
from mdm_tune.config.file import Config, load_config
from mdm_tune.core.errors import RunError
from mdm_tune.evaluation.settings import Setting
from mdm_tune.pages.run_views import State
from mdm_tune.run.folder import RunFolder
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.events import TrialDone
from tests.support.html_pages import problems_of, read_page
from tests.test_cli import TOY


@pytest.fixture(autouse=True)
def pages() -> None:
    """Make whole pages here."""


def config(folder: Path) -> Config:
    overrides = ("search.strategy=tpe", "search.trials=4", "sampler.steps=[2, 3]")
    return load_config(Path(TOY), overrides, output=str(folder))


def run(folder: Path, on_event: Any = lambda event: None, **options: bool) -> dict[str, Any]:
    options = {"resume": False, "overwrite": False} | options
    return search(config(folder), notify=on_event, **options).to_json()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of a search that nothing disturbs."""
    return run(tmp_path_factory.mktemp("runs") / "whole")


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "progress.json").read_text("utf-8"))
    return found


def test_a_running_search_has_a_page_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "EVERY", 0.0)
    monkeypatch.setattr(live_page, "STAGE", 0.0)
    monkeypatch.setattr(live_page, "RARELY", 0.0)
    folder, shares, budgets, texts = tmp_path / "run", [], set(), set()
    told_trials: list[tuple[int, int]] = []

    def look(event: RunEvent) -> None:
        if (folder / "progress.json").exists():
            record = told(folder)
            shares.append(record["done"] / record["total"])
            if isinstance(event, TrialDone):
                told_trials.append((record["current"], len(record["trial_points"])))
            budgets.add(len(record["budgets"]))
            if isinstance(event, BudgetStarted) or (isinstance(event, TrialDone) and event.number == 1):
                text = (folder / "report.html").read_text("utf-8")
                assert problems_of(text) == [] and 'http-equiv="refresh"' in text
                texts.add(read_page(text).text.count("better than linear"))

    result = run(folder, look)
    assert shares == sorted(shares) and 0 <= shares[0] < 0.1 and 0.5 <= shares[-1] <= 1
    assert told_trials == [(steps, number) for steps in (2, 3) for number in range(4)]  # before this one is noted
    assert budgets == {0, 1} and len(texts) > 1  # the first budget is shown while the second one runs
    assert not (folder / "progress.json").exists()
    text = (folder / "report.html").read_text("utf-8")
    assert problems_of(text) == [] and "http-equiv" not in text
    assert {budget["value"] for budget in result["budgets"]} <= read_page(text).numbers


def test_a_search_that_is_stopped_says_so_and_ends_as_one_that_was_not(tmp_path: Path, whole: dict[str, Any]) -> None:
    def stop(event: RunEvent) -> None:
        if isinstance(event, TrialDone) and event.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", stop)
    text = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert told(tmp_path / "run")["state"] == "stopped"
    assert problems_of(text) == [] and "http-equiv" not in text and "was stopped" in text and "--resume" in text
    stopped = run(tmp_path / "run", resume=True)
    assert {**stopped, "seconds": 0, "files": 0} == {**whole, "seconds": 0, "files": 0}
    assert not (tmp_path / "run" / "progress.json").exists()


def test_the_remaining_time_and_the_trials_are_noted(tmp_path: Path) -> None:
    """Trials come from events, so that those of a search in a database are seen too."""
    live, setting = LivePage(RunFolder(tmp_path), lambda event: None), Setting("beta:0.4,0.7", 2, 4, counts=(1, 3))
    live(BudgetStarted(2))
    live(Progress(doing="trial 1", share=0.25, seconds_left=61.5))
    trial = TrialDone(
        number=0, trials=4, policy=Beta(0.4, 0.7), setting=setting, value=math.inf, best=0.5, fresh=True, dropped=3
    )
    live(trial)
    policy: Any = SimpleNamespace()  # a policy without a and b
    live(replace(trial, number=1, policy=policy))
    assert live.seconds_left == 61.5
    first, second = live.points
    assert first == {"number": 0, "a": 0.4, "b": 0.7, "block_length": 4, "value": None, "examples": None} | {
        "fresh": True,
        "dropped": True,
        "cut": False,
    }
    assert (second["a"], second["b"]) == (None, None)


def test_a_page_that_fails_does_not_touch_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, Any]
) -> None:

    def fail(*arguments: object) -> None:
        raise ZeroDivisionError

    for name in ("RunDescription", "detailed_budget", "write_page"):
        monkeypatch.setattr(live_page, name, fail)
    found = run(tmp_path / "run")
    assert {**found, "seconds": 0, "files": 0} == {**whole, "seconds": 0, "files": 0}


def test_a_killed_search_counts_as_stopped(tmp_path: Path, whole: dict[str, Any]) -> None:
    journal = Path(whole["files"]["run"]) / "study.journal"
    (tmp_path / "study.journal").write_bytes(journal.read_bytes())
    record = {"state": "running", "stage": "trial 1", "done": 1, "total": 9, "started": "", "updated": "", "steps": [4]}
    (tmp_path / "progress.json").write_text(json.dumps(record), encoding="utf-8")
    assert view_of_folder(str(tmp_path)).state is State.STOPPED  # its driver has left


def test_nothing_is_written_after_another_process_took_over(tmp_path: Path) -> None:
    events: list[RunEvent] = []

    def taken() -> None:
        raise RunError("taken over")

    live = LivePage(RunFolder(tmp_path), events.append)
    live.began, live.run, live.check = "now", object(), taken  # type: ignore[assignment]
    live(BudgetStarted(4))
    live.__exit__(RunError, RunError("taken over"), None)
    assert [*tmp_path.iterdir()] == [] and events == [BudgetStarted(4)]


def test_a_finished_search_without_its_page_gets_one(whole: dict[str, Any]) -> None:
    folder = Path(whole["files"]["run"])
    before = (folder / "search.json").read_bytes()
    (folder / "report.html").unlink()
    assert run(folder, resume=True) == whole and problems_of((folder / "report.html").read_text("utf-8")) == []
    (folder / "report.html").write_text("kept", encoding="utf-8")
    assert run(folder, resume=True) == whole and (folder / "report.html").read_text("utf-8") == "kept"
    assert (folder / "search.json").read_bytes() == before
