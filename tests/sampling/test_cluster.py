"""What is asked of Ray and of a cluster, and what is said where there is none or no room. No Ray is started."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mdm_tune.config.file import load_config
from mdm_tune.core.errors import InputError, RunError
from mdm_tune.run.build import open_run
from mdm_tune.sampling import cluster, cluster_health
from mdm_tune.sampling.cluster import joined_cluster
from mdm_tune.sampling.cluster_health import ReplicaWait
from mdm_tune.sampling.devices import RayDevices
from mdm_tune.sampling.replicas import Replicas

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "markov.yaml"
BLOCKED = "import sys; sys.modules['ray'] = None; from mdm_tune.__main__ import main; main()"


def refused(address: str | None) -> str:
    with pytest.raises(InputError) as raised, joined_cluster(address):
        pass
    return str(raised.value)


@pytest.fixture
def port() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server


def at(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_nobody_listens(port: socket.socket) -> None:
    said = refused(at(port))
    assert said.startswith(f"--ray-address: no Ray cluster answers at '{at(port)}' (Connection refused")
    assert "`ray status`" in said


def test_something_else_answers(port: socket.socket) -> None:
    port.listen()

    def serve() -> None:
        line, _ = port.accept()
        with line:
            line.recv(1000)
            line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = threading.Thread(target=serve)
    server.start()
    assert "(something else answers there)" in refused(at(port))
    server.join()


def test_nothing_is_answered(port: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    port.listen()
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.1)
    assert "(no answer in 0 s)" in refused(at(port))


def test_a_host_that_is_not_known() -> None:
    assert "no Ray cluster answers at 'nowhere.invalid:6379' (" in refused("nowhere.invalid:6379")


@pytest.mark.parametrize(
    ("address", "which"),
    [
        ("ray://10.0.0.1:10001", "for clients outside the cluster"),
        ("http://127.0.0.1:8265", "the dashboard's"),
        ("local", ""),
        ("10.0.0.1", ""),
        ("10.0.0.1:", ""),
        (":6379", ""),
        ("a b:1", ""),
    ],
)
def test_what_is_no_address(address: str, which: str) -> None:
    said = refused(address)
    assert (
        f"must be HOST:PORT, such as 10.0.0.1:6379, or auto, got '{address}'{which and f', which is {which}'};" in said
    )


def test_a_port_beyond_all() -> None:
    assert "no Ray cluster answers at '127.0.0.1:99999'" in refused("127.0.0.1:99999")


def test_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "--devices ray: no cluster is named; give --ray-address HOST:PORT, or auto" in refused(None)


def test_the_environment_is_named_where_it_has_the_address(
    port: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", at(port))
    assert refused(None).startswith(f"RAY_ADDRESS: no Ray cluster answers at '{at(port)}'")


def test_a_cluster_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**options: object) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9\n    Python: 3.10.1\n")

    monkeypatch.setattr(cluster, "_why_no_answer", lambda host, port: "")
    monkeypatch.setattr(ray, "init", init)
    said = refused("127.0.0.1:6379")
    assert (
        "runs another Ray or Python (Version mismatch: The cluster was started with: Ray: 2.9 Python: 3.10.1)" in said
    )


@pytest.mark.parametrize("devices", [("cpu", "cpu"), RayDevices(2, "127.0.0.1:1")])
def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...] | RayDevices) -> None:
    """Said before a model is loaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("mdm_tune.run.build.build", lambda *given: pytest.fail("a model was loaded"))
    expected = r"need Ray, .*pip install 'mdm-tune\[ray\]', or give one"
    with pytest.raises(InputError, match=expected), open_run(load_config(CONFIG), devices):
        pass


def test_one_device_needs_no_ray(tmp_path: Path) -> None:
    """With ray blocked, a whole search ends well."""
    settings = ["search.trials=2", "sampler.steps=[4]", "search.finalists=1"]
    words = ["search", str(CONFIG), "--json", "--devices", "cpu", "--output", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *words, *(word for each in settings for word in ("--set", each))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_long_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's name has at most 107 characters, so that Ray's folder lies in /tmp."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with cluster._ray_folder() as folder:
        assert folder.parent == Path("/tmp")
    assert not folder.exists() and list(long.iterdir()) == []


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["the disk", "the folder", "its lock", "the keeper", "Ray"])
def test_a_full_disk_where_ray_starts(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message, and nothing is left."""
    import ray

    monkeypatch.setattr(cluster, "_folder_root", lambda: tmp_path)

    def full(*given: object, **options: object) -> None:
        raise FULL

    if place == "its lock":
        monkeypatch.setattr("mdm_tune.core.scratch.LOCK", "absent/in-use")
    elif place == "the disk":
        monkeypatch.setattr(cluster, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    else:
        owner, name = {
            "the folder": ("tempfile", "mkdtemp"),
            "the keeper": ("subprocess", "Popen"),
            "Ray": ("ray", "init"),
        }[place]
        monkeypatch.setattr(f"{owner}.{name}", full)
    with pytest.raises(RunError) as raised, cluster.local_ray(2):
        pytest.fail("it was started")
    reason = "No such file or directory" if place == "its lock" else "No space left on device"
    said = str(raised.value)
    assert said.startswith(f"--devices: Ray could not be started on this machine ({reason}")
    assert f"; see that {tmp_path} has room and that the machine allows more processes, or give one device" in said
    assert list(tmp_path.iterdir()) == [] and not ray.is_initialized()


@pytest.mark.parametrize(
    ("there", "count", "on_cpus", "asked"),
    [
        ({"GPU": 2.0, "CPU": 64.0}, None, False, [("cuda:0", None, {"num_cpus": 0, "num_gpus": 1})] * 2),
        ({"GPU": 16.0, "CPU": 64.0}, 16, False, [("cuda:0", None, {"num_cpus": 0, "num_gpus": 1})] * 16),
        ({"GPU": 8.0, "CPU": 64.0}, 3, False, [("cuda:0", None, {"num_cpus": 0, "num_gpus": 1})] * 3),
        ({"GPU": 8.0, "CPU": 5.0}, None, True, [("cpu", 1, {"num_cpus": 1})] * 5),
        ({"GPU": 8.0, "CPU": 12.0}, 12, True, [("cpu", 1, {"num_cpus": 1})] * 12),
        ({"CPU": 3.0}, None, False, [("cpu", 1, {"num_cpus": 1})] * 3),
        ({"GPU": 0.5, "CPU": 2.5}, None, False, [("cpu", 1, {"num_cpus": 1})] * 2),
    ],
)
def test_what_is_asked_of_a_cluster(
    there: dict[str, float],
    count: int | None,
    on_cpus: bool,
    asked: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU for each replica, which Ray shows to it as the first; exact laws, and clusters without a GPU, use CPUs."""
    found: list[object] = []
    monkeypatch.setattr(Replicas, "_add", lambda self, device, threads, **given: found.append((device, threads, given)))
    devices = RayDevices(count)
    Replicas(lambda device: None, devices, on_cpus=on_cpus)._join_cluster(there, devices)  # type: ignore[arg-type, return-value]
    assert found == asked


@pytest.mark.parametrize(
    ("there", "count", "on_cpus", "said"),
    [
        (
            {"GPU": 8.0, "CPU": 64.0},
            16,
            False,
            "has 8 GPUs, too few for 16 replicas; give ray:8 or fewer, or add nodes",
        ),
        ({"GPU": 1.0, "CPU": 64.0}, 2, False, "has 1 GPU, too few for 2 replicas; give ray:1 or fewer, or add nodes"),
        ({"GPU": 6.0, "CPU": 4.0}, 16, True, "has 4 CPUs, too few for 16 replicas; give ray:4 or fewer, or add nodes"),
        ({"CPU": 4.0}, 16, False, "has 4 CPUs, too few for 16 replicas; give ray:4 or fewer, or add nodes"),
        ({}, None, False, "has 0 CPUs, and replicas need at least 1; add nodes"),
        ({}, 3, False, "has 0 CPUs, and replicas need at least 1; add nodes"),
    ],
)
def test_a_cluster_that_is_too_small(
    there: dict[str, float], count: int | None, on_cpus: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Replicas, "_add", lambda self, *given, **options: pytest.fail("a replica was added"))
    devices = RayDevices(count)
    pool = Replicas(lambda device: None, devices, on_cpus=on_cpus)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError) as raised:
        pool._join_cluster(there, devices)
    assert str(raised.value) == f"--devices: the cluster {said}"


@pytest.mark.parametrize("devices", [("cpu", "cpu"), RayDevices(2)])
def test_what_cannot_be_sent_to_replicas(devices: tuple[str, ...] | RayDevices) -> None:
    """Said before Ray is started or a cluster is looked for."""
    lock = threading.Lock()
    with pytest.raises(InputError, match=r"make is sent to each replica and cannot be pickled \(.*lock.*\); give a"):
        Replicas(lambda device: lock, devices).__enter__()  # type: ignore[arg-type, return-value]


def test_a_busy_cluster_is_spoken_of_once_for_each_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = 1000.0, list[str]()
    monkeypatch.setattr(cluster_health.time, "monotonic", lambda: now)
    wait = ReplicaWait(120.0, said.append)
    for passed, working, over, notes in (
        *((9, False, False, 0), (11, False, False, 1), (119, False, False, 1), (121, False, True, 1)),
        *((122, True, False, 1), (131, False, False, 1), (133, False, False, 2), (241, False, False, 2)),
        (243, False, True, 2),
    ):
        now = 1000.0 + passed
        assert (wait.over(working=working), len(said)) == (over, notes), passed
    assert said[0] == (
        "the cluster has had no room for replicas of the model for 11 s; this command waits 120 s in all, and "
        "`ray status` shows what the cluster is busy with"
    )
    silent = ReplicaWait(120.0, None)
    now += 119
    assert not silent.over(working=False)
    now += 2
    assert silent.over(working=False)
