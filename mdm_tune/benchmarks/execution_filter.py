"""The system calls that a generated program may make, as filters that libseccomp writes for this machine's kernel.

The filters list the allowed calls. All others fail with EPERM, such as calls that open a network connection, start or
signal a process, mount, trace, or make a link or a named pipe.
"""

from __future__ import annotations

import errno
import os
import tempfile
from functools import cache
from typing import Any

__all__ = ["filters"]

ALLOWED = """
    read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek close close_range sendfile fsync
    fdatasync fstat fstat64 newfstatat fstatat64 stat lstat statx statfs fstatfs access faccessat faccessat2 readlink
    readlinkat getdents getdents64 getcwd chdir fchdir umask flock dup dup2 dup3 pipe pipe2 poll ppoll select pselect6
    epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 brk munmap mremap mmap mprotect madvise
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause alarm
    setitimer getitimer clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage sysinfo
    uname getpid gettid getppid getuid geteuid getgid getegid getgroups getpgrp getpgid getsid getresuid getresgid
    sched_yield sched_getaffinity getcpu getpriority futex futex_waitv set_robust_list get_robust_list set_tid_address
    rseq membarrier arch_prctl getrandom getrlimit capget exit exit_group restart_syscall
"""
CHANGING = "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 truncate ftruncate fallocate"
MISSING = (
    "clone3",
    "openat2",
)  # a filter cannot read their flags, which are in memory; the C library then makes the older call
FILE_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030)  # of fcntl(2): copies, flags, locks; no signals, no larger pipes
DEVICE_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # of ioctl(2): what kind of file, flags
NAMES = (15, 16, 0x53564D41)  # of prctl(2): the name of a thread, and of a piece of memory
NEW_THREAD = 0x10000
NEW_SPACES = 0x7E020080  # every flag of clone(2) that makes a namespace
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@cache
def filters() -> dict[str, str]:
    """Return two filters in hexadecimal digits, or empty texts without libseccomp.

    Returns:
        ``writing``, which allows changes of files, for programs that reach their own files only; ``reading``, which
        does not, for all others.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError, AttributeError):  # missing, or another version than expected
        return {"writing": "", "reading": ""}
    return {"writing": _filter_hex(pyseccomp, True), "reading": _filter_hex(pyseccomp, False)}


def _filter_hex(library: Any, writing: bool) -> str:
    """One filter in hexadecimal digits. writing: whether files may be changed."""
    system_calls = library.SyscallFilter(library.ERRNO(errno.EPERM))

    def allow(name: str, *arguments: Any, action: Any = library.ALLOW) -> None:
        try:
            system_calls.add_rule(action, name, *arguments)
        except (ValueError, OSError, RuntimeError):  # a call that this version or this machine does not know
            return

    def is_(argument: int, value: int, mask: int = 0xFFFFFFFF) -> Any:
        return library.Arg(argument, library.MASKED_EQ, mask, value)

    for name in ALLOWED.split():
        allow(name)
    for name in MISSING:
        allow(name, action=library.ERRNO(errno.ENOSYS))
    for name, argument in (("open", 1), ("openat", 2)):
        allow(name, *([] if writing else [is_(argument, 0, WRITING | os.O_TMPFILE & ~os.O_DIRECTORY)]))
    for name in CHANGING.split() if writing else ():
        allow(name)
    allow("clone", is_(0, NEW_THREAD, NEW_THREAD | NEW_SPACES))
    allow("prlimit64", is_(2, 0, 0xFFFFFFFFFFFFFFFF))  # only to read limits, not to set them
    for name, argument, values in (("fcntl", 1, FILE_COMMANDS), ("ioctl", 1, DEVICE_COMMANDS), ("prctl", 0, NAMES)):
        for value in values:
            allow(name, is_(argument, value))
    with tempfile.TemporaryFile() as file:
        system_calls.export_bpf(file)
        file.seek(0)
        return file.read().hex()
