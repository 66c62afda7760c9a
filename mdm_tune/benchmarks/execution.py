"""Running programs that a model wrote, each in its own process, with tests in another process that it cannot reach.

The program's process contains the program alone. A second process contains the tests and the expected values. It calls
the program's functions over a pipe, compares the results on its side, and gives the verdict. The kernel limits what the
program's process may do. Before the first program runs, each limit is tried on this machine. If one does not hold, no
program runs unless the user accepts that. docs/generated-code.md says what is promised and what is not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mdm_tune.benchmarks.execution_probe import Protection, protection
from mdm_tune.benchmarks.execution_process import LAYERS, VERDICTS, Job, Limits, Outcome, Verdict, run_job
from mdm_tune.core.errors import InputError
from mdm_tune.core.permissions import GeneratedCode

__all__ = [
    "VERDICTS",
    "Job",
    "Limits",
    "Outcome",
    "Protection",
    "Verdict",
    "isolation",
    "require_permission",
    "run_programs",
]

WANTED: tuple[str, ...] = LAYERS  # the layers of protection that are requested
REMEDIES = {
    "seccomp": "seccomp (install libseccomp: on Debian and Ubuntu the package libseccomp2)",
    "landlock": "Landlock (Linux 5.13 or newer)",
    "mounts": "mounts of their own (user namespaces)",
}


def require_permission(allowed: GeneratedCode, what: str) -> Protection:
    """Return this machine's protection, if the command line permits generated code with it.

    Args:
        allowed: What the command line permits.
        what: What runs the programs, for messages, such as "task humaneval".

    Raises:
        InputError: If the command line does not permit generated code, or if a limit does not hold and the command line
            does not say ``unsafe``.
        RunError: If no process can be started.
    """
    if not allowed:
        raise InputError(
            f"{what} runs the programs that the model writes, which a config cannot allow by itself; they run in "
            "processes of their own with limits (docs/generated-code.md): give --run-generated-code if you accept that"
        )
    granted = isolation()
    if granted.lost and allowed != "unsafe":
        lacking = [text for layer, text in REMEDIES.items() if layer not in granted.layers]
        raise InputError(
            f"{what} runs the programs that the model writes, and this machine does not keep them from, or set limits "
            f"on, {', '.join(granted.lost)}; it lacks {', '.join(lacking) or 'none of the known protections'}: give "
            "--run-generated-code=unsafe if you accept that, or run the tool in a virtual machine without anything "
            "worth reading"
        )
    return granted


def isolation() -> Protection:
    """Return the protection that this machine offers. It is tried once per process."""
    return protection(WANTED)


def run_programs(
    programs: Sequence[Job | str], *, allowed: GeneratedCode, limits: Limits = Limits(), workers: int | None = None
) -> list[Outcome]:
    """Run programs and their tests, and return the outcome of each.

    A program sees the standard library only, an empty environment and no standard input. Its output is dropped.

    Args:
        programs: Programs with tests; a text is a program without other tests than its own.
        allowed: What the command line permits.
        limits: What one program may use.
        workers: Programs that run at a time; None is one per CPU of this process.

    Returns:
        One outcome per program. The verdict ``refused`` is an error because the kernel refused a system call.

    Raises:
        InputError: As ``require_permission``, before the first program runs.
        RunError: If no process can be started, or if a protection is lost.
    """
    granted = require_permission(allowed, "scoring")
    jobs = [Job(program) if isinstance(program, str) else program for program in programs]
    with ThreadPoolExecutor(workers or _cpu_count()) as pool:
        return list(pool.map(lambda job: run_job(job, limits, WANTED, granted.layers)[0], jobs))


def _cpu_count() -> int:
    """The CPUs of this process."""
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
