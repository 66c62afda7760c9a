"""What a search may take: rows of each phase, a timetable that keeps time to compare, limits that make sense."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mdm_tune import evaluation, tuning
from mdm_tune.build import Run, build
from mdm_tune.cli import app
from mdm_tune.config import load_config
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost
from mdm_tune.limits import Timetable, phase_rows, pilot_rows
from mdm_tune.search import search_budget
from tests.searches import judging

SPLITS = {"tune": 32, "choose": 8, "report": 12}
SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 16, "flip": 0.1},
    "dataset": {"type": "law", **SPLITS},
    "sampler": {"steps": [4, 8], "order": "margin"},
    "objective": {"metric": "path_nll"},
    "search": {"strategy": "qmc", "trials": 30, "finalists": 2, "baselines": ["linear"], "auto_stop": False},
}
COMPARING = {4: (3 * 8 + 2 * 12) * 4, 8: (3 * 8 + 2 * 12) * 8}  # rows of two finalists and linear, then two on report


def built(folder: Path, **sections: Any) -> Run:
    (folder / "c.yaml").write_text(yaml.safe_dump({**SECTIONS, **sections}), encoding="utf-8")
    return build(load_config(folder / "c.yaml", output=str(folder / "run")))


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_rows_of_a_phase_are_counted_beforehand(tmp_path: Path) -> None:
    run = built(tmp_path)
    assert phase_rows(run, "tune", 5, (4, 8)) == 5 * 32 * 12
    assert phase_rows(run, "choose", 3, (8,)) == 3 * 8 * 8
    assert phase_rows(run, "report", 2, (4, 8)) == 2 * 12 * 12  # nothing is drawn, so that there is no reference
    assert pilot_rows(run, (4, 8)) == 2 * 32 * 12
    small = built(tmp_path, dataset={**SECTIONS["dataset"], "tune": 20})
    assert pilot_rows(small, (8,)) == 2 * 20 * 8
    large = built(tmp_path, dataset={**SECTIONS["dataset"], "tune": 100})
    assert pilot_rows(large, (8,)) == 2 * 32 * 8
    exact = built(tmp_path, dataset=None, objective={"metric": "order_kl"}, sampler={"steps": [4]})
    assert phase_rows(exact, "report", 2, (4,)) == pilot_rows(exact, (4,)) == 0
    text = build(
        load_config(
            Path(__file__).parent.parent / "configs" / "text.yaml",
            ["sampler.steps=[4, 32]", "dataset.report=9", "dataset.tune=8", "dataset.choose=8"],
        )
    )
    assert phase_rows(text, "report", 2, (4,)) == 2 * 9 * 4 + 9 * 64  # 4 x 32 steps are more than there are tokens


def row_costs(rows: int) -> Cost:
    """A row takes a hundredth of a second."""
    return Cost(rows, rows * 16, rows / 100)


def test_time_is_kept_for_the_comparisons_of_this_budget_and_those_to_come(tmp_path: Path) -> None:
    clock, run = Clock(), built(tmp_path)
    table = Timetable(run, 100.0, clock)
    costs = [row_costs(rows) for rows in (120, 0, 200, 0, 0, 0)]  # the longest takes two seconds
    for now, place, budgets in ((1000.0, 0, (4, 8)), (1060.0, 1, (8,))):
        clock.now = now
        in_time = table.trials_of(place)
        share = (1100.0 - now - sum(COMPARING[steps] for steps in budgets) / 100) / len(budgets)
        clock.now = now + share - 2.0 - 1e-6
        assert in_time(costs)
        clock.now = now + share - 2.0 + 1e-6
        assert not in_time(costs)


def test_the_first_candidates_may_take_longer_than_linear(tmp_path: Path) -> None:
    """They are two for each of the pilot's, on two and a half times its examples."""
    clock, run = Clock(), built(tmp_path, dataset={**SECTIONS["dataset"], "tune": 80})
    in_time = Timetable(run, 100.0, clock).trials_of(0)
    costs = [row_costs(200), row_costs(0)]
    share = (100.0 - (COMPARING[4] + COMPARING[8]) / 100) / 2
    clock.now = 1000.0 + share - 5 * 2.0 - 1e-6
    assert in_time(costs)
    clock.now = 1000.0 + share - 5 * 2.0 + 1e-6
    assert not in_time(costs) and in_time([*costs, row_costs(0)])


def test_without_a_timeout_there_is_always_time(tmp_path: Path) -> None:
    clock = Clock()
    in_time = Timetable(built(tmp_path), None, clock).trials_of(0)
    clock.now = 1e12
    assert in_time([Cost(50, 800, 1e9)]) and in_time([])


def spent(folder: Path, timeout: float | None, patch: pytest.MonkeyPatch, **search: Any) -> tuple[float, list[Any]]:
    """The seconds of a search in which a row takes one, and its budgets."""
    run, clock = built(folder, search={**SECTIONS["search"], **search}), Clock()
    fill = run.evaluator.fill

    def slow(*arguments: Any, **named: Any) -> Any:
        found = fill(*arguments, **named)
        clock.now += found.denoiser_rows
        return found

    patch.setattr(run.evaluator, "fill", slow)
    for module in (tuning, evaluation):
        patch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    table = Timetable(run, timeout, clock)
    with judging(run.evaluator) as judge:
        budgets = [
            search_budget(judge, steps, run.search, budgets=(4, 8), in_time=table.trials_of(place))
            for place, steps in enumerate((4, 8))
        ]
    return clock.now - 1000.0, budgets


@pytest.mark.parametrize("together", [1, 4])
def test_a_search_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    whole, budgets = spent(tmp_path, None, monkeypatch, together=together)
    assert [budget.trials for budget in budgets] == [30, 30]
    least, _ = spent(tmp_path, 1e-9, monkeypatch, together=together)  # linear is scored, and the comparison made
    before = [1, 1]
    for part in (0.05, 0.4, 0.8):
        timeout = least + part * (whole - least)
        seconds, budgets = spent(tmp_path, timeout, monkeypatch, together=together)
        trials = [budget.trials for budget in budgets]
        assert seconds <= timeout
        assert all(budget.ended == "the time for trials is used up" for budget in budgets if budget.trials < 30)
        assert all(more >= fewer for more, fewer in zip(trials, before, strict=True))
        before = trials
    assert min(before) > 4


LIMITS = [
    *(("rows", value) for value in ("0", "-1", "1.5", "many")),
    *(("timeout", value) for value in ("0", "-5", ".inf", ".nan", "soon")),
    *(("together", value) for value in ("0", "65", "-1")),
    *(("trials", value) for value in ("0", "-1")),
    *(("diversity_loss", value) for value in ("0", "1", "-0.1")),
    *(("margin", value) for value in ("-0.01", "1")),
    *(("name", value) for value in ("a/b", "''", "a b")),
    *(("racing", value) for value in ("1", "maybe")),
    ("auto_stop", "2"),
    ("storage", "study.db"),
]


@pytest.mark.parametrize(("key", "value"), LIMITS)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, key: str, value: str) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    command = ["search", str(tmp_path / "c.yaml"), "--output", str(tmp_path / "run"), "--set", f"search.{key}={value}"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and result.stdout == ""
    assert f"search.{key}: must be" in result.stderr and "; " in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=rf"search\.{key}: must be"):
        load_config(tmp_path / "c.yaml", [f"search.{key}={value}"])


def test_rows_and_seconds_end_a_search_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    command = ["search", str(tmp_path / "c.yaml"), "--json", "--quiet", "--set", "sampler.steps=[4]"]
    for name, limit, why in (
        ("rows", "search.rows=300", "the 300 denoiser rows for trials are used up"),
        ("time", "search.timeout=0.001", "the time for trials is used up"),
    ):
        result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / name), "--set", limit])
        assert result.exit_code == 0, result.output
        (budget,) = json.loads(result.stdout)["budgets"]
        assert budget["ended"] == why and 1 <= budget["trials"] < 30
        assert budget["value"] is not None and not budget["all_reachable_counts_scored"]
