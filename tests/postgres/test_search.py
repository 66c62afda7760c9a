"""The search command on a real server: one driver at a time, several folders, one result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from optuna import load_study
from optuna.storages import RDBStorage

from mdm_tune.search.ledger import Ledger
from mdm_tune.search.storage import open_storage
from tests.support.drivers import FAR, claimed_by

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


def refused(process: subprocess.Popen[str]) -> str:
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in err, err
    return err


def test_a_search_is_driven_by_one_command_at_a_time_and_goes_on_elsewhere(tmp_path: Path, address: str) -> None:
    """Begun, a second one refused, killed, resumed in another folder, and in a third one answered."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    storage = open_storage(address)
    assert isinstance(storage, RDBStorage)
    first = begin(config, tmp_path / "one", address)
    while len(Ledger(storage, "shared/steps-4").finished()) < 3:
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # it lives, however long the others take
    for flags in (("--resume",), ("--overwrite",), ("--resume", "--take-over"), ()):
        said = refused(begin(config, tmp_path / "two", address, *flags))
        assert f"the search shared of search.storage is driven by process {first.pid} on " in said
    assert not (tmp_path / "two").exists()
    first.kill()
    first.communicate()
    second = ended(begin(config, tmp_path / "two", address, "--resume"), address)
    quiet = ended(begin(config, tmp_path / "three", address, "--set", "search.name=quiet"), address)
    assert second["budgets"] == quiet["budgets"] and second["denoiser_rows"] == quiet["denoiser_rows"]
    for steps in (4, 6):
        tasks = [
            trial.user_attrs["task"] for trial in load_study(study_name=f"shared/steps-{steps}", storage=storage).trials
        ]
        assert sorted(map(int, tasks)) == list(range(17))
    tasks = [trial.user_attrs["task"] for trial in load_study(study_name="shared/made", storage=storage).trials]
    assert len(tasks) == len(set(tasks))
    again = ended(begin(config, tmp_path / "four", address, "--resume"), address)
    assert again["budgets"] == second["budgets"]
    storage.engine.dispose()


def test_a_search_of_another_machine_is_taken_over_when_asked(tmp_path: Path, address: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    small, storage = ("--set", "sampler.steps=[4]", "--trials", "3"), open_storage(address)
    assert isinstance(storage, RDBStorage)
    far = claimed_by(storage, "shared", **FAR)
    said = refused(begin(config, tmp_path / "one", address, *small))
    assert f"driven by process {far.pid} on node7 since {far.since}, and from here" in said and "--take-over" in said
    assert not (tmp_path / "one").exists()
    ended(begin(config, tmp_path / "one", address, *small, "--take-over"), address)
    assert len(Ledger(storage, "shared/steps-4").finished()) == 3
    storage.engine.dispose()


def test_another_run_of_that_name_is_refused(tmp_path: Path, address: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, "utf-8")
    small = ("--set", "sampler.steps=[4]", "--trials", "3")
    ended(begin(config, tmp_path / "one", address, *small), address)
    for flags, said in (
        (small, "already holds a run called shared"),
        ((*small, "--resume", "--seed", "1"), "seed: was 0, is 1"),
    ):
        assert said in refused(begin(config, tmp_path / "two", address, *flags))
