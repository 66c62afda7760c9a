from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mdm_tune.search.journal import open_journal, operations
from mdm_tune.search.journal_trials import journal_trials
from mdm_tune.search.ledger import Ledger

BOX = {"a": (0.1, 10.0), "b": (0.1, 10.0)}


def record(**changes: Any) -> dict[str, Any]:
    return {
        "key": [1],
        "fresh": True,
        "dropped": None,
        "cut": False,
        "values": [0.5, 0.7],
        "cost": [1, 1, 1.0],
    } | changes


def journal(path: Path) -> Path:
    storage = open_journal(path / "study.journal", lambda text: None)
    first = Ledger(storage, "search/steps-8", "maximize")
    first.write("1", 0.4, record(values=None, dropped=8), {"a": 1.0, "b": 1.0}, BOX)
    first.write("0", 0.6, record(), {"a": 0.5, "b": 0.5}, BOX)
    first.write("1", 0.9, record(), {"a": 2.0, "b": 2.0}, BOX)  # the first entry of a task counts
    Ledger(storage, "search/made").write("pilot 8", 0.0, {"made": {}})
    blocks = Ledger(storage, "search/steps-16-blocks-4")
    blocks.write("0", 0.1, record(values=None, fresh=False, dropped=0, cut=True), {"a": 0.5, "b": 0.5}, BOX)
    return path / "study.journal"


def test_the_trials_of_a_journal_by_budget(tmp_path: Path) -> None:
    found = journal_trials(journal(tmp_path))
    assert sorted(found) == [8, 16]
    assert [(point["number"], point["a"], point["value"]) for point in found[8]] == [(0, 0.5, 0.6), (1, 1.0, 0.4)]
    assert [(point["examples"], point["dropped"]) for point in found[8]] == [(2, False), (8, True)]
    (point,) = found[16]
    assert (point["block_length"], point["examples"], point["fresh"], point["cut"]) == (4, None, False, True)


def test_a_damaged_journal_gives_what_can_be_read(tmp_path: Path) -> None:
    path = journal(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + b"odd\n" + b"".join(lines[2:]) + b'{"op_code": 4, "half')
    assert sorted(journal_trials(path)) == [8, 16]
    damaged = [json.loads(line) for line in lines]
    for log in damaged:
        if log.get("user_attrs", {}).get("task") == "0":
            log["user_attrs"]["record.0"] = "odd"
    path.write_text("".join(json.dumps(log) + "\n" for log in damaged), encoding="utf-8")
    assert [point["number"] for point in journal_trials(path)[8]] == [1]


def test_studies_that_were_removed_are_left_out(tmp_path: Path) -> None:
    path = journal(tmp_path)
    storage = open_journal(path, lambda text: None)
    storage.delete_study(storage.get_study_id_from_name("search/steps-8"))
    Ledger(storage, "search/steps-8").write("0", 0.3, record(), {"a": 0.7, "b": 0.7}, BOX)
    assert [point["a"] for point in journal_trials(path)[8]] == [0.7]


def test_no_journal_has_no_trials(tmp_path: Path) -> None:
    assert journal_trials(tmp_path / "none") == {} and [*operations(tmp_path / "none")] == []
