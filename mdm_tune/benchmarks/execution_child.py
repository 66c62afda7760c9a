"""What runs in the processes that ``execution`` starts for one program: a script, of the standard library only.

One process waits, in its own process the program runs, and in a third its tests. The first reads {program, limits ...}
from standard input, forks the other two and, at the end, ends both. The program's process never holds the tests: they
are read from standard input by the third alone, and it alone writes the verdict. Standard output is JSON, one object a
line: {layers}, {verdict, detail}, {program, late}, the exit code of the program's process among them.
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
sys.path.append(ROOT)  # for these three, which need the standard library only

from mdm_tune.benchmarks import execution_hook, execution_kernel, execution_sides, execution_wire  # noqa: E402

LOST = 3  # exit code of the tests' process where the program's has ended before them
TICK = 0.5  # seconds between looks at whether the tool still runs, where the kernel does not tell


def apart(work: Callable[[], None], parent: int | None) -> int:
    """The number of a new process that does this work and ends; parent: without it nothing is done."""
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
    os._exit(0)  # neither threads nor exit handlers of the program go on


def only(*kept: int) -> list[int]:
    """Close every open file but standard ones, which lead nowhere from now on, and these; returns their new numbers."""
    high = [os.dup2(number, 200 + place, inheritable=False) for place, number in enumerate(kept)]
    nothing = os.open(os.devnull, os.O_RDWR)
    for place in range(3):
        os.dup2(nothing, place)
    os.closerange(3, 200)
    found = [os.dup2(number, 3 + place, inheritable=False) for place, number in enumerate(high)]
    os.closerange(3 + len(kept), 256)
    return found


def forget_this_package() -> None:
    """Let the program find neither this package nor what else is installed beside it."""
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
    if "namespaces" in given["layers"] and execution_kernel.separated():
        layers.append("namespaces")
        if "mounts" in given["layers"] and execution_kernel.mounted(home):
            layers.append("mounts")
            home = execution_kernel.ROOM
    execution_kernel.die_with_parent()
    execution_kernel.hide_memory()
    requests, replies, alive, own = os.pipe(), os.pipe(), os.pipe(), os.getpid()

    def run_tests() -> None:
        report = os.dup(1)
        tests = json.loads(b"".join(iter(lambda: os.read(0, 1 << 20), b"")))
        reading, writing, report, _ = only(replies[0], requests[1], report, alive[1])
        execution_kernel.confined(given, home, layers)
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
        in_force = execution_kernel.confined(given, home, layers)
        if given["hook"] and "seccomp" not in in_force:
            execution_hook.watch(home)
        execution_sides.answer(execution_wire.Pipe(reading, writing), given["program"], in_force)

    tests = apart(run_tests, own)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the rest of it is for the tests' process alone
    if "namespaces" in layers and not execution_kernel.processes_separated():
        layers.remove("namespaces")
    program = apart(run_program, None)  # it waits for a word of the tests, who see whether this process is there
    for number in (*requests, *replies, alive[1]):
        os.close(number)
    execution_kernel.without_privileges()
    execution_kernel.die_with_parent()
    end, late = time.monotonic() + given["clock"], False
    while not select.select([alive[0]], [], [], max(0.0, min(TICK, end - time.monotonic())))[0]:
        late = time.monotonic() >= end
        if late or os.getppid() != tool:
            break
    code = ended(tests)
    tell(1, {"program": ended(program, 1.0 if code == LOST else 0.0), "late": late})


def ended(number: int, patience: float = 0.0) -> int | None:
    """The exit code of a process of ours, which is killed where it still runs after that many seconds.

    None where it had to be killed after a wait.
    """
    end = time.monotonic() + patience
    while patience and time.monotonic() < end:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    return None if patience and code == -signal.SIGKILL else code


def tell(report: int, message: dict[str, Any]) -> None:
    os.write(report, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
