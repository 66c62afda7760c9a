"""A local Ray ends with its command, however that ends, and nothing of it is left or seen."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdm_tune.sampling import ray_cleanup

ROOT = Path(__file__).parents[2]
LONG = 120.0
BEGUN: list[subprocess.Popen[str]] = []


@pytest.fixture
def home() -> Iterator[Path]:
    """A short name, so that Ray's folder lies there; what a failed test has started ends with it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    while BEGUN:
        BEGUN.pop().kill()
    shutil.rmtree(folder)


def hears() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored, and the command would take that over."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(home: Path, *more: str) -> subprocess.Popen[str]:
    (home / "t").mkdir()
    words = ["search", str(ROOT / "configs" / "text.yaml"), "--devices", "cpu:2", "--output", str(home / "run"), *more]
    env = {**os.environ, "TMPDIR": str(home / "t"), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    for name in [name for name in env if name.startswith("RAY_")]:
        del env[name]
    process = subprocess.Popen(
        [sys.executable, "-m", "mdm_tune", *words],
        env={**env, "RAY_ADDRESS": "192.0.2.1:6379"},  # of a cluster that is not meant
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears,  # noqa: PLW1509
    )
    BEGUN.append(process)
    return process


def folders(home: Path) -> list[Path]:
    return list((home / "t").glob("mdm-tune-ray-*"))


def starting(home: Path) -> bool:
    return any(any(folder.glob("session_*/logs/gcs_server.out")) for folder in folders(home))


def working(home: Path) -> bool:
    journal = home / "run" / "study.journal"
    return journal.exists() and b'"op_code":4' in journal.read_bytes().replace(b" ", b"")


def wait_for(there: Callable[[], object], process: subprocess.Popen[str]) -> None:
    last = time.monotonic() + LONG
    while not there() and process.poll() is None and time.monotonic() < last:
        time.sleep(0.02)


def left(home: Path) -> list[Path]:
    """What there is of Ray ten seconds after the command: folders, a token in the home."""
    last = time.monotonic() + ray_cleanup.PATIENCE
    while folders(home) and time.monotonic() < last:
        time.sleep(0.02)
    return [*folders(home), *home.glob(".ray")]


def alive(process: int) -> bool:
    """Whether it runs; one that has ended may wait for long until the init of a container takes notice."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("moment", [starting, working])
@pytest.mark.parametrize("how", ["ctrl-c", "SIGINT", "SIGTERM", "SIGKILL"])
def test_a_signal_ends_all_of_it(home: Path, how: str, moment: Callable[[Path], bool]) -> None:
    process = started(home, "--json", "--quiet", "--set", "search.trials=50")
    wait_for(lambda: moment(home), process)
    seen = {each for folder in folders(home) for each in ray_cleanup._users(folder)}
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, getattr(signal, how))
    out, said = process.communicate(timeout=LONG)
    assert process.returncode == (-9 if how == "SIGKILL" else 130), said
    assert seen and left(home) == []
    assert [each for each in seen if alive(each)] == []
    assert out == "" and "Traceback" not in said
    lines = [line for line in said.splitlines() if line]
    assert all(line.startswith(("mdm-tune search", "interrupted", "note")) for line in lines), said


@pytest.mark.parametrize("fails", [False, True])
def test_an_end_leaves_nothing(home: Path, fails: bool) -> None:
    """Stdout is one JSON object, also where a worker was killed; an error leaves it empty."""
    small = ("dataset.tune=40", "dataset.choose=40", "dataset.report=40", "sampler.batch=8", "search.trials=3")
    sizes = ("search.trials=50",) if fails else small  # enough work that it cannot end before the loss is seen
    process = started(home, "--json", "--quiet", *(word for each in sizes for word in ("--set", each)))
    wait_for(lambda: working(home), process)
    titles = [
        (path.parent.name, path.read_bytes()) for path in Path("/proc").glob("[0-9]*/cmdline") if _mine(path, home)
    ]
    actors = [int(number) for number, title in titles if title.startswith(b"ray::Actor")]
    raylets = [int(number) for number, title in titles if b"raylet/raylet" in title.split(b"\0")[0]]
    for number in raylets if fails else actors[:1]:
        os.kill(number, signal.SIGKILL)
    out, said = process.communicate(timeout=300)
    assert left(home) == []
    if fails:
        assert process.returncode == 1 and out == "" and said.count("\n") == 1 and "--resume" in said, said
    else:
        assert process.returncode == 0 and said == "" and json.loads(out)["denoiser_rows"] > 0


def _mine(path: Path, home: Path) -> bool:
    return any(int(path.parent.name) in ray_cleanup._users(folder) for folder in folders(home))


def test_nothing_is_printed_and_nothing_stays_behind(home: Path) -> None:
    """A program in which a replica dies at work."""
    code = "from tests.support import pools; pools.lose_a_replica()"
    env = {**os.environ, "TMPDIR": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert list(home.iterdir()) == []
