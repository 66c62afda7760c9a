"""The page that compares several runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mdm_tune.pages.comparison import compared_headline, comparison_figures, comparison_page, named_runs
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.pages.run_views import RunView
from tests.support.html_pages import problems_of, read_page
from tests.support.search_results import BUDGET, two_budgets

NO_GAIN = {**BUDGET["gain_over_linear"], "ci": [-0.01, 0.07], "ci_familywise": [-0.02, 0.08], "shown": False}


def view(name: str, *budgets: dict[str, Any]) -> RunView:
    record = two_budgets() | {"budgets": list(budgets)}
    return read_run(RunRecords(name=name, path=f"runs/{name}", search=record))


WON = view("won", BUDGET, {**BUDGET, "steps": 8, "nfe": 8})
NONE = view("none", {**BUDGET, "gain_over_linear": NO_GAIN})
OTHER = view("other", {**BUDGET, "metric": "nelbo", "direction": "minimize"})
WAITING = read_run(
    RunRecords(
        name="waiting",
        path="runs/waiting",
        progress={"state": "running", "stage": "x", "done": 1, "total": 4, "steps": [4], "started": "", "updated": ""},
    )
)


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ([WON, NONE], "better than linear in 1 of 2 searches, at one budget or more."),
        ([WON, WON], "better than linear in all of 2 searches, at one budget or more."),
        ([NONE, NONE], "better than linear in none of 2 searches."),
        (
            [WON, WAITING],
            "The tuned schedule is better than linear in the one search of these runs, at one budget or more.",
        ),
        ([NONE, WAITING], "is not shown to be better than linear in the one search"),
        ([WAITING, WAITING], "2 runs, none of which is a finished search."),
    ],
)
def test_the_headline_counts_the_runs_with_a_gain(views: list[RunView], words: str) -> None:
    assert words in compared_headline(named_runs(views))


def test_a_hand_made_winner_is_not_called_tuned() -> None:
    sine = {**BUDGET, "schedule": {"type": "sine", "a": None, "b": None}}
    sine["baselines"] = {**BUDGET["baselines"], "sine": BUDGET["baselines"]["linear"]}
    runs = [view("sine", sine), NONE]
    assert compared_headline(named_runs(runs)).startswith("The chosen schedule is better than linear in 1 of 2")
    text = read_page(comparison_page(runs)).text
    assert "sine: hand-made sine" in text and "he tuned" not in text


def test_names_tell_the_runs_apart() -> None:
    moved = replace(WON, path="elsewhere/won")
    assert [run.name for run in named_runs([WON, moved, NONE])] == ["runs/won", "elsewhere/won", "none"]
    assert [run.name for run in named_runs([WON, WON])] == ["runs/won", "runs/won (2)"]


def test_the_page_shows_the_numbers_of_every_run() -> None:
    text = comparison_page([WON, NONE, OTHER, WAITING])
    page = read_page(text)
    assert problems_of(text) == []
    assert {0.803, 0.76, 0.03} <= page.numbers and "the search is running" in page.text
    assert "no gain is shown" in page.text and "spelling; nelbo; value" in page.text


def test_each_metric_has_figures_of_its_own() -> None:
    assert [*comparison_figures(named_runs([WON, NONE]))] == ["gains", "quality", "schedules"]
    mixed = comparison_figures(named_runs([WON, OTHER]))
    assert [*mixed] == ["gains-1", "quality-1", "gains-2", "quality-2", "schedules"]
    assert comparison_figures(named_runs([WAITING])) == {}
    said = comparison_figures(named_runs([WON, NONE]))["schedules"].description  # one line for each schedule of a run
    assert said.count("won") == 1 and "won, 4 and 8 steps is at" in said and "none, 4 steps is at" in said


def test_many_runs_fit_on_a_page() -> None:
    many = [replace(WON, name=f"run {number}", path=f"runs/{number}") for number in range(60)]
    text = comparison_page(many)
    assert problems_of(text) == [] and read_page(text).text.count(" is better than linear by 0.0") == 60


def test_hostile_names_are_escaped() -> None:
    text = comparison_page([replace(WON, name="<b>&", path='"<i>'), NONE])
    assert problems_of(text) == [] and "<b>&" not in text and "<i>" not in text
