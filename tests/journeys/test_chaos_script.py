"""What scripts/chaos.py decides by: it sees a digit that differs, and throws what it says. No cluster is started."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from scripts.chaos import PHASES, Piece, Told, compared, differences, planned, table, verdict
from scripts.chaos_driver import key

CALM = [Piece(f"{phase} {number}", phase, 10) for phase in PHASES for number in range(20)]
RECORD = {"value": 0.1, "seconds": 3.0, "devices": ["cpu"], "budgets": [{"counts": [1, 2], "denoiser_seconds": 1.0}]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, 0),
        ({"seconds": 4.0, "devices": ["ray"]}, 0),
        ({"value": np.nextafter(0.1, 1)}, 1),
        ({"value": "0.1"}, 1),
        ({"budgets": [{"counts": [1, 3], "denoiser_seconds": 2.0}]}, 1),
        ({"budgets": [{"counts": [1, 2]}]}, 0),
        ({"budgets": []}, 1),
        ({"more": None}, 0),
        ({"more": 1}, 1),
    ],
)
def test_every_digit_is_compared_but_those_of_times(change: dict[str, Any], told: int) -> None:
    assert len(compared(RECORD, RECORD | change)) == len(compared(RECORD | change, RECORD)) == told


def test_all_files_of_a_run_are_compared(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "search.json").write_text(json.dumps(RECORD | {"files": str(folder / "x")}), "utf-8")
        (folder / "schedule.yaml").write_text(yaml.safe_dump(RECORD), "utf-8")
        (folder / "search-scores.jsonl").write_text('{"value": 1}\n{"value": 2}\n', "utf-8")
    assert differences(one, two) == []
    (two / "search-scores.jsonl").write_text('{"value": 1}\n{"value": 3}\n', "utf-8")
    (two / "schedule.yaml").unlink()
    found = differences(one, two)
    assert len(found) == 2 and found[0].startswith("schedule.yaml") and "[1].value: 2" in found[1]


def test_events_follow_from_the_seed_and_fall_into_all_phases() -> None:
    plans = {seed: planned(CALM, seed, 10, 2, 3, head=True) for seed in range(20)}
    assert plans[3] == planned(CALM, 3, 10, 2, 3, head=True) and plans[3] != plans[4]
    kinds: Counter[str] = Counter()
    for events in plans.values():
        others = 2
        for event in sorted(events, key=lambda event: event.at):
            kinds[event.kind] += 1
            others += {"add": 1, "node": -1, "nodes": -others}.get(event.kind, 0)
            assert others >= 0
        assert {CALM[event.at].phase for event in events} == {*PHASES}
        assert len(events) == 13 and sorted(events, key=lambda event: event.at)[-1].kind == "head"
    assert min(kinds[kind] for kind in ("replica", "node", "add", "nodes")) >= 20
    assert (kinds["driver"], kinds["torn"], kinds["head"]) == (20, 20, 20)


def test_rows_count_what_was_begun_and_lost() -> None:
    told = Told(started=Counter({piece.key: 1 for piece in CALM}))
    assert told.rows(CALM) == 1000
    told.started.update({CALM[0].key: 1, CALM[7].key: 2})
    assert told.rows(CALM) == 1030
    told.thrown.append(("add", "pilot"))
    assert Told.read(json.loads(json.dumps(vars(told)))) == told
    told.thrown.clear()
    assert "| 0 | 0 | 0 | 0 | 0 | 1.030 | 0 | nothing |" in table({0: told}, CALM)
    worse = Told(thrown=[("add", "pilot"), ("driver", "report")], differences=["search.json: one digit"])
    said = verdict({0: told, 1: worse}, CALM)
    assert said.startswith("1 of 2 disturbed searches ended")
    assert "1 event and 1 killed driver." in said and "up to 3.0% more" in said


def work(denoiser: object, device: str, **options: Any) -> None:
    """A task."""


def test_a_piece_is_known_by_what_it_is_of() -> None:
    def piece(tokens: int = 1, seed: int = 5, batch: int = 8) -> str:
        arrays = {"tokens": np.full((2, 3), tokens)}
        return key(partial(partial(work, batch=batch), arrays=arrays, seeds=np.array([seed, 6], dtype=np.uint64)))

    assert piece() == piece() and len({piece(), piece(tokens=2), piece(seed=4), piece(batch=9)}) == 4
