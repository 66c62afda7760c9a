"""The memory that is free, and a check that an allocation fits into it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mdm_tune.core.errors import InputError

__all__ = ["available_memory", "check_memory"]

MEMINFO = Path("/proc/meminfo")
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
