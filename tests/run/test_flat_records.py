"""The flat part in the results of whole searches, by trials and by a profile: JSON, schedule file, page, terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdm_tune.commands import search as search_run
from mdm_tune.core.plain_yaml import read_yaml_file
from mdm_tune.pages.landscapes import map_of_trials
from mdm_tune.pages.run_looks import Looks
from mdm_tune.pages.run_page import Detail, page_of
from mdm_tune.pages.run_reading import RunRecords, read_run
from mdm_tune.run.flat_records import FlatRecord
from mdm_tune.terminal.tables import verdict
from tests.support.profile_runs import config

BY_TRIALS: dict[str, Any] = {"sampler__order": "entropy", "objective__metric": "path_nll"}


@pytest.mark.parametrize(("changes", "source"), [({}, "profile"), (BY_TRIALS, "trials")])
def test_a_search_says_what_it_cannot_tell_from_the_winner(
    tmp_path: Path, changes: dict[str, Any], source: str
) -> None:
    chosen = config(tmp_path, sampler__steps=[4], search__trials=8, search__auto_stop=False, **changes)
    result = search_run.search(chosen, resume=False, overwrite=False, notify=lambda event: None)
    folder = Path(chosen.output)
    record = json.loads((folder / "search.json").read_text("utf-8"))
    (budget,), flat = result.budgets, record["budgets"][0]["flat"]
    assert flat["source"] == source and flat["than"] in ("winner", "best of the family")
    assert budget.flat is not None and FlatRecord.from_json(flat) == budget.flat
    inside = np.array([[mark == "1" for mark in row] for row in flat["grid"]["inside"]])
    assert flat["share"] == pytest.approx(inside.mean(), abs=1e-4) and 0 < inside.mean() <= 1
    assert flat["grid"]["a"][0] == flat["grid"]["b"][0] == 0.1 and len(flat["grid"]["a"]) == 40
    for name in ("a", "b"):
        axis = np.array(flat["grid"][name])[inside.any(axis=1 if name == "a" else 0)]
        assert flat[name][0] <= axis.min() and axis.max() <= flat[name][1]
    entry: Any = read_yaml_file(folder / "schedule.yaml", "schedule file")
    assert entry["budgets"][0]["flat"] == {key: None if key == "grid" else value for key, value in flat.items()}
    assert flat["text"] in verdict(budget)
    view = read_run(RunRecords(name="x", path="x", search=record))
    assert flat["text"] in page_of(view, Detail(landscape=8, pairs=0, characters=0, budgets=1))
    drawn = map_of_trials(view.budgets[0], view.about, Looks(view))
    assert drawn is not None and np.array_equal(np.asarray(drawn.region) >= 0, inside)
