"""A weaker guard for kernels without a filter of system calls: Python's own calls are refused by name.

It prevents accidents, such as a program that deletes files. It is no protection against code that avoids Python's audit
hooks.
"""

from __future__ import annotations

import os
import sys
from typing import Any

REFUSED = (  # beginnings of the names of audit events
    *("socket.", "ctypes.", "subprocess.", "pty.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system"),
    *("os.kill", "signal.pthread_kill", "os.startfile"),
)
CHANGING = {  # audit events that change files, and the positions of their paths; the target of a link counts too
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), (0,)),
    **dict.fromkeys(("os.setxattr", "os.removexattr"), (0,)),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), (0, 1)),
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(PermissionError):
    """The program made a call that it is not allowed to make."""


def watch(home: str) -> None:
    """From now on, refuse Python's calls that use the network, start processes, or change files outside ``home``."""

    def inside(path: object) -> bool:
        if isinstance(path, int):
            return opened_inside(path)
        name = os.fsdecode(path)  # type: ignore[arg-type]
        if not os.path.isabs(name) and os.pardir in name.split(os.sep):
            return False  # the event does not say which folder the path is relative to
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
        if event == "open" and not isinstance(arguments[0], int):  # a number was checked when it was opened
            path, mode, flags = arguments
            writes = flags & WRITING if isinstance(flags, int) else set(mode or "") & set("wax+")
            full = os.path.realpath(os.fsdecode(path))
            folder = os.path.isdir(full)  # relative to it, other files could be reached without their whole path
            changed = (path,) if writes or folder or full.startswith("/proc/") else ()
        for path in changed:
            if not inside(path):
                raise Refused(f"{event} outside the program's folder is not allowed")

    sys.addaudithook(hook)
