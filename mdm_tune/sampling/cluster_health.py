"""Whether the cluster that replicas run on is still there, its head and our node, and has had room for them lately."""

from __future__ import annotations

import math
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from mdm_tune.core.errors import RunError

__all__ = ["REMEDY", "ClusterWatch", "ReplicaWait", "message_if_ended"]

LOOK = 2.0  # seconds between two looks
PATIENCE = 20.0  # seconds without an answer after which the head is taken to be dead; some are started again
UNSAID = 10.0  # seconds before it is said that a cluster is waited for; its processes take some to start
REMEDY = "what was finished is kept: start a cluster, and go on with --resume"


class ClusterWatch:
    """Looks now and then, since Ray ends a process without a word of use once the head has been away for long."""

    def __init__(self) -> None:
        self._looked, self._gone = time.monotonic(), math.inf  # when it was first seen not to answer
        self.there = True

    def look(self) -> bool:
        """Whether the head answers, or did when this last looked.

        Raises RunError where it has not for a while, and where this process's own node is dead.
        """
        now = time.monotonic()
        if now - self._looked < LOOK:
            return self.there
        import ray

        context = ray.get_runtime_context()
        self.there, self._looked = _answers(context.gcs_address), now
        if self.there:
            self._gone = math.inf
            own = [node["Alive"] for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
            if not all(own):
                raise RunError(f"the node of the cluster that this command runs on has died; {REMEDY}")
            return True
        self._gone = min(self._gone, now)
        if now - self._gone >= PATIENCE:
            raise RunError(
                f"the head of the cluster at {context.gcs_address} has not answered for {PATIENCE:.0f} s; {REMEDY}"
            )
        return False


class ReplicaWait:
    """How long there have been no replicas. limit: seconds of it. say: is given a sentence once for each such time."""

    def __init__(self, limit: float, say: Callable[[str], None] | None) -> None:
        self.limit, self.say = limit, say
        self._said, self._since = False, time.monotonic()

    def over(self, *, working: bool) -> bool:
        """Whether to wait no longer. working: there are replicas now."""
        if working:
            self._said, self._since = False, time.monotonic()
            return False
        waited = time.monotonic() - self._since
        if self.say is not None and not self._said and UNSAID < waited <= self.limit:
            self._said = True
            self.say(
                f"the cluster has had no room for replicas of the model for {waited:.0f} s; they are waited for up to "
                f"{self.limit:.0f} s in all, and `ray status` shows what the cluster is busy with"
            )
        return waited > self.limit


def _answers(address: str) -> bool:
    """Whether a server listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with closing(socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK)):
            return True
    except OSError:
        return False


@contextmanager
def message_if_ended(text: str) -> Iterator[None]:
    """Have a text written on stderr where this process is ended inside the block: Ray does that without a message.

    Another process waits for the end of the block or of this process, whichever comes first.
    """
    command = ["sh", "-c", 'read -r line || printf "%s\\n" "$1" >&2', "sh", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as other:
        try:
            yield
        finally:
            assert other.stdin is not None
            with suppress(OSError):
                other.stdin.write(b"\n")
                other.stdin.flush()
