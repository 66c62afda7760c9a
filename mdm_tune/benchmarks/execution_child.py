"""The script that ``execution`` starts for each program. It needs the standard library only.

There are three processes. The first reads {program, limits ...} from standard input, starts the other two, waits, and
kills both at the end. The second runs the program. The third reads the tests from standard input, which the second
never sees, and alone writes the verdict. Standard output is JSON, one object per line: {layers}, {verdict, detail},
{program, late}, where "program" is the exit code of the program's process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(ROOT)  # for these four modules, which need the standard library only

from mdm_tune.benchmarks import execution_hook, execution_kernel, execution_sides, execution_wire  # noqa: E402

LOST = 3  # exit code of the tests' process if the program's process has ended before it
TICK = 0.5  # seconds between checks that the tool still runs, for kernels that do not report its end


def apart(work: Callable[[], None], parent: int | None) -> int:
    """Start a process that does this work and ends; return its process id.

    parent: The process must still have this parent when it starts, else it ends at once; None for any parent.
    """
    number = os.fork()
    if number:
        return number
    try:
        execution_kernel.die_with_parent()
        if parent is None or os.getppid() == parent:
            work()
    except execution_wire.Lost:
        os._exit(0)
    except BaseException as error:
        os.write(2, execution_wire.error_line(error).encode(errors="replace") + b"\n")
        os._exit(1)
    os._exit(0)  # so that threads and exit handlers of the program do not run on


def only(*numbers: int) -> list[int]:
    """Close all files except these, connect the standard ones to the null device, and return the new numbers."""
    high = [os.dup2(number, 200 + index, inheritable=False) for index, number in enumerate(numbers)]
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.closerange(3, 200)
    renumbered = [os.dup2(number, 3 + index, inheritable=False) for index, number in enumerate(high)]
    os.closerange(3 + len(numbers), 256)
    return renumbered


def forget_this_package() -> None:
    """Hide this package, and all that is installed beside it, from the program."""
    sys.path.remove(ROOT)
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.partition(".")[0] == "mdm_tune"]:
        del sys.modules[name]


def main() -> None:
    length = int.from_bytes(execution_wire.exactly(0, 4), "big")
    given: dict[str, Any] = json.loads(execution_wire.exactly(0, length))
    execution_kernel.die_with_parent()
    tool = os.getppid()
    forget_this_package()
    home, layers = os.path.realpath(os.curdir), []
    if "namespaces" in given["layers"] and execution_kernel.enter_namespaces():
        layers.append("namespaces")
        if "mounts" in given["layers"] and execution_kernel.mount_root(home):
            layers.append("mounts")
            home = execution_kernel.ROOM
    execution_kernel.die_with_parent()
    execution_kernel.hide_memory()
    requests, replies, alive, own = os.pipe(), os.pipe(), os.pipe(), os.getpid()

    def run_tests() -> None:
        report = os.dup(1)
        tests = json.loads(b"".join(iter(lambda: os.read(0, 1 << 20), b"")))
        reading, writing, report, _ = only(replies[0], requests[1], report, alive[1])
        execution_kernel.confine(given, home, layers)
        pipe = execution_wire.Pipe(reading, writing)
        try:
            in_force = pipe.receive()[1]
            tell(report, {"layers": in_force})
            if not set(given["required"]) <= set(in_force):
                return
            verdict = execution_sides.tested(pipe, tests)
        except execution_wire.Lost as error:
            verdict = {"verdict": "lost", "detail": str(error)}
        tell(report, verdict)
        if verdict["verdict"] == "lost":
            os._exit(LOST)

    def run_program() -> None:
        reading, writing = only(requests[0], replies[1])
        in_force = execution_kernel.confine(given, home, layers)
        if given["hook"] and "seccomp" not in in_force:
            execution_hook.watch(home)
        execution_sides.answer(execution_wire.Pipe(reading, writing), given["program"], in_force)

    tests = apart(run_tests, own)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # only the tests' process may read the rest of standard input
    if "namespaces" in layers and not execution_kernel.separate_processes():
        layers.remove("namespaces")
    program = apart(run_program, None)  # needs no check of its parent: it waits for the tests, which check theirs
    for number in (*requests, *replies, alive[1]):
        os.close(number)
    execution_kernel.drop_privileges()
    execution_kernel.die_with_parent()
    end, late = time.monotonic() + given["clock"], False
    while not select.select([alive[0]], [], [], max(0.0, min(TICK, end - time.monotonic())))[0]:
        late = time.monotonic() >= end
        if late or os.getppid() != tool:
            break
    code = ended(tests)
    tell(1, {"program": ended(program, 1.0 if code == LOST else 0.0), "late": late})


def ended(number: int, patience: float = 0.0) -> int | None:
    """Wait ``patience`` seconds for a child process, kill it if it still runs, and return its exit code.

    The result is None if it was killed after a wait.
    """
    end = time.monotonic() + patience
    while patience and time.monotonic() < end:
        has_ended, status = os.waitpid(number, os.WNOHANG)
        if has_ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    return None if patience and code == -signal.SIGKILL else code


def tell(report: int, message: dict[str, Any]) -> None:
    """Write a message as one line of JSON to an open file."""
    os.write(report, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
