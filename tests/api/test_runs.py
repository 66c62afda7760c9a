"""The commands as functions: their results are those of the command line, and they print nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdm_tune.api.runs import evaluate, sample, search
from mdm_tune.commands.events import ModelLoaded, SettingScored
from mdm_tune.core.errors import InputError
from mdm_tune.search.events import TrialDone
from tests.support.configs import load, whole
from tests.test_cli import call

SECTIONS = {"sampler": {"steps": [2]}, "search": {"trials": 4}}


def test_the_functions_are_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = load(tmp_path, whole(**SECTIONS), output=str(tmp_path / "run"))
    events: list[object] = []
    found = search(config, on_event=events.append)
    assert {ModelLoaded, TrialDone} <= {*map(type, events)}
    drawn = sample(config, number=3)
    scored = evaluate(str(tmp_path / "run.yaml"), ["linear", "sine"], [2, 4], on_event=events.append)
    assert len(scored.rows) == 4 and sum(isinstance(event, SettingScored) for event in events) == 4
    assert capsys.readouterr() == ("", "")
    written = json.loads((tmp_path / "run" / "search.json").read_text("utf-8"))
    assert found.to_json()["budgets"] == written["budgets"]
    arguments = ["sample", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "run"), "--number", "3", "--json"]
    record = json.loads(call(*arguments).stdout)
    assert [list(each.tokens) for each in drawn.samples] == [each["tokens"] for each in record["samples"]]


def test_a_second_search_needs_resume_or_overwrite(tmp_path: Path) -> None:
    config = load(tmp_path, whole(**SECTIONS), output=str(tmp_path / "run"))
    first = search(config)
    with pytest.raises(InputError, match="already holds a search"):
        search(config)
    again, record = search(config, resume=True).to_json(), first.to_json()
    assert again["budgets"] == record["budgets"]


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    config = load(tmp_path, whole(**SECTIONS), output=str(tmp_path / "run"))
    with pytest.raises(InputError, match="config must be a Config or the path of a YAML file, got a mapping"):
        search({"model": 1})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="schedules must be a list of names, got 'linear'"):
        evaluate(config, "linear")
    with pytest.raises(InputError, match="number must be at least 1, got 0"):
        sample(config, number=0)
