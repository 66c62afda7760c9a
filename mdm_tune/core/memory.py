"""How much memory is there, and whether something that is about to be made fits into it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mdm_tune.core.errors import InputError

__all__ = ["available_memory", "check_memory"]

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # of a container, as it sees it itself


def available_memory() -> int | None:
    """Bytes that can still be used: those of the machine, or of the container's limit; None where no file says so."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # "max" is no limit
        limit = int((GROUP / "memory.max").read_text(encoding="ascii"))
        found.append(max(0, limit - int((GROUP / "memory.current").read_text(encoding="ascii"))))
    return min(found, default=None)


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise InputError where ``what`` needs more bytes than there are.

    what: such as "the profile of a Markov chain of 65,536 positions". remedy: a clause.
    """
    there = available_memory()
    if there is not None and needed > there:
        raise InputError(f"{what} needs {_size(needed)} of memory, and {_size(there)} are free; {remedy}")


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**29 else f"{count / 2**20:,.1f} MiB"
