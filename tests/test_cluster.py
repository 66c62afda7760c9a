"""Addresses of a cluster that none is at, Ray that is not installed, and one device without it. No Ray is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdm_tune.build import opened
from mdm_tune.config.file import load_config
from mdm_tune.errors import InputError
from mdm_tune.sampling import cluster, keeper
from mdm_tune.sampling.cluster import connected
from mdm_tune.sampling.devices import RayDevices

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "markov.yaml"
BLOCKED = "import sys; sys.modules['ray'] = None; from mdm_tune.__main__ import main; main()"


def refused(address: str | None) -> str:
    with pytest.raises(InputError) as raised, connected(address):
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
    monkeypatch.setattr(cluster, "ANSWER", 0.1)
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

    monkeypatch.setattr(cluster, "_silent", lambda host, port: "")
    monkeypatch.setattr(ray, "init", init)
    said = refused("127.0.0.1:6379")
    assert (
        "runs another Ray or Python (Version mismatch: The cluster was started with: Ray: 2.9 Python: 3.10.1)" in said
    )


@pytest.mark.parametrize("devices", [("cpu", "cpu"), RayDevices(2, "127.0.0.1:1")])
def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...] | RayDevices) -> None:
    """Said before a model is loaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("mdm_tune.build.build", lambda *given: pytest.fail("a model was loaded"))
    expected = r"need Ray, .*pip install 'mdm-tune\[ray\]', or give one"
    with pytest.raises(InputError, match=expected), opened(load_config(CONFIG), devices):
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


def test_what_uses_a_folder_ends_with_it(tmp_path: Path) -> None:
    """Also where the parent of the keeper was killed; another process, and one that is spared, go on."""
    folder, other = tmp_path / "ray", tmp_path / "rays"
    folder.mkdir()
    other.mkdir()
    hold = "import sys, time; file = open(sys.argv[1], 'w'); print(flush=True); time.sleep(60)"
    held = []
    for file in (folder / "a", folder / "b", other / "c"):
        process = subprocess.Popen([sys.executable, "-S", "-c", hold, str(file)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        held.append(process)
    try:
        keeper.end(folder, {held[1].pid})
        assert held[0].wait(10) == -9
        assert not folder.exists()
        assert [process.poll() for process in held[1:]] == [None, None]
    finally:
        for process in held:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("killed", [True, False])
def test_a_folder_ends_with_the_process_that_made_it(tmp_path: Path, killed: bool) -> None:
    code = (
        "from mdm_tune.sampling.cluster import _kept_folder\n"
        "with _kept_folder() as folder:\n"
        "    print(folder, flush=True)\n"
        "    input()\n"
    )
    root = tmp_path if len(str(tmp_path)) < 20 else Path("/tmp")
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(root), "PYTHONPATH": str(ROOT)},
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir() and folder.parent == root
        if killed:
            process.kill()
        else:
            process.communicate("\n")
    last = time.monotonic() + 30
    while killed and folder.exists() and time.monotonic() < last:
        time.sleep(0.02)
    assert not folder.exists()


def test_a_long_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's name has at most 107 characters, so that Ray's folder lies in /tmp."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with cluster._kept_folder() as folder:
        assert folder.parent == Path("/tmp")
    assert not folder.exists() and list(long.iterdir()) == []
