"""Drivers are killed at any moment, in the middle of a line too: nothing that was finished is lost or done twice."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from optuna import load_study

from mdm_tune.search.driver import SearchName, driving
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.storage import open_storage
from tests.support.processes import start

TASKS = 40
KILLS = 20
LIFE = 2  # tasks after which a process waits to be killed, so that there is work for every kill
TORN = b'{"op_code":4,"worker_id":"0-1","study_id":3,"sta'


def value(task: int, attempt: int) -> float:
    """Every attempt has its own value, so that one that replaces another is seen."""
    return task + attempt / 1000


def work(where: Path, told: Path, attempt: int, tasks: int, life: int, pause: float) -> None:
    """Finish what tasks there are; each is told, with its value, only after it was written."""
    file = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with driving(open_storage(where), SearchName.plain("run")) as state:
        ledger = state.ledger("8")
        os.write(file, b"ready\n")
        for task in range(tasks):
            if str(task) in ledger.finished():
                continue
            time.sleep(pause)
            record, looks = {"attempt": attempt, "values": [task / 3] * 300}, {8: 8.5, 64: 64.5}
            ledger.write(str(task), value(task, attempt), record, {"a": 1.0 + task}, {"a": (0.1, 10.0)}, looks)
            os.write(file, f"{task} {value(task, attempt)!r}\n".encode())
            life -= 1
            time.sleep(pause if life else 60.0)


def said(told: Path) -> dict[str, float]:
    """What was told to be finished."""
    lines = (line.split() for line in told.read_text().splitlines() if line != "ready")
    return {task: float(number) for task, number in lines}


def finished(where: Path) -> dict[str, float]:
    return {task: entry.value for task, entry in Ledger(open_storage(where), "run/8").finished().items()}


def check_complete(where: Path, told: Path, tasks: int) -> None:
    """Every task is finished once, with the value that was told first, its params, looks and record."""
    storage = open_storage(where)
    entries = Ledger(storage, "run/8").finished()
    assert sorted(map(int, entries)) == list(range(tasks))
    for task, number in said(told).items():
        assert entries[task].value == number
    for task, entry in entries.items():
        assert entry.params == {"a": 1.0 + int(task)}
        assert entry.value == value(int(task), entry.record["attempt"])
        assert entry.record["values"] == [int(task) / 3] * 300
    trials = load_study(study_name="run/8", storage=storage).trials
    assert len(trials) == tasks and all(t.intermediate_values == {8: 8.5, 64: 64.5} for t in trials)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    journal, told, chance = tmp_path / "study.journal", tmp_path / "told", random.Random(0)
    told.touch()
    torn = 0
    for attempt in range(KILLS):
        ready = told.read_text().count("ready")
        process = start(work, journal, told, attempt, TASKS, LIFE, 0.02)
        while told.read_text().count("ready") == ready:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.02, 0.25))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kept = finished(journal)
        assert {task: kept[task] for task in said(told)} == said(told)
        if attempt % 4 == 0:
            with journal.open("ab") as file:
                file.write(TORN)
            torn += 1
        if attempt % 6 == 0:
            journal.with_name("study.journal.lock").unlink(missing_ok=True)
            journal.with_name("study.journal.lock").symlink_to(journal)  # Optuna's own
    process = start(work, journal, told, KILLS, TASKS, TASKS + 1, 0.0)
    process.join(60)
    assert process.exitcode == 0
    check_complete(journal, told, TASKS)
    assert torn and len(list(tmp_path.glob("study.journal.torn-*"))) >= torn


def work_until_write(where: Path, told: Path, attempt: int, share: float) -> None:
    """Die in the journal's write with the number ``attempt``, of which a share reaches the disk."""
    write, number = os.write, 0

    def torn_write(file: int, data: bytes) -> int:
        nonlocal number
        if data.startswith(b"{"):  # a line of the journal
            if number == attempt:
                write(file, data[: int(len(data) * share)])
                os.kill(os.getpid(), signal.SIGKILL)
            number += 1
        return write(file, data)

    os.write = torn_write
    work(where, told, attempt, 2, 3, 0.0)


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["within", "after"])
def test_killed_in_every_write(tmp_path: Path, share: float) -> None:
    killed, attempt = 0, 0
    while True:
        where, told = tmp_path / f"{attempt}.journal", tmp_path / f"{attempt}.told"
        told.touch()
        process = start(work_until_write, where, told, attempt, share)
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        kept = finished(where)
        assert {task: kept[task] for task in said(told)} == said(told)
        assert len(list(tmp_path.glob(f"{attempt}.journal.torn-*"))) == (share == 0.5)
        work(where, told, 1000 + attempt, 2, 3, 0.0)
        check_complete(where, told, 2)
        attempt += 1
    assert killed == 2 + 2 + 2  # the studies, the driver's coming and going, a line of each task
