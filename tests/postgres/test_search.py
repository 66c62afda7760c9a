"""The search command on a real server: several workers, other folders, one result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from optuna import load_study
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from mdm_tune.search.storage import open_storage

CONFIG = """\
model: {type: markov, length: 24, symbols: 3, flip: 0.15}
dataset: {type: law, tune: 64, choose: 48, report: 64}
sampler: {order: confidence, temperature: 0.0, steps: [4, 6]}
objective: {metric: path_nll}
search: {strategy: tpe, trials: 17, finalists: 2, auto_stop: false, name: shared}
"""


def begin(config: Path, folder: Path, address: str, *flags: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "mdm_tune", "search", str(config), "--output", str(folder), "--json", *flags]
    return subprocess.Popen(
        [*words, "--set", f"search.storage={address}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ended(process: subprocess.Popen[str], address: str) -> dict[str, Any]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    password = address.split(":")[2].split("@", maxsplit=1)[0]
    assert password not in err and password not in out
    return dict(json.loads(out))


def test_two_machines_share_a_search(tmp_path: Path, address: str) -> None:
    """Two commands, each with its own folder, one of them with two workers: every trial once, one result."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    one = begin(config, tmp_path / "one", address, "--resume", "--workers", "2")
    two = begin(config, tmp_path / "two", address, "--resume")
    first, second = ended(one, address), ended(two, address)
    assert first["budgets"] == second["budgets"]
    assert first["denoiser_rows"] == second["denoiser_rows"]

    storage = open_storage(address)
    assert isinstance(storage, RDBStorage)
    for steps in (4, 6):
        trials = load_study(study_name=f"shared/steps-{steps}", storage=storage).trials
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        assert sorted(int(trial.user_attrs["task"]) for trial in done) == list(range(17))
    workers = {trial.user_attrs["worker"] for trial in done}
    made = load_study(study_name="shared/made", storage=storage).trials
    workers |= {trial.user_attrs["worker"] for trial in made if trial.state == TrialState.COMPLETE}
    assert len(workers) >= 2  # not one of them did it all
    tasks = [trial.user_attrs["task"] for trial in made if trial.state == TrialState.COMPLETE]
    assert len(tasks) == len(set(tasks))
    storage.engine.dispose()

    again = ended(begin(config, tmp_path / "three", address, "--resume"), address)
    assert again["budgets"] == first["budgets"]


def test_another_run_of_that_name_is_refused(tmp_path: Path, address: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    small = ("--set", "sampler.steps=[4]", "--trials", "3")
    ended(begin(config, tmp_path / "one", address, *small), address)
    for flags, said in (
        (small, "already holds a run called shared"),
        ((*small, "--resume", "--seed", "1"), "seed: was 0, is 1"),
    ):
        process = begin(config, tmp_path / "two", address, *flags)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2 and said in err and "Traceback" not in err
