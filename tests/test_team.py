"""Workers and replicas from the command line: more processes, the same result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands.events import RunEvent
from mdm_tune.commands.search_run import search
from mdm_tune.config.file import Config, load_config
from mdm_tune.errors import InputError
from mdm_tune.plain_yaml import yaml_text
from mdm_tune.search.team import Team, shared_out
from mdm_tune.search.tuning import TrialDone

SECTIONS: dict[str, Any] = {
    "model": {"type": "markov", "length": 16, "flip": 0.1},
    "dataset": {"type": "law", "tune": 24, "choose": 16, "report": 16},
    "sampler": {"steps": [4], "order": "margin"},
    "objective": {"metric": "path_nll"},
    # Without races a trial's value does not depend on who was first.
    "search": {"strategy": "qmc", "trials": 12, "together": 1, "racing": False, "auto_stop": False},
}


def config(folder: Path, output: str) -> Config:
    (folder / "c.yaml").write_text(yaml_text(SECTIONS), encoding="utf-8")
    return load_config(folder / "c.yaml", output=str(folder / output))


def command(folder: Path, output: str, *arguments: str) -> dict[str, Any]:
    """The JSON of a search in a process of its own."""
    chosen = config(folder, output)
    words = ["search", str(folder / "c.yaml"), "--output", chosen.output, "--json", "--quiet", *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "mdm_tune", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process finds."""
    folder = tmp_path_factory.mktemp("alone")
    return search(config(folder, "run"), resume=False, overwrite=False, notify=lambda event: None)


def test_two_workers_of_the_command_find_what_one_finds(tmp_path: Path, alone: dict[str, Any]) -> None:
    record = command(tmp_path, "run", "--workers", "2")
    assert record["budgets"] == alone["budgets"] and record["trials"] == 12
    assert record["denoiser_rows"] >= alone["denoiser_rows"]
    assert json.loads((tmp_path / "run" / "search.json").read_text("utf-8"))["budgets"] == alone["budgets"]
    assert "error" not in (tmp_path / "run" / "worker-2.log").read_text("utf-8")


def test_two_replicas_of_the_command_find_what_one_process_finds(tmp_path: Path, alone: dict[str, Any]) -> None:
    record = command(tmp_path, "run", "--devices", "cpu:2")
    assert record["budgets"] == alone["budgets"]
    assert record["denoiser_rows"] >= alone["denoiser_rows"]  # what both replicas see is computed twice


def test_the_trials_of_both_workers_count(tmp_path: Path, alone: dict[str, Any]) -> None:
    """The first waits after its first trial until the second has told of one."""
    log, mine = tmp_path / "run" / "worker-2.log", set[int]()

    def notify(event: RunEvent) -> None:
        if isinstance(event, TrialDone):
            mine.add(event.number)
            deadline = time.monotonic() + 60
            while "trial " not in (log.read_text("utf-8") if log.exists() else "") and time.monotonic() < deadline:
                time.sleep(0.05)

    chosen = config(tmp_path, "run")
    with Team(chosen, [("cpu",)]) as team:
        record = search(chosen, resume=False, overwrite=False, notify=notify, begun=team.start)
    assert team.failed == [] and not any(process.is_alive() for process in team.processes)
    told = [line.split() for line in log.read_text("utf-8").splitlines() if line.startswith("trial ")]
    others = {int(words[1]) - 1 for words in told}
    assert others and 0 in mine and mine.isdisjoint(others) and mine | others == set(range(12))
    assert record["budgets"] == alone["budgets"]


def test_a_worker_that_fails_says_so_and_leaves_its_work_to_the_others(tmp_path: Path) -> None:
    """It is given other settings than the search has."""
    chosen = config(tmp_path, "run")
    other = load_config(tmp_path / "c.yaml", ["model.flip=0.3"], output=chosen.output)
    with Team(other, [("cpu",)]) as team:

        def begun() -> None:
            team.start()
            team.processes[0].join(60)

        record = search(chosen, resume=False, overwrite=False, notify=lambda event: None, begun=begun)
    assert record["trials"] == 12 and team.failed == ["worker 2"]
    log = (tmp_path / "run" / "worker-2.log").read_text("utf-8")
    assert log.startswith("error: the search in this folder was made with other settings") and "model.flip" in log


def test_an_error_ends_the_workers(tmp_path: Path) -> None:
    chosen = config(tmp_path, "run")
    began, team = time.monotonic(), Team(chosen, [("cpu",)])

    def fail() -> None:
        with team:
            team.start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(process.is_alive() for process in team.processes)
    assert time.monotonic() - began < 30


def test_devices_are_shared_out_among_workers() -> None:
    assert shared_out(("cpu",), 3) == [("cpu",)] * 3
    assert shared_out(("cuda:0", "cuda:1", "cuda:2"), 2) == [("cuda:0", "cuda:2"), ("cuda:1",)]
    assert shared_out(("cpu", "cpu"), 1) == [("cpu", "cpu")]
    for workers in (0, -1):
        with pytest.raises(InputError, match=rf"--workers must be at least 1, got {workers}"):
            shared_out(("cpu",), workers)
    with pytest.raises(InputError, match=r"got 3 workers for 2 devices \(cuda:0, cuda:1\); give at most 2"):
        shared_out(("cuda:0", "cuda:1"), 3)
