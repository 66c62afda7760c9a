"""A simulated Ray cluster on this machine, whose nodes can be added and killed; for scripts/chaos.py."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMIT = 300.0  # seconds that anything may take that must happen
QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",  # 15 would let replicas wait for every other program of the machine
    "OMP_NUM_THREADS": "1",
}


class Failure(Exception):
    """The search did what it must not."""


class Nodes:
    """A simulated cluster: every node has one CPU, and processes of its own on this machine."""

    def __init__(self, count: int, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._folder = folder
        self._cluster: Any = Cluster()  # Ray types the head node as None
        for _ in range(count):
            self.add()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def others(self) -> int:
        """Nodes besides the head."""
        return len(self._cluster.worker_nodes)

    def add(self) -> None:
        def start() -> bool:
            try:
                self._cluster.add_node(
                    wait=False,
                    num_cpus=1,
                    include_dashboard=False,
                    object_store_memory=80 * 2**20,
                    temp_dir=str(self._folder),
                )
            except Exception as error:  # Ray itself waits for half a minute, too short for a busy machine
                print(f"a node did not start: {error}", file=sys.stderr)
                return False
            return True

        until(start, "a node to start")
        until(lambda: self._alive() >= 1 + self.others, "a node to join the cluster")

    def kill(self, chance: float) -> None:
        """Kill a node that is not the head, with everything that runs on it."""
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: str(node.raylet_socket_name))
        self._cluster.remove_node(nodes[int(chance * len(nodes))], allow_graceful=False)

    def kill_head(self, whole: bool) -> None:
        """Kill the head node, or only the process by which a driver and its replicas there belong to the cluster."""
        if whole:
            self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)
        else:
            self._cluster.head_node.kill_raylet(check_alive=False)

    def replicas(self) -> dict[str, int]:
        """Processes of the replicas that run, by the id of their actor."""
        actors = self._cluster.global_state.actor_table(None).items()
        return {name: each["Pid"] for name, each in sorted(actors) if each["State"] == "ALIVE" and runs(each["Pid"])}

    def stop(self) -> None:
        self._cluster.shutdown()

    def _alive(self) -> int:
        return sum(node["Alive"] for node in self._cluster.global_state.node_table())


@contextmanager
def cluster(count: int) -> Iterator[Nodes]:
    """A cluster of so many nodes for the time of the block; its processes do not outlive it."""
    os.environ.update(QUIET)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))  # short, since names of sockets are limited
    nodes = Nodes(count, folder)
    try:
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def until(happened: Callable[[], Any], what: str) -> Any:
    """What ``happened`` returns once it is true."""
    end = time.monotonic() + LIMIT
    while not (found := happened()):
        if time.monotonic() > end:
            raise Failure(f"waited {LIMIT:.0f} s for {what}")
        time.sleep(0.02)
    return found


def runs(pid: int) -> bool:
    try:
        return pid > 0 and Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
