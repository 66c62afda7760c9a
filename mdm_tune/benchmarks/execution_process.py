"""Running one generated program in its own process, with its tests in another process, and its outcome."""

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
LAYERS = ("namespaces", "mounts", "landlock", "seccomp")  # layers of protection, in the order in which they are added
MEBIBYTE = 1 << 20
REPORT = 1 << 16  # most bytes that are read of the report of the processes
GRACE = 5.0  # seconds beyond a program's own limit, after which this process kills it
CHILD = Path(__file__).with_name("execution_child.py")  # not imported: it needs modules that only Unix has


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: CPU time in seconds, rounded up to whole seconds. The limit on the clock is three times as long plus
            two seconds.
        memory: Address space in MiB.
        file: Size of a file in MiB.
    """

    seconds: float = 3.0
    memory: int = 1024
    file: int = 1

    @property
    def clock(self) -> float:
        """Seconds on the clock after which a process is killed."""
        return 3 * self.seconds + 2


@dataclass(frozen=True)
class Job:
    """A program and its tests.

    Attributes:
        program: The program that the model wrote; its process sees nothing else.
        tests: Code that tests the program, in another process.
        before: Code that runs before the tests, in their process.
        names: Names of the program that the tests use, even if Python has such a name, for example sum.
        imports: By name, import statements that the tests run if the program has made them too, as they would if
            program and tests were one file.
    """

    program: str
    tests: str = ""
    before: str = ""
    names: tuple[str, ...] = ()
    imports: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a program.

    Attributes:
        verdict: Whether the tests passed, or why not.
        detail: The error; empty if the tests passed.
    """

    verdict: Verdict
    detail: str = ""


def run_job(
    job: Job,
    limits: Limits = Limits(),
    layers: Sequence[str] = LAYERS,
    required: Sequence[str] = (),
    hook: bool = True,
) -> tuple[Outcome, tuple[str, ...]]:
    """Run one program and its tests.

    Args:
        job: The program and its tests.
        limits: What the program may use.
        layers: The layers of protection that are requested.
        required: Layers without which nothing of the program runs.
        hook: Whether Python's own calls are refused by name if the kernel does not filter system calls.

    Returns:
        The outcome, and the layers that were in force.

    Raises:
        RunError: If a required layer is not in force, or if no process can be started.
    """
    need_unix()
    settings = {
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
    header = json.dumps(settings).encode()
    with folder_of_its_own() as folder, tempfile.TemporaryFile() as report:
        request = len(header).to_bytes(4, "big") + header + json.dumps(tests).encode()
        code, errors = _run(request, folder, report, limits.clock + GRACE)
        report.seek(0)
        messages = _merged_messages(report.read(REPORT))
    if code is None:
        return Outcome("timed out", f"after {limits.clock:.0f} seconds"), tuple(required)
    if "layers" not in messages or code:
        reason = errors.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {code}"]
        raise RunError(
            f"the processes for generated programs did not start: {reason[0]}; they need Linux or another Unix"
        )
    in_force = tuple(str(layer) for layer in messages["layers"])
    missing = [layer for layer in required if layer not in in_force]
    if missing:
        raise RunError(f"the protection by {', '.join(missing)} was there at first and is there no more; run again")
    return _outcome(messages, limits), in_force


def need_unix() -> None:
    """Raise RunError on a system without limits for processes."""
    if os.name != "posix":
        raise RunError("generated programs need the limits of Linux or another Unix; run the tool there")


def _outcome(messages: Mapping[str, Any], limits: Limits) -> Outcome:
    """The outcome according to the messages of the processes."""
    if messages.get("late"):
        return Outcome("timed out", f"after {limits.clock:.0f} seconds")
    verdict, detail = messages.get("verdict"), str(messages.get("detail", ""))
    if verdict in VERDICTS:
        return Outcome(verdict, detail)
    code = messages.get("program")
    if verdict is None:
        return Outcome("timed out", f"its tests took more than {math.ceil(limits.seconds)} seconds of CPU time")
    if code is None:
        return Outcome("failed", f"{detail} while its tests ran")
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return Outcome("timed out", f"after {math.ceil(limits.seconds)} seconds of CPU time")
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return Outcome("failed", f"it ended {how} before its last test")


def _run(request: bytes, folder: Path, report: IO[bytes], seconds: float) -> tuple[int | None, bytes]:
    """Run ``CHILD`` and return its exit code, None after a timeout, and its error stream.

    Args:
        request: Its standard input.
        folder: Its working folder.
        report: The file that it writes its messages to.
        seconds: Seconds on the clock until it is killed.
    """
    # Not -I, which would ignore the fixed hash seed too. The environment has nothing but the two variables below.
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
        errors = process.communicate(request, timeout=seconds)[1]
        return process.returncode, errors
    except subprocess.TimeoutExpired:
        return None, b""
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS denies it for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _merged_messages(report: bytes) -> dict[str, Any]:
    """The JSON objects of a report, one per line, merged into one dictionary."""
    messages: dict[str, Any] = {}
    for line in report.splitlines():
        with suppress(ValueError):
            message = json.loads(line)
            messages.update(message if isinstance(message, dict) else {})
    return messages
