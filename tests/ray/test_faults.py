"""What goes wrong on a cluster: no replica left, a replica that cannot be built or started, files of another folder."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from mdm_tune.commands.evaluate import evaluate
from mdm_tune.commands.events import ModelLoaded, Note, RunEvent
from mdm_tune.commands.search import search
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.permissions import Permissions
from mdm_tune.sampling import cluster_health, replicas
from mdm_tune.sampling.cluster import joined_cluster
from mdm_tune.sampling.devices import RayDevices
from mdm_tune.sampling.replicas import MAX_DEATHS, Replicas
from mdm_tune.search.events import TrialDone
from tests.support.pools import absent, chain

CONFIG = """
model: {type: transformer, path: "package:text"}
dataset: {type: text, path: "package:text", tune: 16, choose: 10, report: 16}
sampler: {order: random, steps: [4], batch: 4}
objective: {metric: spelling}
search: {strategy: tpe, trials: 6, finalists: 1, auto_stop: false}
"""
OWN = """
import torch
from beside import SCALE


class Own:
    vocab_size, mask_id, length, symbols = 3, 3, 6, "abc"

    def __call__(self, tokens, wanted):
        ones = (tokens == 1).sum(1).float()[wanted.nonzero()[:, 0]] / SCALE
        return torch.stack([ones, 0 * ones, 0 * ones], 1)


def build():
    return Own()
"""
OWN_CONFIG = """
model: {type: custom, target: "code/own.py:build"}
dataset: {type: lines, path: texts.txt, tune: 8, choose: 8, report: 8}
sampler: {order: random, steps: [2], batch: 4}
objective: {metric: nelbo}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head without a CPU, and a node that replicas run on; both were started in another folder."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    try:
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
        found.add_node(num_cpus=2, num_gpus=0)
    finally:
        os.chdir(before)
    found.wait_for_nodes()
    yield found
    found.shutdown()


@pytest.fixture
def devices(cluster: Cluster) -> RayDevices:
    return RayDevices(2, cluster.address)


@pytest.fixture
def joined(devices: RayDevices) -> Iterator[RayDevices]:
    with joined_cluster(devices.address):
        yield devices


def cwd(denoiser: object, device: str) -> str:
    return str(Path.cwd())


def test_paths_are_those_of_the_config_wherever_the_nodes_were_started(
    devices: RayDevices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own code in a folder beside the config, with a module beside it; the config is named by a relative path."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own.py").write_text(OWN)
    (tmp_path / "code" / "beside.py").write_text("SCALE = 4\n")
    (tmp_path / "config.yaml").write_text(OWN_CONFIG)
    (tmp_path / "texts.txt").write_text("\n".join(f"{a}{b}{c}acb" for a in "abc" for b in "abc" for c in "abc") + "\n")
    monkeypatch.chdir(tmp_path)
    found = []
    for used in (("cpu",), devices):
        config = load_config(Path("config.yaml"), output="run")
        allow, quiet = Permissions(trust_code=True), lambda event: None
        found.append(evaluate(config, (), (), differences=False, notify=quiet, devices=used, allow=allow).to_json())
    alone, shared = ([{**row, "seconds": 0} for row in record["rows"]] for record in found)
    assert shared == alone and len(alone) > 0
    with Replicas(chain, devices) as pool:
        assert all(Path(folder) != tmp_path for folder in pool.run_on_each(cwd))


def die(device: str) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_replicas_that_die_while_they_build(joined: RayDevices) -> None:
    expected = (
        rf"replica . on cpu ended {MAX_DEATHS} times while it built the model, .*usually the memory does not suffice"
    )
    with pytest.raises(RunError, match=expected):
        Replicas(die, RayDevices(1, joined.address)).__enter__()


def test_a_module_that_nodes_lack(joined: RayDevices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that this process has found after it had joined."""
    (tmp_path / "only_here_of_tests.py").write_text("def make(device):\n    raise AssertionError\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here_of_tests  # type: ignore[import-not-found]

    try:
        with pytest.raises(InputError) as raised:
            Replicas(only_here_of_tests.make, joined).__enter__()
    finally:
        del sys.modules["only_here_of_tests"]
    said = str(raised.value)
    assert said.startswith("--devices: replica ") and "cannot be started (" in said and "\n" not in said
    assert "No module named 'only_here_of_tests'" in said
    assert said.endswith("install the same packages on every node, mdm-tune and those of the model's code among them")


def test_files_that_nodes_lack_are_spoken_of_on_a_cluster(joined: RayDevices, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing; .* \(in replica .*\); every node") as raised:
        Replicas(partial(absent, tmp_path), joined).__enter__()
    remedy = "; every node needs the same files under the same paths, as on a shared file system"
    assert str(raised.value).endswith(remedy)


def refuse(device: str) -> Any:
    raise InputError("model.length: must be 8, got 9; give 8")


def test_other_refusals_are_not(joined: RayDevices) -> None:
    with pytest.raises(InputError) as raised:
        Replicas(refuse, joined).__enter__()
    assert re.fullmatch(r"model.* got 9; give 8 \(in replica . on cpu, node [0-9.]+\)", str(raised.value))


def test_a_search_whose_last_replica_is_gone_goes_on(
    cluster: Cluster, devices: RayDevices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it waits, ends with one message, and once there is a node again it ends as one process does."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    notes: list[str] = []

    def lose(event: RunEvent) -> None:
        if isinstance(event, ModelLoaded):  # a replica is there
            monkeypatch.setattr(replicas, "PATIENCE", 6.0)
            monkeypatch.setattr(cluster_health, "QUIET_TIME", 0.5)
        if isinstance(event, TrialDone) and event.number == 1:
            for node in list(cluster.worker_nodes):
                cluster.remove_node(node, allow_graceful=False)
        if isinstance(event, Note):
            notes.append(event.text)

    config = load_config(tmp_path / "config.yaml", output=str(tmp_path / "run"))
    options: dict[str, Any] = {"overwrite": False, "devices": devices}
    with pytest.raises(RunError) as raised:
        search(config, resume=False, notify=lose, **options)
    assert str(raised.value) == (
        "no replica of the model is left, and none came back in 6 s; what was finished is kept: see that the cluster "
        "has room again, and go on with --resume"
    )
    waited = [note for note in notes if note.startswith("the cluster has had no room for replicas of the model for")]
    assert waited and "this command waits 6 s in all" in waited[-1]
    cluster.add_node(num_cpus=2, num_gpus=0)
    cluster.wait_for_nodes()
    monkeypatch.setattr(replicas, "PATIENCE", 120.0)
    after: list[RunEvent] = []
    resumed = search(config, resume=True, notify=after.append, **options).to_json()
    alone_config = load_config(tmp_path / "config.yaml", output=str(tmp_path / "alone"))
    alone = search(alone_config, resume=False, overwrite=False, notify=lambda event: None).to_json()
    assert len([event for event in after if isinstance(event, TrialDone)]) < 6
    for key in ("schedule", "steps", "value", "winner"):
        assert [budget.get(key) for budget in resumed["budgets"]] == [budget.get(key) for budget in alone["budgets"]]
    assert (tmp_path / "run" / "schedule.yaml").read_text() == (tmp_path / "alone" / "schedule.yaml").read_text()
    assert resumed["warnings"] == alone["warnings"]  # that a cluster was waited for changes no result
