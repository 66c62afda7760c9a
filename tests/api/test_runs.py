"""The commands as functions: their results are those of the command line, and they print nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mdm_tune.api.runs import evaluate, export, profile, sample, search
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


def test_profile_is_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, events = load(tmp_path, whole(**SECTIONS), output=str(tmp_path / "run")), list[object]()
    found = profile(config, [2, 4], on_event=events.append)
    assert {ModelLoaded} <= {*map(type, events)} and capsys.readouterr() == ("", "")
    arguments = ["profile", str(tmp_path / "run.yaml"), "--steps", "2", "--steps", "4", "--json"]
    record = json.loads(call(*arguments, "--output", str(tmp_path / "other")).stdout)
    assert found.to_json()["budgets"] == record["budgets"]
    with pytest.raises(InputError, match="must not repeat"):
        profile(config, [2, 2])


def test_export_is_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = export("beta:0.7,1.2", "llada", length=8, steps=4, output=tmp_path / "function")
    assert capsys.readouterr() == ("", "") and sum(map(sum, made.counts_by_block or ())) == 8
    arguments = ["export", "beta:0.7,1.2", "--to", "llada", "--length", "8", "--steps", "4", "--json"]
    record = json.loads(call(*arguments, "--output", str(tmp_path / "command")).stdout)
    assert {*record["files"]} == {*made.files}
    for name, path in made.files.items():
        assert Path(path).read_text("utf-8") == Path(record["files"][name]).read_text("utf-8")
    with pytest.raises(InputError, match="has no code of a peer that could run"):
        export("beta:0.7,1.2", "json", length=8, steps=4, output=tmp_path, verify=tmp_path)


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
