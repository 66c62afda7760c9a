"""Runs the hostile programs under given layers of protection, and says which of them were not held."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mdm_tune.benchmarks.execution_process import LAYERS, Job, Limits, Outcome, run_job
from tests.support.hostile.endings import ENDINGS, TIME
from tests.support.hostile.escapes import ESCAPES, batch
from tests.support.hostile.forgeries import FORGERIES, TESTS

ANSWER = "assert answer(1) == 0\nassert False"  # not reached but where the program lets it
SMALL = Limits(seconds=1.0, memory=256)


def outcomes(jobs: Mapping[str, Job], layers: Sequence[str], limits: Limits, workers: int = 4) -> dict[str, Outcome]:
    """By name what became of each."""
    with ThreadPoolExecutor(workers) as pool:
        return dict(
            zip(jobs, pool.map(lambda job: run_job(job, limits, layers, layers)[0], jobs.values()), strict=True)
        )


def forged(layers: Sequence[str], names: Sequence[str] | None = None) -> list[str]:
    """Forgeries that were taken for a pass."""
    jobs = {name: Job(FORGERIES[name], TESTS, names=("answer",)) for name in names or FORGERIES}
    return [name for name, each in outcomes(jobs, layers, Limits(seconds=2.0)).items() if each.verdict == "passed"]


def escaped(layers: Sequence[str], lost: Sequence[str] = ()) -> list[str]:
    """Attempts that got through, by their own word or by what changed outside; lost: kinds that may."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        secret = Path(folder) / "secret"
        secret.write_text("key", encoding="utf-8")
        before = _state(Path(folder))
        given: dict[str, object] = {"FOLDER": folder, "SECRET": str(secret), "TOOL": os.getpid()}
        source = batch({**given, "PORT": server.getsockname()[1]})
        tests = f"found = [name for name in got_through() if name.partition(':')[0] not in {list(lost)}]\n"
        tests += "assert not found, '; '.join(found)"
        job = Job(source, tests, names=("got_through",))
        outcome = run_job(job, Limits(seconds=5.0), layers, layers)[0]
        changed = [] if _state(Path(folder)) == before else [f"changed: {_state(Path(folder))}, was {before}"]
        said = [] if outcome.verdict == "passed" else [f"{outcome.verdict}: {outcome.detail}"]
        return said + changed


def ended_otherwise(layers: Sequence[str], names: Sequence[str] | None = None) -> list[str]:
    """Programs that took too much, and did not come to one of the ends that they should."""
    jobs = {name: Job(ENDINGS[name][0], ANSWER, names=("answer",)) for name in names or ENDINGS}
    found = outcomes(jobs, layers, SMALL)
    return [f"{name}: {each}" for name, each in found.items() if each.verdict not in ENDINGS[name][1]]


def _state(folder: Path) -> list[tuple[str, int, int, int, int, float]]:
    """Every file below a folder, with all that can be changed."""
    found = []
    for path in sorted([folder, *folder.rglob("*")]):
        seen = path.lstat()
        changed = 0.0 if stat.S_ISDIR(seen.st_mode) else seen.st_mtime
        found.append((str(path), seen.st_mode, seen.st_uid, seen.st_size, seen.st_nlink, changed))
    return found


def kinds_of(lost: Sequence[str]) -> list[str]:
    """Kinds of attempts that get through where these limits do not hold."""
    return [
        kind
        for kind, name in (("reading", "reading other files"), ("changing", "changing other files"))
        if name in lost
    ]


def python_for(user: str) -> str | None:
    """A Python that this user may run and that is recent enough, where there is one."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(command, **as_(user), capture_output=True, check=False).returncode == 0:
                return candidate
        except OSError:
            continue
    return None


def as_(user: str) -> dict[str, Any]:
    """Arguments of subprocess.run for another user, who finds this project and pyseccomp but no other package."""
    import pyseccomp

    found = pwd.getpwnam(user)
    paths = [str(Path(__file__).parents[3]), str(Path(pyseccomp.__file__).parent)]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    identity = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    return {"env": environment, "cwd": "/", **identity}


MODES: dict[str, tuple[str, ...]] = {
    "all": LAYERS,
    "landlock+seccomp": ("landlock", "seccomp"),
    "namespaces+seccomp": ("namespaces", "mounts", "seccomp"),
    "seccomp": ("seccomp",),
}
# Some of those that end by themselves.
QUICK = [name for name, (_, verdicts) in ENDINGS.items() if TIME not in verdicts][::3]
PARTS: dict[str, Callable[[Sequence[str], Sequence[str]], list[str]]] = {
    "forged": lambda layers, lost: forged(layers),
    "escaped": lambda layers, lost: escaped(layers, kinds_of(lost)),
    "ended_otherwise": lambda layers, lost: ended_otherwise(layers),
    "some": lambda layers, lost: ended_otherwise(layers, QUICK) + forged(layers, list(FORGERIES)[::12]),
}
COUNT = len(FORGERIES) + len(ESCAPES) + len(ENDINGS)
