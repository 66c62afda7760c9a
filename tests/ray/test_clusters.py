"""Replicas on a simulated cluster: the commands, nodes that come and go, and what is refused there."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from mdm_tune.commands.evaluate import evaluate
from mdm_tune.commands.profile import profile
from mdm_tune.commands.sample import sample
from mdm_tune.commands.search import search
from mdm_tune.config.file import Config, load_config
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.permissions import Permissions
from mdm_tune.run.build import open_run
from mdm_tune.sampling import pieces, replicas
from mdm_tune.sampling.cluster import joined_cluster
from mdm_tune.sampling.devices import Devices, RayDevices
from mdm_tune.sampling.pieces import LocalPool
from mdm_tune.sampling.replicas import Replicas
from tests.support.helpers import same_plan, seeds
from tests.support.pools import chain

TEXT = Path(__file__).parents[2] / "configs" / "text.yaml"
SMALL = (
    "dataset.tune=40",
    "dataset.choose=40",
    "dataset.report=40",
    "sampler.batch=8",
    "sampler.steps=[4]",
    "search.trials=3",
    "search.finalists=2",
)
BUILD = """
import threading
from pathlib import Path
import torch

class Own:
    vocab_size = mask_id = 2
    length, symbols = 8, "ab"

    def __init__(self):
        self.lock, self.file = threading.Lock(), open(__file__)

    def __call__(self, tokens, wanted):
        with self.lock:
            self.file.seek(0)
            assert "threading" in self.file.read()
        ones = (tokens == 1).sum(1).float()[wanted.nonzero()[:, 0]] / 4
        return torch.stack([ones, torch.zeros_like(ones)], 1)

def build():
    own = Own()
    {then}
    return own
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0})
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def joined(cluster: Cluster) -> Iterator[RayDevices]:
    """Two replicas on the cluster, to which this process belongs for the time of the tests here."""
    with joined_cluster(cluster.address):
        yield RayDevices(2, cluster.address)


def records(folder: Path, devices: Devices) -> dict[str, Any]:
    config = load_config(TEXT, SMALL, output=str(folder))
    quiet: dict[str, Any] = {"notify": lambda event: None, "devices": devices}
    found = {
        "search": search(config, resume=False, overwrite=False, **quiet).to_json(),
        "evaluate": evaluate(config, (), (4, 8), differences=False, **quiet).to_json(),
        "sample": sample(config, None, None, 9, **quiet).to_json(),
        "profile": profile(config, (), **quiet).to_json(),
    }
    return json.loads(json.dumps(found).replace(str(folder), "FOLDER"))


def differing(one: Any, two: Any, at: str = "") -> list[str]:
    """Paths of values that differ, but for times, devices and the folder."""
    if isinstance(one, dict) and isinstance(two, dict):
        keys = one.keys() | two.keys()
        return [each for key in keys for each in differing(one.get(key), two.get(key), f"{at}.{key}")]
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [each for number, (left, right) in pairs for each in differing(left, right, f"{at}.{number}")]
    return [] if one == two else [f"{at}: {one} {two}"]


def test_commands_give_what_one_process_gives(joined: RayDevices, tmp_path: Path) -> None:
    """Values, winner, counts, tokens and denoiser rows; only times, devices and the folder may differ."""
    alone, shared = records(tmp_path / "a", ("cpu",)), records(tmp_path / "b", joined)
    others = ("seconds", "files", "devices", "output", "timing", "time", "driver", "config", "rate", "elapsed")
    assert [
        each for each in differing(alone, shared) if not any(word in each.partition(":")[0] for word in others)
    ] == []
    assert shared["search"]["denoiser_rows"] == alone["search"]["denoiser_rows"]


def test_nodes_come_and_go(cluster: Cluster, joined: RayDevices) -> None:
    """Uncounted replicas: a node that joins gets some, and the pieces of one that is removed go to the others."""
    law = chain("cpu")
    tokens = torch.full((12, 12), law.mask_id)
    options: dict[str, Any] = {"seeds": seeds(12, 7), "batch": 1}
    whole = pieces.fill_rows(LocalPool(law), tokens, same_plan((6, 6), 12), **options)
    with Replicas(chain, RayDevices(None, cluster.address)) as pool:
        assert pool.copies == 2
        node = cluster.add_node(num_cpus=1, num_gpus=0)
        cluster.wait_for_nodes()
        work = pool.results(itertools.repeat(_nothing))
        while pool.copies < 3:
            next(work)
        work.close()  # type: ignore[attr-defined]
        pool.wait_until_ready()
        assert pool.copies == 3 and len(set(pool.run_on_each(_where))) == 2
        cluster.remove_node(node, allow_graceful=False)
        found = pieces.fill_rows(pool, tokens, same_plan((6, 6), 12), **options)
    assert torch.equal(found.tokens, whole.tokens) and found.denoiser_rows == whole.denoiser_rows


def _nothing(denoiser: object, device: str) -> None:
    return None


def _where(denoiser: object, device: str) -> str:
    return str(ray.get_runtime_context().get_node_id())


def test_too_few_cpus(joined: RayDevices) -> None:
    with pytest.raises(InputError, match=r"has \d CPUs, too few for 50 replicas; give ray:\d or fewer, or add nodes"):
        Replicas(chain, RayDevices(50)).__enter__()


def test_no_room_on_a_busy_cluster(joined: RayDevices, monkeypatch: pytest.MonkeyPatch) -> None:
    @ray.remote(num_cpus=2)
    class Busy:
        def here(self) -> None:
            return None

    busy = Busy.remote()
    ray.get(busy.here.remote())
    monkeypatch.setattr(replicas, "PATIENCE", 2.0)
    try:
        with pytest.raises(RunError, match=r"no room for 1 of 2 replicas of the model in 2 s; see with `ray status`"):
            Replicas(chain, joined).__enter__()
    finally:
        ray.kill(busy)


def test_other_versions_on_a_node(joined: RayDevices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "package_versions", lambda *names: {"numpy": "0.1"})
    with pytest.raises(
        InputError, match=r"other versions of packages: numpy .* \(on the driver 0\.1\); install the same"
    ):
        Replicas(chain, joined).__enter__()


def own(folder: Path, then: str) -> Config:
    (folder / "own.py").write_text(BUILD.format(then=then))
    text = (
        "model: {type: custom, target: own.py:build}\nsampler: {steps: [2], order: random}\n"
        "objective: {metric: nelbo}\ndataset: {type: jsonl, path: rows.jsonl, prompt: '{p}', answer: '{a}', "
        "generation_length: 4, tune: 10, choose: 10, report: 10}\n"
    )
    (folder / "c.yaml").write_text(text)
    rows = [
        {"p": "ab"[row % 2] + f"{row:03b}".replace("0", "a").replace("1", "b")[:3], "a": "abab"} for row in range(8)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_config(folder / "c.yaml")


def made(folder: Path, then: str) -> Any:
    from mdm_tune.run.build import _denoiser_on

    config = own(folder, then)
    return partial(_denoiser_on, config, 8, 0, Permissions(trust_code=True), None)


def test_a_model_that_holds_a_lock_and_a_file(joined: RayDevices, tmp_path: Path) -> None:
    """It is built on each replica, and never sent."""
    with Replicas(made(tmp_path, "pass"), joined) as pool:
        found = pieces.fill_rows(pool, torch.full((4, 8), 2), same_plan((4, 4), 4), seeds=seeds(4, 1), batch=1)
    assert found.tokens.shape == (4, 8)


def test_a_file_that_another_node_lacks(joined: RayDevices, tmp_path: Path) -> None:
    make = made(tmp_path, "pass")
    (tmp_path / "own.py").unlink()
    expected = r"there is no file .*own\.py;.*\(in replica . on cpu, node .*; every node needs the same files"
    with pytest.raises(InputError, match=expected):
        Replicas(make, joined).__enter__()


def test_own_code_is_trusted_by_the_command_line_alone(joined: RayDevices, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--trust-code"), open_run(own(tmp_path, "pass"), joined):
        pass


def test_own_code_that_raises_names_the_replica(joined: RayDevices, tmp_path: Path) -> None:
    make = made(tmp_path, "own.symbols = own.length.nothing")
    with pytest.raises(InputError, match=r"own\.py.*nothing.*\(in replica . on cpu, node "):
        Replicas(make, joined).__enter__()


def test_many_bytes_go_through_a_small_store(joined: RayDevices) -> None:
    """Two pieces for each replica are under way at most, and what they need is given back."""
    task = partial(_size, array=torch.zeros(4_000_000).numpy())
    with Replicas(chain, joined) as pool:
        assert list(pool.results(task for _ in range(40))) == [16_000_000] * 40


def _size(denoiser: object, device: str, *, array: Any) -> int:
    return int(array.nbytes)
