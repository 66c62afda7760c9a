"""One generated program in a process of its own, its tests in another, and what became of it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, get_args

from mdm_tune.benchmarks.execution_filter import filters
from mdm_tune.benchmarks.execution_folders import folder_of_its_own
from mdm_tune.core.errors import RunError

__all__ = ["LAYERS", "VERDICTS", "Job", "Limits", "Outcome", "Verdict", "need_unix", "run_job"]

Verdict = Literal["passed", "failed", "timed out", "out of memory", "refused"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
LAYERS = ("namespaces", "mounts", "landlock", "seccomp")  # of protection, in the order in which they are put on
MEBIBYTE = 1 << 20
REPORT = 1 << 16  # bytes that are read of what the processes say
GRACE = 5.0  # seconds on the clock beyond a program's own, after which its processes are ended from here
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
class Job:
    """A program and its tests.

    program: what the model wrote, all that its process sees. before, tests: run one after the other where the program
    is not. names: those of the program that the tests are about; they hide Python's own, such as sum. imports: by name,
    the import that the tests need where the program has made it too, as where both are one file.
    """

    program: str
    tests: str = ""
    before: str = ""
    names: tuple[str, ...] = ()
    imports: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a program; detail: its error, "" where it passed."""

    verdict: Verdict
    detail: str = ""


def run_job(
    job: Job,
    limits: Limits = Limits(),
    layers: Sequence[str] = LAYERS,
    required: Sequence[str] = (),
    hook: bool = True,
) -> tuple[Outcome, tuple[str, ...]]:
    """What became of a program, and which layers of protection were in force; layers: those that are tried.

    hook: whether Python's own calls are refused by name where the kernel does not filter system calls.

    Nothing of the program runs where a required layer is not in force. Raises RunError there, and where no process can
    be started.
    """
    need_unix()
    seen = {
        "program": job.program,
        "seconds": math.ceil(limits.seconds),
        "clock": limits.clock,
        "memory": limits.memory * MEBIBYTE,
        "file": limits.file * MEBIBYTE,
        "layers": list(layers),
        "required": list(required),
        "filters": filters(),
        "hook": hook,
    }
    tests = {name: value for name, value in asdict(job).items() if name != "program"}
    header = json.dumps(seen).encode()
    with folder_of_its_own() as folder, tempfile.TemporaryFile() as report:
        given = len(header).to_bytes(4, "big") + header + json.dumps(tests).encode()
        code, complaint = _run(given, folder, report, limits.clock + GRACE)
        report.seek(0)
        said = _lines(report.read(REPORT))
    if code is None:
        return Outcome("timed out", f"after {limits.clock:.0f} seconds"), tuple(required)
    if "layers" not in said or code:
        reason = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise RunError(
            f"the processes for generated programs did not start: {reason[0]}; they need Linux or another Unix"
        )
    in_force = tuple(str(layer) for layer in said["layers"])
    missing = [layer for layer in required if layer not in in_force]
    if missing:
        raise RunError(f"the protection by {', '.join(missing)} was there at first and is there no more; run again")
    return _outcome(said, limits), in_force


def need_unix() -> None:
    """Raise RunError on a system that knows no limits for a process."""
    if os.name != "posix":
        raise RunError("generated programs need the limits of Linux or another Unix; run the tool there")


def _outcome(said: Mapping[str, Any], limits: Limits) -> Outcome:
    if said.get("late"):
        return Outcome("timed out", f"after {limits.clock:.0f} seconds")
    verdict, detail = said.get("verdict"), str(said.get("detail", ""))
    if verdict in VERDICTS:
        return Outcome(verdict, detail)
    code = said.get("program")
    if verdict is None:
        return Outcome("timed out", f"its tests took more than {math.ceil(limits.seconds)} seconds of CPU time")
    if code is None:
        return Outcome("failed", f"{detail} while its tests ran")
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return Outcome("timed out", f"after {math.ceil(limits.seconds)} seconds of CPU time")
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return Outcome("failed", f"it ended {how} before its last test")


def _run(given: bytes, folder: Path, report: IO[bytes], seconds: float) -> tuple[int | None, bytes]:
    """Exit code, None where the clock ran out, and what the process said of its own start."""
    # In place of -I, which would ignore the fixed hash seed too: the environment is empty but for what stands here.
    command = [sys.executable, "-s", "-P", "-S", str(CHILD)]
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


def _lines(report: bytes) -> dict[str, Any]:
    """The JSON objects of a report as one."""
    found: dict[str, Any] = {}
    for line in report.splitlines():
        with suppress(ValueError):
            message = json.loads(line)
            found.update(message if isinstance(message, dict) else {})
    return found
