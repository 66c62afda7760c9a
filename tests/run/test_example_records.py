"""One line per example."""

from __future__ import annotations

import json
from pathlib import Path

from tests.test_cli import MARKOV, QUICK, call


def test_scores_are_kept_once_per_example_and_schedule(tmp_path: Path) -> None:
    data = ("--set", "objective.metric=nelbo", "--set", "dataset={type: law, tune: 8, choose: 8, report: 12}")
    folder = tmp_path / "run"
    assert call("search", MARKOV, *QUICK, *data, "--output", str(folder), "--quiet").exit_code == 0
    lines = [json.loads(line) for line in (folder / "search-scores.jsonl").read_text().splitlines()]
    keys = [(line["split"], line["steps"], line["schedule"], line["id"]) for line in lines]
    assert len(set(keys)) == len(keys)
    assert {line["split"] for line in lines} == {"report"} and {len(line["text"]) for line in lines} == {32}
    assert len([key for key in keys if key[1:3] == (8, "linear")]) == 12
