"""The free memory, a check that an allocation fits into it, and when freed memory is kept and looked for."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mdm_tune.core.errors import InputError

__all__ = ["available_memory", "check_memory", "collecting_later", "keep_freed_memory"]

MEMINFO = Path("/proc/meminfo")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 1 << 28  # bytes of the largest block that is kept, and of free memory at the end of the heap
GROUP = Path("/sys/fs/cgroup")  # the control group of this container, as seen from inside


def available_memory() -> int | None:
    """Free memory in bytes: the smaller of the machine's and the container's; None if the system does not report it."""
    free = []
    with suppress(OSError, ValueError, IndexError):
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # ValueError: the limit is "max", which means none
        limit = int((GROUP / "memory.max").read_text(encoding="ascii"))
        free.append(max(0, limit - int((GROUP / "memory.current").read_text(encoding="ascii"))))
    return min(free, default=None)


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Check that an allocation fits into the free memory.

    Args:
        needed: bytes.
        what: what needs them, such as "the profile of a Markov chain of 65,536 positions".
        remedy: what to do, as a clause.

    Raises:
        InputError: fewer bytes are free.
    """
    free = available_memory()
    if free is not None and needed > free:
        raise InputError(f"{what} needs {_size_text(needed)} of memory, and {_size_text(free)} are free; {remedy}")


def _size_text(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**29 else f"{count / 2**20:,.1f} MiB"


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for later calls instead of returning them to the system.

    A network frees and allocates the same large blocks at every call. A block that comes from the system is cleared
    page by page, which takes up to a third of the time of a call on the CPU. This changes the whole process, so only
    the command line and replicas call it. Environment variables that say how memory is allocated are respected.

    Returns:
        Whether it was changed. False with another C library.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - an AttributeError with another library
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


@contextmanager
def collecting_later() -> Iterator[None]:
    """A ``with`` block for imports, in which Python does not look for objects that nothing uses any more.

    It would look through all that is loaded again and again, which takes a sixth of the time, and find little. After
    the first block of a process, later collections leave out what is loaded.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        if collecting:
            gc.enable()
