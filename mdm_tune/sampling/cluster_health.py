"""Checks of a Ray cluster: whether its head answers, our node is alive, and replicas have found room."""

from __future__ import annotations

import math
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from mdm_tune.core.errors import RunError

__all__ = ["REMEDY", "ClusterWatch", "ReplicaWait", "message_if_ended"]

INTERVAL = 2.0  # seconds between two checks
PATIENCE = 20.0  # seconds without an answer after which the head counts as dead; some heads restart
QUIET_TIME = 10.0  # seconds before a message says that the command waits; processes need some time to start
REMEDY = "what was finished is kept: start a cluster, and go on with --resume"


class ClusterWatch:
    """Checks the cluster regularly: Ray ends a process without a useful message if the head stays away."""

    def __init__(self) -> None:
        self._last_check, self._gone_since = time.monotonic(), math.inf  # when it was first seen not to answer
        self.answers = True

    def check(self) -> bool:
        """Whether the head answers, or did at the last check.

        Raises RunError if the head has not answered for ``PATIENCE`` seconds, or if this process's node is dead.
        """
        now = time.monotonic()
        if now - self._last_check < INTERVAL:
            return self.answers
        import ray

        context = ray.get_runtime_context()
        self.answers, self._last_check = _is_listening(context.gcs_address), now
        if self.answers:
            self._gone_since = math.inf
            alive = [node["Alive"] for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
            if not all(alive):
                raise RunError(f"the node of the cluster that this command runs on has died; {REMEDY}")
            return True
        self._gone_since = min(self._gone_since, now)
        if now - self._gone_since >= PATIENCE:
            raise RunError(
                f"the head of the cluster at {context.gcs_address} has not answered for {PATIENCE:.0f} s; {REMEDY}"
            )
        return False


class ReplicaWait:
    """The time since there were replicas last.

    Args:
        limit: Seconds after which the wait is over.
        say: Receives one sentence per wait, for the user; None for no message.
    """

    def __init__(self, limit: float, say: Callable[[str], None] | None) -> None:
        self.limit, self.say = limit, say
        self._notified, self._start = False, time.monotonic()

    def over(self, *, working: bool) -> bool:
        """Whether the limit is exceeded; ``working``: whether there are replicas now, which starts the time again."""
        if working:
            self._notified, self._start = False, time.monotonic()
            return False
        waited = time.monotonic() - self._start
        if self.say is not None and not self._notified and QUIET_TIME < waited <= self.limit:
            self._notified = True
            self.say(
                f"the cluster has had no room for replicas of the model for {waited:.0f} s; this command waits "
                f"{self.limit:.0f} s in all, and `ray status` shows what the cluster is busy with"
            )
        return waited > self.limit


def _is_listening(address: str) -> bool:
    """Whether a server listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with closing(socket.create_connection((host.strip("[]"), int(port)), timeout=INTERVAL)):
            return True
    except OSError:
        return False


@contextmanager
def message_if_ended(text: str) -> Iterator[None]:
    """Write a text on stderr if Ray ends this process inside the block, which it does without a message.

    Another process waits for the end of the block or of this process, whichever comes first.
    """
    command = ["sh", "-c", 'read -r line || printf "%s\\n" "$1" >&2', "sh", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as watcher:
        try:
            yield
        finally:
            assert watcher.stdin is not None
            with suppress(OSError):
                watcher.stdin.write(b"\n")
                watcher.stdin.flush()
