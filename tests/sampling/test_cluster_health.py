"""Whether the cluster is still there, seen from its driver: a stand-in for Ray, sockets that listen, and a clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mdm_tune.core.errors import RunError
from mdm_tune.sampling import cluster, cluster_health
from mdm_tune.sampling.cluster_health import INTERVAL, PATIENCE, ClusterWatch


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(cluster_health, "time", found)
    return found


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A socket that listens in place of the head; ``nodes`` are those that it tells of."""
    server = socket.create_server(("127.0.0.1", 0))
    nodes = [{"NodeID": "mine", "Alive": True}, {"NodeID": "other", "Alive": False}]
    address = f"127.0.0.1:{server.getsockname()[1]}"
    context = SimpleNamespace(gcs_address=address, get_node_id=lambda: "mine")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: nodes))
    yield SimpleNamespace(server=server, nodes=nodes, address=address)
    server.close()


def test_a_cluster_that_answers(clock: Clock, head: Any) -> None:
    seen = ClusterWatch()
    for _ in range(3):
        clock.now += 100 * PATIENCE  # nobody looked for long
        assert seen.check()


def test_a_head_that_is_gone_for_a_while_and_for_good(clock: Clock, head: Any) -> None:
    seen = ClusterWatch()
    clock.now += INTERVAL
    assert seen.check()
    head.server.close()
    clock.now += INTERVAL / 2
    assert seen.check()  # too early for another look
    clock.now += INTERVAL
    assert not seen.check()
    clock.now += PATIENCE - INTERVAL
    assert not seen.check()
    clock.now += INTERVAL
    with pytest.raises(
        RunError, match=f"the head of the cluster at {head.address} has not answered for 20 s; .*--resu"
    ):
        seen.check()


def test_a_head_that_was_not_asked_for_long_is_not_said_to_be_gone_at_once(clock: Clock, head: Any) -> None:
    """Proposals may take longer than a head is waited for."""
    seen = ClusterWatch()
    head.server.close()
    clock.now += 2 * PATIENCE
    assert not seen.check()
    clock.now += INTERVAL
    assert not seen.check()
    clock.now += PATIENCE
    with pytest.raises(RunError, match="has not answered"):
        seen.check()


def test_the_node_of_the_driver_is_dead(clock: Clock, head: Any) -> None:
    seen = ClusterWatch()
    head.nodes[0]["Alive"] = False
    clock.now += INTERVAL
    with pytest.raises(RunError, match=r"the node of the cluster that this command runs on has died; .*--resume"):
        seen.check()


def test_stderr_while_a_cluster_is_joined(capfd: pytest.CaptureFixture[str]) -> None:
    """What native code writes is kept for the message, also where joining fails."""
    for fails in (False, True):
        said: list[str] = []
        try:
            with cluster._captured_stderr(said):
                os.write(2, b"one\n")
                assert not fails
        except AssertionError:
            pass
        assert said == ["one\n"] and capfd.readouterr().err == ""
        os.write(2, b"after\n")
        assert capfd.readouterr().err == "after\n"


@pytest.mark.parametrize("ended", [False, True])
def test_a_process_that_is_ended_from_inside_says_so(ended: bool) -> None:
    """As Ray ends one whose cluster dies while it joins."""
    code = f"""
import os
from mdm_tune.sampling.cluster_health import message_if_ended
with message_if_ended("it's gone: 100 %"):
    {ended} and os._exit(1)
os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("it's gone: 100 %\n" if ended else "")
