"""Finding out which limits on generated programs hold on this machine, by a program that tries to break each."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mdm_tune.benchmarks.execution_folders import folder_of_its_own, remove_abandoned
from mdm_tune.benchmarks.execution_process import MEBIBYTE, Job, Limits, need_unix, run_job

__all__ = ["Protection", "protection"]

LIMITS = Limits(seconds=2.0, memory=512)
# Each attempt raises or returns None if the limit holds. Any other result means that the limit does not hold.
PROBE = """
import os, resource, signal

def attempts(secret, folder, tool, port, memory, file, seconds):
    def connect():
        import socket
        with socket.create_connection(("127.0.0.1", port), 2):
            return True
    def start():
        number = os.fork()
        if not number:
            os._exit(0)
        return number
    def spawn():
        return os.posix_spawn("/bin/true", ["true"], {})
    def signal_by_number():
        os.kill(tool, 0)
        return True
    def signal_by_handle():
        signal.pidfd_send_signal(os.pidfd_open(tool), 0)
        return True
    def look_at(number):
        return lambda: open(f"/proc/{number}/mem", "r+b", buffering=0)
    def settings_of_tool():
        return open(f"/proc/{tool}/environ", "rb").read(1)
    def create():
        return os.open(os.path.join(folder, "new"), os.O_CREAT | os.O_WRONLY)
    def write_big():
        with open("big", "wb") as target:
            target.write(bytes(2 * file))
        return True
    def more_time():
        if resource.getrlimit(resource.RLIMIT_CPU)[1] == seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (2 * seconds, 2 * seconds))
        return True
    done = lambda call, *given: lambda: (call(*given), True)[1]
    yield "network", connect
    for each in (start, spawn, signal_by_number, signal_by_handle):
        yield "other processes", each
    for number in {tool, os.getppid(), *range(max(2, os.getpid() - 3), os.getpid() + 3)} - {0, os.getpid()}:
        yield "other processes", look_at(number)
    yield "reading other files", settings_of_tool
    yield "reading other files", lambda: open(secret).read()
    yield "reading other files", lambda: os.listdir(folder)
    yield "changing other files", create
    yield "changing other files", done(os.mkfifo, os.path.join(folder, "pipe"))
    yield "changing other files", done(os.symlink, "nothing", os.path.join(folder, "link"))
    yield "changing other files", done(os.chmod, secret, 0o644)
    yield "changing other files", done(os.utime, secret, (1, 1))
    yield "changing other files", done(os.remove, secret)
    yield "memory", lambda: bytearray(2 * memory)
    yield "file size", write_big
    yield "CPU time", more_time

def lost(*given):
    found = []
    for name, attempt in attempts(*given):
        try:
            if attempt() is not None and name not in found:
                found.append(name)
        except Exception:
            pass
    return found
"""


@dataclass(frozen=True)
class Protection:
    """The limits on generated programs that hold on this machine.

    Attributes:
        layers: The layers of protection that the kernel granted.
        lost: The limits that do not hold, in words.
    """

    layers: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def record(self) -> dict[str, list[str]]:
        """The protection as JSON."""
        return {"in_force": list(self.layers), "lost": list(self.lost)}

    @property
    def sentence(self) -> str:
        """The protection in a sentence for the user."""
        by = f" (by {', '.join(self.layers)})" if self.layers else ""
        if not self.lost:
            return (
                f"generated programs run in processes of their own{by} without network, other processes or files but "
                "their own and Python's, with limits on time, memory and the size of files; all of it was tried"
            )
        return (
            f"generated programs run unsafely{by}: this machine does not keep them from, or set limits on, "
            f"{', '.join(self.lost)}; that was tried"
        )


@cache
def protection(layers: tuple[str, ...]) -> Protection:
    """Try which limits hold with these layers of protection. The folders of killed runs are removed first.

    Raises:
        RunError: If no process can be started.
    """
    need_unix()
    remove_abandoned()
    with folder_of_its_own() as path, socket.socket() as server:
        folder = str(path)
        secret = Path(folder) / "secret"
        secret.write_text("not for programs", encoding="utf-8")
        before = secret.stat()
        with suppress(OSError):  # on a machine without a network, nothing answers at port 0
            server.bind(("127.0.0.1", 0))
            server.listen()
        targets = (str(secret), folder, os.getpid(), server.getsockname()[1])
        sizes = (LIMITS.memory * MEBIBYTE, LIMITS.file * MEBIBYTE, int(LIMITS.seconds))
        tests = f"found = lost{(*targets, *sizes)!r}\nassert not found, ', '.join(found)"
        outcome, in_force = run_job(Job(PROBE, tests, names=("lost",)), LIMITS, layers, hook=False)
        lost = outcome.detail.removeprefix("AssertionError: ").split(", ") if outcome.verdict != "passed" else []
        if outcome.verdict == "refused" or (lost and not outcome.detail.startswith("AssertionError: ")):
            lost = [f"anything ({outcome.detail})"]
        changed = not secret.exists() or secret.stat().st_mode != before.st_mode or len(os.listdir(folder)) != 1
        if changed and "changing other files" not in lost:
            lost.append("changing other files")
        return Protection(in_force, tuple(lost))
