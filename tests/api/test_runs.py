"""The commands as functions: their results are those of the command line, and they print nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdm_tune.api.runs import evaluate, export, profile, sample, search
from mdm_tune.commands.events import ModelLoaded, SettingScored
from mdm_tune.config.file import Config
from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.run.measuring import measure_profile
from mdm_tune.schedules.curves import Beta, SquaredSine
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


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("run")
    return load(folder, whole(**SECTIONS), output=str(folder / "run"))


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (search, [{"model": 1}], {}, "config must be a Config or the path of a YAML file, got a mapping"),
        (search, ["none.yaml"], {}, "cannot read none.yaml"),
        (search, [], {"resume": True, "overwrite": True}, "resume goes on with a search and overwrite replaces it"),
        (search, [], {"devices": 3}, "devices must be a text such as 'cuda:0,cuda:1', got 3"),
        (search, [], {"devices": "tpu"}, "devices must be cpu, .* got 'tpu'"),
        (search, [], {"on_event": 3}, "on_event must be a function of one event, got 3"),
        (search, [], {"trust_code": "no"}, "trust_code must be True or False, got 'no'"),
        (search, [], {"run_generated_code": "yes"}, "run_generated_code must be True, False or 'unsafe', got 'yes'"),
        (profile, [], {"steps": 8}, "steps must be a list of numbers, got 8"),
        (profile, [], {"steps": ["8"]}, "steps must be a whole number of at least 1, got '8'"),
        (evaluate, [], {"schedules": "linear"}, "schedules must be a list of names, got 'linear'"),
        (evaluate, [], {"schedules": 3}, "schedules must be a list of names, got 3"),
        (evaluate, [], {"schedules": [3]}, "by its name or by its file, got 3"),
        (evaluate, [], {"steps": [True]}, "steps must be a whole number of at least 1, got true"),
        (evaluate, [], {"steps": [70_000]}, "steps must be from 1 to 65536, .* got 70000"),
        (sample, [], {"schedule": 3}, "by its name or by its file, got 3"),
        (sample, [], {"steps": "2"}, "steps must be a whole number of at least 1, got '2'"),
        (sample, [], {"number": 0}, "number must be a whole number of at least 1, got 0"),
        (sample, [], {"number": 2.5}, "number must be a whole number of at least 1, got 2.5"),
        (sample, [], {"number": 10**6}, "number must be at most 100,000"),
        (export, ["linear"], {"to": 3}, "to must be the name of a format, got 3"),
        (export, [3], {"to": "json"}, "by its name or by its file, got 3"),
        (export, ["linear"], {"to": "json", "length": 8, "steps": 0}, "steps must be a whole number of at least 1"),
        (export, ["linear"], {"to": "json", "length": "8"}, "length must be a whole number of at least 1, got '8'"),
    ],
)
def test_wrong_arguments_are_named(
    config: Config, function: Any, arguments: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        function(*(arguments or [config]), **options)


def test_schedules_are_given_as_objects_names_or_files(config: Config, tmp_path: Path) -> None:
    entry = "{steps: 2, schedule: squared-sine, counts: [4, 4], alphas: null}"
    record = f"format: mdm-tune-schedule-1\nlength: 8\nbudgets: [{entry}]"
    (tmp_path / "tuned.yaml").write_text(record, "utf-8")
    scored = evaluate(config, [Beta(1, 1), "squared-sine", tmp_path / "tuned.yaml"], np.array([2]))
    assert len({row.estimate.value for row in scored.rows}) == 1 and scored.rows[0].schedule == "beta:1.0,1.0"
    assert sample(config, SquaredSine(), np.int64(2), number=1).schedule == "squared-sine"
    assert export(SquaredSine(), "json", length=8, steps=2, output=tmp_path).schedule == "squared-sine"


def test_every_number_of_the_json_is_an_attribute(config: Config) -> None:
    results = [profile(config, [2]), search(config), evaluate(config, ["linear", "sine"]), sample(config, number=2)]
    for result in results:
        written, held = (
            {round(number, 3) for number in numbers}  # seconds are rounded
            for numbers in (numbers_of_json(result.to_json()), numbers_of_attributes(result))
        )
        assert written <= held


def numbers_of_json(value: Any) -> set[float]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return set().union(*map(numbers_of_json, inner))
    return {value} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def numbers_of_attributes(value: Any, deepest: int = 10) -> set[float]:
    """The numbers in the public attributes of a record, in its properties and in those of what it holds."""
    if is_dataclass(value):
        held = [getattr(value, name) for name in dir(value) if not name.startswith("_")]
    elif isinstance(value, Mapping):
        held = [*value.values()]
    elif isinstance(value, tuple | list):
        held = [*value]
    else:
        return {value} if isinstance(value, int | float) and not isinstance(value, bool) else set()
    inner = (numbers_of_attributes(each, deepest - 1) for each in held if deepest > 0 and not callable(each))
    return set[float]().union(*inner)


def test_rows_of_a_profile_that_do_not_fit_are_refused() -> None:
    start, originals = torch.full((2, 4), 2), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(InputError, match=r"must be \(rows, length\) .* got \(2, 4\), \(2, 3\) and 2"):
        measure_profile(
            MarkovChain.sticky(2, 0.1, 4), start, originals, np.arange(2, dtype=np.uint64), examples=2, points=2
        )
