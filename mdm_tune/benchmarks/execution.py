"""Programs that a model wrote, each in a process of its own, tested by another one that it cannot reach.

The program's process holds nothing but the program. Its tests, with the values that they expect, are in a second one,
which calls the program's functions over a pipe, compares what comes back on its own side, and alone gives the verdict.
What the program's process may do is limited by the kernel. Which limits hold on this machine has been tried before the
first program runs; where one does not, none runs before the user accepts that. docs/generated-code.md says what is
promised, and what is not.
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

WANTED: tuple[str, ...] = LAYERS  # the layers of protection that are asked for
REMEDIES = {
    "seccomp": "seccomp (install libseccomp: on Debian and Ubuntu the package libseccomp2)",
    "landlock": "Landlock (Linux 5.13 or newer)",
    "mounts": "mounts of their own (user namespaces)",
}


def require_permission(allowed: GeneratedCode, what: str) -> Protection:
    """What holds the programs that ``what``, such as "task humaneval", runs.

    Raises InputError where no flag allows them, and where a limit does not hold and the flag does not say ``unsafe``;
    RunError where no process can be started.
    """
    if not allowed:
        raise InputError(
            f"{what} runs the programs that the model writes, which a config cannot allow by itself; they run in "
            "processes of their own with limits (docs/generated-code.md): give --run-generated-code if you accept that"
        )
    found = isolation()
    if found.lost and allowed != "unsafe":
        lacking = [text for layer, text in REMEDIES.items() if layer not in found.layers]
        raise InputError(
            f"{what} runs the programs that the model writes, and this machine does not keep them from, or set limits "
            f"on, {', '.join(found.lost)}; it lacks {', '.join(lacking) or 'none of the known protections'}: give "
            "--run-generated-code=unsafe if you accept that, or run the tool in a virtual machine without anything "
            "worth reading"
        )
    return found


def isolation() -> Protection:
    """What keeps programs in their place on this machine, tried once in a process."""
    return protection(WANTED)


def run_programs(
    programs: Sequence[Job | str], *, allowed: GeneratedCode, limits: Limits = Limits(), workers: int | None = None
) -> list[Outcome]:
    """Run programs and their tests, and say of each whether all passed; source by itself has none but its own.

    workers: how many run at a time, without it as many as this process has CPUs. refused: an error because a program
    asked the kernel for what it may not have. A program sees the standard library only, an empty environment and no
    standard input; what it prints is lost.

    Raises as ``require_permission`` does, before the first one has run.
    """
    held = require_permission(allowed, "scoring")
    jobs = [Job(each) if isinstance(each, str) else each for each in programs]
    with ThreadPoolExecutor(workers or _processors()) as pool:
        return list(pool.map(lambda job: run_job(job, limits, WANTED, held.layers)[0], jobs))


def _processors() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available is not None else os.cpu_count() or 1
