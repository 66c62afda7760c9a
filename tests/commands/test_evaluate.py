"""The command evaluate: its values, its schedules, and what it says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli import CONFIGS, MARKOV, call


def test_evaluate_gives_the_papers_toy_values(tmp_path: Path) -> None:
    for name, values in (
        ("toy-extremes", {"linear": 0.51935, "squared-sine": 0.49132, "sine": 0.87125}),
        ("toy-middle", {"linear": 0.12433, "squared-sine": 0.13658, "sine": 0.11799}),
    ):
        result = call("evaluate", str(CONFIGS / f"{name}.yaml"), "--json", "--output", str(tmp_path / name))
        record = json.loads(result.stdout)
        found = {row["schedule"]: row["value"] for row in record["rows"]}
        for schedule, value in values.items():
            assert found[schedule] == pytest.approx(value, abs=1e-5)
        pair = next(c for c in record["comparisons"] if (c["first"], c["second"]) == ("linear", "sine"))
        assert pair["difference"] == pytest.approx(values["linear"] - values["sine"], abs=2e-5)
        assert pair["ci"] is None
        assert (tmp_path / name / "evaluate.csv").read_text().startswith("schedule,steps,block_length,counts,alphas")


def test_evaluate_takes_any_schedule_at_the_budgets_it_has(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, record = searched
    result = call(
        *("evaluate", MARKOV, "--output", str(folder), "--json", "--steps", "4", "--steps", "8"),
        *("--schedule", "linear", "--schedule", "counts:3,5,9,15", "--schedule", str(folder / "schedule.yaml")),
    )
    rows = {(row["schedule"], row["steps"]): row["value"] for row in json.loads(result.stdout)["rows"]}
    assert rows["counts:3,5,9,15", 4] == pytest.approx(1.7164, abs=1e-4)
    assert ("counts:3,5,9,15", 8) not in rows
    assert rows[str(folder / "schedule.yaml"), 8] == pytest.approx(record["budgets"][1]["value"])


def test_evaluate_includes_the_runs_own_schedule(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    rows = json.loads(call("evaluate", MARKOV, "--output", str(folder), "--json").stdout)["rows"]
    assert str(folder / "schedule.yaml") in {row["schedule"] for row in rows}


def test_a_folder_without_a_search_is_said_before_anything_is_paid_for(
    searched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = searched
    note = "note: no tuned schedule is compared, since"
    remedy = "to include one, give the folder of a search: --schedule linear --schedule FOLDER"
    new = ("evaluate", MARKOV, "--steps", "8", "--output", str(tmp_path / "run"))
    lines = call(*new).stderr.split("\n")
    (place,) = (number for number, line in enumerate(lines) if note in line)
    assert lines[place].endswith(remedy) and str(tmp_path / "run") in lines[place]
    assert place < next(number for number, line in enumerate(lines) if "1/4" in line)
    rows = json.loads(call(*new, "--schedule", "linear", "--schedule", str(folder), "--json").stdout)["rows"]
    assert {row["schedule"] for row in rows} == {"linear", str(folder)}
    for silent in (call(*new, "--schedule", "linear"), call("evaluate", MARKOV, "--output", str(folder))):
        assert silent.exit_code == 0 and note not in silent.stderr


def test_the_runs_own_schedule_is_left_out_where_it_has_no_such_budget(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = searched
    result = call("evaluate", MARKOV, "--output", str(folder), "--json", "--steps", "5")
    rows = json.loads(result.stdout)["rows"]
    assert {row["schedule"] for row in rows} == {"linear", "squared-sine", "sine", "maskgit-cosine"}


def test_a_schedule_tuned_for_another_sampler_is_noted(searched: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = searched
    data = ("--set", "objective.metric=path_nll", "--set", "dataset={type: law, tune: 8, choose: 8, report: 8}")
    result = call(
        *("evaluate", MARKOV, "--schedule", str(folder), "--steps", "8", "--output", str(tmp_path / "run")),
        *(*data, "--set", "sampler.order=margin"),
    )
    assert result.exit_code == 0
    assert "was tuned for order random (here margin)" in result.stderr


def test_a_schedule_tuned_for_another_length_is_used_and_said(
    searched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = searched
    for command in (("sample", "--number", "2"), ("evaluate",)):
        name, *more = command
        result = call(
            *(name, MARKOV, "--schedule", str(folder), "--steps", "8", "--output", str(tmp_path / name)),
            *("--set", "model.length=40", *more),
        )
        assert result.exit_code == 0, result.stderr
        said = " ".join(result.stderr.split())
        assert "was tuned for 32 tokens, and here there are 40: its curve is cut into counts" in said


def test_a_schedule_with_its_own_budget_needs_no_steps(tmp_path: Path) -> None:
    result = call("sample", MARKOV, "--schedule", "counts:16,16", "--json", "--output", str(tmp_path / "run"))
    assert json.loads(result.stdout)["counts"] == [16, 16]
