"""Programs that a model wrote, run in a process of their own with little time, memory, disk and no network.

What it guards against: endless loops, too much memory, large files, fork bombs, a program that ends itself before its
tests, one that reads the environment or the user's files, connects to something, starts another program, or deletes
what it finds. The kernel of Linux does it, by namespaces, Landlock and limits; what a system lacks of that is said
before the first program runs, and then only Python's own calls are refused. What it is no protection against: an
attacker. A program runs with the rights of the user who started it and may look for holes in the kernel; many small
files can fill a disk; and one that searches the interpreter it runs in can find the token that says it reached its end.
Whoever tunes on code from models or data that they do not trust runs the whole tool in a virtual machine or a container
without network and without anything worth reading.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, get_args

from mdm_tune.errors import InputError, RunError

__all__ = ["VERDICTS", "Limits", "Outcome", "Verdict", "isolation", "require_permission", "run_program", "run_programs"]

Verdict = Literal["passed", "failed", "timed out", "out of memory", "refused"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MEBIBYTE = 1 << 20
REPORT = 4096  # bytes that are read of what a program's process says; a program that finds the way can write more
CHILD = Path(__file__).with_name("execution_child.py")  # not imported: it needs what only Unix has


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    seconds: of CPU time, counted in whole seconds upwards; on the clock three times as long and two seconds more.
    memory: MiB of address space. file: MiB that a file may have.
    """

    seconds: float = 3.0
    memory: int = 1024
    file: int = 1

    @property
    def clock(self) -> float:
        """Seconds after which a process is killed whatever it does."""
        return 3 * self.seconds + 2


@dataclass(frozen=True)
class Outcome:
    """What became of a program; detail: its error, "" where it passed."""

    verdict: Verdict
    detail: str = ""


def require_permission(allowed: bool, what: str) -> None:
    """Raise InputError where ``what``, such as "task humaneval", runs programs that no flag allows."""
    if not allowed:
        raise InputError(
            f"{what} runs the programs that the model writes, which a config cannot allow by itself; they run in a "
            "process of their own with limits, which is no protection against an attacker: give --run-generated-code "
            "if you accept that"
        )


def run_program(program: str, *, allowed: bool, limits: Limits = Limits()) -> Outcome:
    """Run Python source to its end in a process of its own, and say whether it got there.

    passed: it ran to its last line. Ending itself before that, even with success, is ``failed``, like any error.
    refused: an error because it asked for network, another process or a change outside its temporary folder. It sees
    the standard library only, an empty environment and no standard input; what it prints is lost.

    Raises InputError where ``allowed`` is false, RunError where no process can be started.
    """
    require_permission(allowed, "scoring")
    with tempfile.TemporaryDirectory(prefix="mdm-tune-", ignore_cleanup_errors=True) as folder:
        return _outcome(program, Path(folder), limits)[0]


def run_programs(
    programs: Sequence[str], *, allowed: bool, limits: Limits = Limits(), workers: int | None = None
) -> list[Outcome]:
    """The outcome of each program, several at a time; workers: how many, without it as many as this process has CPUs.

    Raises as ``run_program`` does, before the first one has run.
    """
    require_permission(allowed, "scoring")
    with ThreadPoolExecutor(workers or _processors()) as pool:
        return list(pool.map(lambda program: run_program(program, allowed=allowed, limits=limits), programs))


@cache
def isolation() -> str:
    """What keeps programs in their place on this machine, as a sentence for a reader."""
    with tempfile.TemporaryDirectory(prefix="mdm-tune-") as folder:
        lacking = _outcome("", Path(folder), Limits())[1]
    if not lacking:
        return (
            "generated programs run in processes without network, which see no files but their own and Python's, with "
            "limits on time, memory and the size of files"
        )
    return (
        f"generated programs run in processes with limits, but this system has none on {', '.join(lacking)}; Python's "
        "own calls for network, processes and changes to files are refused all the same"
    )


def _outcome(program: str, folder: Path, limits: Limits) -> tuple[Outcome, list[str]]:
    """What became of a program, and which limits its process lacked."""
    token = secrets.token_hex(16)
    given = {
        "program": program,
        "token": token,
        "seconds": math.ceil(limits.seconds),
        "memory": limits.memory * MEBIBYTE,
        "file": limits.file * MEBIBYTE,
    }
    with tempfile.TemporaryFile() as report:
        code, complaint = _run(json.dumps(given).encode(), folder, report, limits.clock)
        report.seek(0)
        said = _lines(report.read(REPORT))
    if not said:
        reason = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise RunError(f"the process for generated programs did not start: {reason[0]}; it needs Linux or another Unix")
    lacking = [str(name) for name in said[0].get("lacking", ())]
    last = said[-1]
    if code is None:
        return Outcome("timed out", f"after {limits.clock:.0f} seconds"), lacking
    if code == 0 and last.get("verdict") in VERDICTS:
        if last["verdict"] == "passed" and last.get("token") != token:
            return Outcome("failed", "it reports success without having reached its end"), lacking
        return Outcome(last["verdict"], str(last.get("detail", ""))), lacking
    ended = -code if code < 0 else code - 128
    if ended in (signal.SIGXCPU, signal.SIGKILL):
        return Outcome("timed out", f"after {math.ceil(limits.seconds)} seconds of CPU time"), lacking
    how = f"by signal {ended}" if ended > 0 else f"with exit code {code}"
    return Outcome("failed", f"it ended {how} before its last line"), lacking


def _run(given: bytes, folder: Path, report: IO[bytes], seconds: float) -> tuple[int | None, bytes]:
    """Exit code, None where the clock ran out, and what the process said of its own start."""
    if os.name != "posix":
        raise RunError("generated programs need the limits of Linux or another Unix; run the tool there")
    # In place of -I, which would ignore the fixed hash seed too: the environment is empty but for what stands here.
    command = [sys.executable, "-s", "-P", "-S", "-B", str(CHILD)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=report,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        complaint = process.communicate(given, timeout=seconds)[1]
        return process.returncode, complaint
    except subprocess.TimeoutExpired:
        return None, b""
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS denies it for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _lines(report: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a report; what a program may have written into it besides is left out."""
    found = []
    for line in report.splitlines():
        with suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict):
                found.append(message)
    return found


def _processors() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available is not None else os.cpu_count() or 1
