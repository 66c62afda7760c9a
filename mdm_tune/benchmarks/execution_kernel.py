"""What a process gives up by asking the kernel; it runs beside generated programs, so of the standard library only.

Each layer is a protection by itself where it covers the same thing as another one: namespaces take network and other
processes out of reach, mounts and Landlock files, seccomp every system call that is not on its list.
Sources: namespaces(7), user_namespaces(7), mount_setattr(2), landlock(7), seccomp(2), prctl(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import struct
import sys
from typing import Any

ROOM = "/program"  # the program's folder where it has mounts of its own
SPACE = "size=16m,nr_inodes=1k,mode=700"  # of all the files there together

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = 0x20000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
NO_SET_USER, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE, READ_ONLY = 2, 4, 32, 0x1000, 0x4000, 0x40000, 1
SET_ATTRIBUTES, HERE, WHOLE_TREE = 442, -100, 0x8000  # mount_setattr(2), one number on all machines
DIE_WITH_PARENT, DUMPABLE, SECCOMP, NO_NEW_PRIVILEGES = 1, 4, 22, 38  # of prctl(2)
FILTER = 2
CAPABILITIES_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of capset(2)
MAKE_RULESET, ADD_RULE, RESTRICT = 444, 445, 446  # landlock(7)
BELOW_PATH, ITS_VERSION = 1, 1
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many rights on files a version of Landlock knows; 16 from the fifth on
WRITE_FILE, READ_FILE, READ_FOLDER, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
OWN = 0b110000110111110  # all but to run files and to make devices, sockets, pipes and links
READABLE = (  # besides what Python itself imports from
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/etc/ld.so.cache"),
    *("/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"),
)
OPEN_FILES = 64


@functools.cache
def libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def asked(name: str, *arguments: Any) -> int:
    """The answer of one call of the C library; raises OSError where it fails or there is no such call."""
    function = getattr(libc(), name, None)
    if sys.platform != "linux" or function is None:
        raise OSError(f"this system has no {name}")
    answer = int(function(*arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return answer


def die_with_parent() -> None:
    """Let the kernel end this process when the one that started it ends; every change of rights undoes it."""
    with contextlib.suppress(OSError):
        asked("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def hide_memory() -> None:
    """Let no process of the same user read this one's memory or open files."""
    with contextlib.suppress(OSError):
        asked("prctl", DUMPABLE, 0, 0, 0, 0)


def readable_paths() -> list[str]:
    """What a program may read besides its own folder: Python's library and the system's."""
    paths = dict.fromkeys((*READABLE, *sys.path, os.path.join(sys.base_prefix, "lib")))
    real = dict.fromkeys([*paths, *(os.path.realpath(path) for path in paths if path)])
    return [path for path in real if os.path.isabs(path) and os.path.exists(path)]


def separated() -> bool:
    """Leave the machine's network, shared memory and mounts behind, as far as the kernel allows."""
    user, group = os.getuid(), os.getgid()
    try:
        asked("unshare", NEW_USER | NEW_IPC | NEW_NET | NEW_MOUNTS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError:
        return False
    return True


def processes_separated() -> bool:
    """Let the next process that this one starts be the first of a namespace, in which it sees no other."""
    try:
        asked("unshare", NEW_PID)
    except OSError:
        return False
    return True


def mounted(home: str) -> bool:
    """Make ``home`` the root of a file system with Python's library and a small room in memory, and nothing else."""
    try:
        asked("mount", b"none", b"/", None, RECURSIVE | PRIVATE, None)
        asked("mount", b"tmpfs", os.fsencode(home), b"tmpfs", NO_SET_USER | NO_DEVICES, SPACE.encode())
        os.mkdir(home + ROOM)
        asked("mount", b"tmpfs", os.fsencode(home + ROOM), b"tmpfs", NO_SET_USER | NO_DEVICES, SPACE.encode())
        done: list[str] = []
        for path in sorted([*readable_paths(), os.devnull]):
            if not any(path == other or path.startswith(other + os.sep) for other in done):
                _bind(path, home + path)
                done.append(path)
        _read_only(home, 0)
        asked("chroot", os.fsencode(home))
    except OSError:
        return False
    os.chdir(ROOM)
    return True


def _bind(path: str, place: str) -> None:
    if os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
    asked("mount", os.fsencode(path), os.fsencode(place), None, BIND | RECURSIVE, None)
    _read_only(place, WHOLE_TREE)


def _read_only(place: str, tree: int) -> None:
    target = os.fsencode(place)
    try:
        attributes = struct.pack("=QQQQ", READ_ONLY, 0, 0, 0)
        asked("syscall", SET_ATTRIBUTES, HERE, target, tree, attributes, ctypes.c_size_t(32))
    except OSError:  # before Linux 5.12
        kept = os.statvfs(place).f_flag & ~READ_ONLY  # a user's own namespace may take none of them away
        asked("mount", None, target, None, REMOUNT | BIND | READ_ONLY | kept, None)


def landlocked(home: str) -> bool:
    """Let the kernel refuse every file but those in ``home`` and those that Python imports, and any other program.

    Where it can, it refuses TCP and signals to other processes too.
    """
    try:
        version = asked("syscall", MAKE_RULESET, None, ctypes.c_size_t(0), ITS_VERSION)
        rights = (1 << RIGHTS.get(version, 16)) - 1
        handled = struct.pack("=QQQ", rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
        rules = asked("syscall", MAKE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
        reading = dict.fromkeys(readable_paths(), READ_FILE | READ_FOLDER)
        for path, allowed in {**reading, os.devnull: READ_FILE | WRITE_FILE, home: OWN}.items():
            own = allowed if os.path.isdir(path) else allowed & (READ_FILE | WRITE_FILE | TRUNCATE)
            place = os.open(path, os.O_PATH)
            asked("syscall", ADD_RULE, rules, BELOW_PATH, struct.pack("=Qi", own & rights, place), 0)
            os.close(place)
        asked("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        asked("syscall", RESTRICT, rules, 0)
        os.close(rules)
    except OSError:
        return False
    return True


def filtered(program: bytes) -> bool:
    """Let the kernel refuse every system call that this filter, as libseccomp writes it, does not name."""
    if not program:
        return False
    instructions = ctypes.create_string_buffer(program, len(program))
    told = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    try:
        asked("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        asked("prctl", SECCOMP, FILTER, told, 0, 0)
    except OSError:
        return False
    return True


def without_privileges() -> None:
    """Give up what root may do, and what a process may do in a user namespace of its own."""
    with contextlib.suppress(OSError):
        asked("capset", struct.pack("=Ii", CAPABILITIES_3, 0), bytes(24))


def limit(given: dict[str, Any]) -> None:
    """Set the limits that this system knows."""
    wanted = {
        "RLIMIT_CPU": int(given["seconds"]),
        "RLIMIT_AS": int(given["memory"]),
        "RLIMIT_FSIZE": int(given["file"]),
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_CORE": 0,
    }
    _set(wanted)


def _set(wanted: dict[str, int]) -> None:
    for constant, most in wanted.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, constant), (most, most))


def confined(given: dict[str, Any], home: str, layers: list[str]) -> list[str]:
    """Give up all the rest, in a process that has started no program yet; returns ``layers`` and what came to them."""
    found = list(layers)
    wanted = given["layers"]
    if "landlock" in wanted and landlocked(home):
        found.append("landlock")
    without_privileges()
    die_with_parent()
    limit(given)
    own_files = "landlock" in found or "mounts" in found
    if "seccomp" in wanted and filtered(bytes.fromhex(given["filters"]["writing" if own_files else "reading"])):
        found.append("seccomp")
    else:
        _set({"RLIMIT_NPROC": 0})  # which root is free of
    return found
