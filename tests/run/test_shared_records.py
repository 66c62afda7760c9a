"""A search for one schedule of all budgets as a command: JSON, schedule file at any number of steps, page, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mdm_tune
from mdm_tune.commands import search as search_run
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError
from mdm_tune.core.plain_yaml import read_yaml_file, yaml_text
from mdm_tune.pages.run_page import Detail, page_of
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.run.build import build
from mdm_tune.run.schedule_names import own_steps, settings_of
from mdm_tune.run.search_records import SearchResult
from mdm_tune.run.shared_records import SharedRecord
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import parse_schedule

CONTENT: dict[str, Any] = {
    "model": {"type": "markov", "length": 16, "flip": 0.1},
    "dataset": {"type": "law", "tune": 16, "choose": 16, "report": 24},
    "sampler": {"order": "entropy", "steps": [2, 4]},
    "objective": {"metric": "path_nll"},
    "search": {"trials": 6, "finalists": 2, "shared": True, "strategy": "qmc", "baselines": ["linear", "sine"]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shared")
    (place / "c.yaml").write_text(yaml_text(CONTENT), encoding="utf-8")
    config = load_config(place / "c.yaml", output=str(place / "run"))
    search_run.search(config, resume=False, overwrite=False, notify=lambda event: None)
    return place


def test_the_result_says_what_the_shared_schedule_loses_at_each_budget(folder: Path) -> None:
    record = json.loads((folder / "run" / "search.json").read_text("utf-8"))
    shared, result = record["shared"], SearchResult.from_json(record)
    assert result.shared == SharedRecord.from_json(shared) and result.shared is not None
    assert [each["steps"] for each in shared["budgets"]] == [2, 4] and shared["trials"] == 6
    assert shared["mean"]["value"] == pytest.approx(sum(each["value"] for each in shared["budgets"]) / 2)
    for each, own in zip(shared["budgets"], record["budgets"], strict=True):
        assert each["own"] == own["schedule"] and each["loss"]["ci_familywise"][0] <= each["loss"]["value"]
        assert each["loss"]["value"] == pytest.approx(each["value"] - own["value"])
        assert each["gain_over_linear"]["value"] == pytest.approx(own["baselines"]["linear"]["value"] - each["value"])
    assert result.shared.schedule.text in shared["text"] and "2 budgets" in shared["text"]
    view = read_run(RunRecords(name="x", path="x", search=record))
    assert shared["text"].split("'")[0] in page_of(view, Detail(landscape=4, pairs=0, characters=0, budgets=1))
    older = SearchResult.from_json({key: value for key, value in record.items() if key != "shared"})
    assert older.shared is None


def test_the_schedule_file_holds_the_shared_schedule_for_any_number_of_steps(folder: Path) -> None:
    file = folder / "run" / "schedule.yaml"
    content: Any = read_yaml_file(file, "schedule file")
    schedule = parse_schedule(content["shared"])
    assert {entry["schedule"] for entry in content["budgets"]} == {content["shared"]}
    loaded = mdm_tune.load_schedule(file)
    assert loaded.shared == schedule and loaded.counts(steps=3) == to_counts(schedule, 3, 16)
    assert loaded.notes(steps=3) == () and own_steps(str(file)) is None
    evaluator = build(load_config(folder / "c.yaml")).evaluator
    found = [setting.counts for setting in settings_of(evaluator, [str(file)], [2, 3, 8])]
    assert found == [to_counts(schedule, steps, 16) for steps in (2, 3, 8)]
    content["budgets"][0]["schedule"] = "beta:3.0,0.2"
    (folder / "other.yaml").write_text(yaml_text(content), encoding="utf-8")
    with pytest.raises(InputError, match="shared is the schedule of every budget"):
        mdm_tune.load_schedule(folder / "other.yaml")


def test_a_finished_search_is_read_again(folder: Path) -> None:
    config = load_config(folder / "c.yaml", output=str(folder / "run"))
    before = (folder / "run" / "search.json").read_text("utf-8")
    again = search_run.search(config, resume=True, overwrite=False, notify=lambda event: None)
    assert json.dumps(again.to_json()) == json.dumps(json.loads(before))


def test_what_one_schedule_for_all_budgets_needs(tmp_path: Path) -> None:
    one = {**CONTENT, "sampler": {**CONTENT["sampler"], "steps": [4]}}
    blocks = {**CONTENT, "sampler": {**CONTENT["sampler"], "block_length": [4, 8]}}
    for content, message in ((one, "needs several of them"), (blocks, "needs one block length")):
        (tmp_path / "c.yaml").write_text(yaml_text(content), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            load_config(tmp_path / "c.yaml")
