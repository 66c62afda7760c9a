"""Restrictions that a process asks the kernel to put on itself. The module needs the standard library only.

The layers protect independently, also where two of them cover the same thing. Namespaces block the network and other
processes, mounts and Landlock block files, seccomp blocks every system call that is not on its list.
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

ROOM = "/program"  # the program's folder if it has its own mounts
SPACE = "size=16m,nr_inodes=1k,mode=700"  # limits of all files there together

NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = 0x20000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
NO_SET_USER, NO_DEVICES, REMOUNT, BIND, RECURSIVE, PRIVATE, READ_ONLY = 2, 4, 32, 0x1000, 0x4000, 0x40000, 1
SET_ATTRIBUTES, HERE, WHOLE_TREE = 442, -100, 0x8000  # mount_setattr(2), one number on all machines
DIE_WITH_PARENT, DUMPABLE, SECCOMP, NO_NEW_PRIVILEGES = 1, 4, 22, 38  # of prctl(2)
FILTER = 2
CAPABILITIES_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of capset(2)
MAKE_RULESET, ADD_RULE, RESTRICT = 444, 445, 446  # landlock(7)
BELOW_PATH, ITS_VERSION = 1, 1
RIGHTS = {
    1: 13,
    2: 14,
    3: 15,
    4: 15,
}  # rights on files that each version of Landlock knows; 16 from the fifth version on
WRITE_FILE, READ_FILE, READ_FOLDER, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
OWN = 0b110000110111110  # all rights except to run files and to make devices, sockets, pipes and links
READABLE = (  # paths that a program may read, besides those that Python imports from
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/etc/ld.so.cache"),
    *("/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom"),
)
OPEN_FILES = 64


@functools.cache
def libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def c_call(name: str, *arguments: Any) -> int:
    """Call a function of the C library and return its result; raise OSError if it fails or does not exist."""
    function = getattr(libc(), name, None)
    if sys.platform != "linux" or function is None:
        raise OSError(f"this system has no {name}")
    result = int(function(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return result


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends. A change of privileges cancels this."""
    with contextlib.suppress(OSError):
        c_call("prctl", DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory and open files."""
    with contextlib.suppress(OSError):
        c_call("prctl", DUMPABLE, 0, 0, 0, 0)


def readable_paths() -> list[str]:
    """Return the paths that a program may read besides its own folder: the libraries of Python and of the system."""
    paths = dict.fromkeys((*READABLE, *sys.path, os.path.join(sys.base_prefix, "lib")))
    real = dict.fromkeys([*paths, *(os.path.realpath(path) for path in paths if path)])
    return [path for path in real if os.path.isabs(path) and os.path.exists(path)]


def enter_namespaces() -> bool:
    """Leave the machine's network, shared memory and mounts for new namespaces; return whether the kernel did so."""
    user, group = os.getuid(), os.getgid()
    try:
        c_call("unshare", NEW_USER | NEW_IPC | NEW_NET | NEW_MOUNTS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError:
        return False
    return True


def separate_processes() -> bool:
    """Give the next child process a namespace where it sees no other process; return whether the kernel did so."""
    try:
        c_call("unshare", NEW_PID)
    except OSError:
        return False
    return True


def mount_root(home: str) -> bool:
    """Make ``home`` the root of a file system with Python's libraries and a small folder in memory, and nothing else.

    Returns whether the kernel did so.
    """
    try:
        c_call("mount", b"none", b"/", None, RECURSIVE | PRIVATE, None)
        c_call("mount", b"tmpfs", os.fsencode(home), b"tmpfs", NO_SET_USER | NO_DEVICES, SPACE.encode())
        os.mkdir(home + ROOM)
        c_call("mount", b"tmpfs", os.fsencode(home + ROOM), b"tmpfs", NO_SET_USER | NO_DEVICES, SPACE.encode())
        bound: list[str] = []
        for path in sorted([*readable_paths(), os.devnull]):
            if not any(path == other or path.startswith(other + os.sep) for other in bound):
                _bind(path, home + path)
                bound.append(path)
        _make_read_only(home, 0)
        c_call("chroot", os.fsencode(home))
    except OSError:
        return False
    os.chdir(ROOM)
    return True


def _bind(path: str, target: str) -> None:
    """Show a file or folder, for reading only, also at ``target``."""
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    c_call("mount", os.fsencode(path), os.fsencode(target), None, BIND | RECURSIVE, None)
    _make_read_only(target, WHOLE_TREE)


def _make_read_only(path: str, tree: int) -> None:
    """Make a mount read-only. tree: WHOLE_TREE if mounts below it change too, else 0."""
    target = os.fsencode(path)
    try:
        attributes = struct.pack("=QQQQ", READ_ONLY, 0, 0, 0)
        c_call("syscall", SET_ATTRIBUTES, HERE, target, tree, attributes, ctypes.c_size_t(32))
    except OSError:  # before Linux 5.12
        flags = os.statvfs(path).f_flag & ~READ_ONLY  # in a user namespace, the kernel refuses to remove any of them
        c_call("mount", None, target, None, REMOUNT | BIND | READ_ONLY | flags, None)


def apply_landlock(home: str) -> bool:
    """Let the kernel refuse to start programs and to open files, except those in ``home`` and Python's libraries.

    Newer kernels also refuse TCP and signals to other processes. Returns whether the kernel did so.
    """
    try:
        version = c_call("syscall", MAKE_RULESET, None, ctypes.c_size_t(0), ITS_VERSION)
        rights = (1 << RIGHTS.get(version, 16)) - 1
        handled = struct.pack("=QQQ", rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
        rules = c_call("syscall", MAKE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
        reading = dict.fromkeys(readable_paths(), READ_FILE | READ_FOLDER)
        for path, allowed in {**reading, os.devnull: READ_FILE | WRITE_FILE, home: OWN}.items():
            granted = allowed if os.path.isdir(path) else allowed & (READ_FILE | WRITE_FILE | TRUNCATE)
            number = os.open(path, os.O_PATH)
            c_call("syscall", ADD_RULE, rules, BELOW_PATH, struct.pack("=Qi", granted & rights, number), 0)
            os.close(number)
        c_call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        c_call("syscall", RESTRICT, rules, 0)
        os.close(rules)
    except OSError:
        return False
    return True


def apply_seccomp(program: bytes) -> bool:
    """Let the kernel refuse every system call that a filter of libseccomp does not allow.

    Returns whether the kernel took the filter; False for an empty one.
    """
    if not program:
        return False
    instructions = ctypes.create_string_buffer(program, len(program))
    filter_address = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    try:
        c_call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        c_call("prctl", SECCOMP, FILTER, filter_address, 0, 0)
    except OSError:
        return False
    return True


def drop_privileges() -> None:
    """Drop the privileges of root and of the owner of a user namespace."""
    with contextlib.suppress(OSError):
        c_call("capset", struct.pack("=Ii", CAPABILITIES_3, 0), bytes(24))


def set_limits(settings: dict[str, Any]) -> None:
    """Set the limits that this system knows."""
    limits = {
        "RLIMIT_CPU": int(settings["seconds"]),
        "RLIMIT_AS": int(settings["memory"]),
        "RLIMIT_FSIZE": int(settings["file"]),
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_CORE": 0,
    }
    _set_resources(limits)


def _set_resources(limits: dict[str, int]) -> None:
    for constant, most in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, constant), (most, most))


def confine(settings: dict[str, Any], home: str, layers: list[str]) -> list[str]:
    """Add the remaining layers and limits to this process, before it runs the program or its tests.

    Args:
        settings: The first message from ``execution_process``, with limits, layers and filters.
        home: The program's folder.
        layers: The layers that are already in force.

    Returns:
        All layers that are in force.
    """
    in_force = list(layers)
    wanted = settings["layers"]
    if "landlock" in wanted and apply_landlock(home):
        in_force.append("landlock")
    drop_privileges()
    die_with_parent()
    set_limits(settings)
    own_files = "landlock" in in_force or "mounts" in in_force
    if "seccomp" in wanted and apply_seccomp(bytes.fromhex(settings["filters"]["writing" if own_files else "reading"])):
        in_force.append("seccomp")
    else:
        _set_resources({"RLIMIT_NPROC": 0})  # no effect for root
    return in_force
