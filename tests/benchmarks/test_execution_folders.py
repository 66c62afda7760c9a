"""What generated programs leave behind: folders of any shape, and processes of a tool that was killed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mdm_tune.benchmarks import execution, execution_process
from mdm_tune.benchmarks.execution import Limits, run_programs
from mdm_tune.benchmarks.execution_folders import PREFIX, folder_of_its_own, remove_abandoned, remove_tree
from tests.benchmarks.test_execution import layers_of
from tests.support.hostile.running import MODES, as_, python_for

ROOT = Path(__file__).parents[2]
LONG_AGO = 1_000_000.0


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of temporary files that no other test uses."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_a_tree_goes_whatever_its_depth(tmp_path: Path) -> None:
    top, kept = tmp_path / "top", tmp_path / "kept"
    top.mkdir()
    kept.mkdir()
    (kept / "file").write_text("mine", encoding="utf-8")
    (top / "link").symlink_to(kept)
    (top / "loop").symlink_to(top)
    (top / "closed").mkdir()
    (top / "closed" / "file").touch()
    (top / "closed").chmod(0)
    os.mkfifo(top / "pipe")
    here = os.open(top, os.O_RDONLY)
    for _ in range(1200):  # deeper than Python's stack and than the longest path
        os.mkdir("d" * 50, dir_fd=here)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=here)
        os.symlink(kept, "out", dir_fd=inner)
        os.close(here)
        here = inner
    os.close(here)
    remove_tree(str(top))
    assert not top.exists() and (kept / "file").read_text(encoding="utf-8") == "mine"
    remove_tree(str(top))  # what is not there is no error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the tests as another user")
def test_a_user_without_rights_removes_folders_that_a_program_has_closed() -> None:
    """Root may open any folder; the owner of a closed one may not, and may neither move it."""
    python = python_for("nobody")
    if python is None:
        pytest.skip("there is no Python 3.11 or newer that nobody may run")
    code = (
        "import os, tempfile, pathlib\n"
        "from mdm_tune.benchmarks.execution_folders import remove_tree\n"
        "top = pathlib.Path(tempfile.mkdtemp())\n"
        "(top / 'a' / 'closed' / 'inner').mkdir(parents=True)\n"
        "(top / 'empty').mkdir()\n"
        "for each in ('a/closed/inner', 'a/closed', 'a', 'empty', ''):\n"
        "    (top / each).chmod(0)\n"
        "remove_tree(str(top))\n"
        "assert not os.path.lexists(top), top\n"
    )
    done = subprocess.run([python, "-c", code], **as_("nobody"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_is_gone_after_its_program(temporary: Path) -> None:
    with folder_of_its_own() as folder:
        assert folder.parent == temporary and folder.name.startswith(PREFIX)
        (folder / "a" / "b").mkdir(parents=True)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("mode", ["all", "landlock+seccomp"])
def test_a_program_that_times_out_leaves_no_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(execution, "WANTED", layers_of(mode))
    program = "import os\nfor _ in range(1100):\n    os.mkdir('d')\n    os.chdir('d')\nwhile True: pass"
    if mode == "all":
        program = program.replace("1100", "500")  # of the 1,000 that its room in memory has
    assert run_programs([program], allowed=True, limits=Limits(seconds=1.0))[0].verdict == "timed out"
    assert not list(temporary.iterdir())


def test_abandoned_folders_go_at_the_next_start_and_no_others(temporary: Path) -> None:
    for name in (f"{PREFIX}old", f"{PREFIX}held", f"{PREFIX}new", "mdm-tune-else", f"{PREFIX}file"):
        if name.endswith("file"):
            (temporary / name).touch()
            continue
        (temporary / name / "deep").mkdir(parents=True)
    (temporary / f"{PREFIX}link").symlink_to(temporary / "mdm-tune-else")
    for path in temporary.iterdir():
        if not path.name.endswith(("new", "link")):
            os.utime(path, (LONG_AGO, LONG_AGO))
    held = os.open(temporary / f"{PREFIX}held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert remove_abandoned() == [str(temporary / f"{PREFIX}old")]
    assert len(list(temporary.iterdir())) == 5
    os.close(held)
    assert remove_abandoned() == [str(temporary / f"{PREFIX}held")]


# --- a tool that is killed ------------------------------------------------------------------------

TOOL = """
import sys
from pathlib import Path
from mdm_tune.benchmarks import execution_process
execution_process.CHILD = Path(sys.argv[1])
layers = tuple(sys.argv[2].split(","))
program = "import signal, time\\nfor n in range(1, 65):\\n    try: signal.signal(n, signal.SIG_IGN)\\n" \\
    "    except (OSError, ValueError): pass\\nwhile True: time.sleep(60)"
execution_process.run_job(execution_process.Job(program), execution_process.Limits(seconds=100.0), layers)
"""


def running_with(word: str) -> list[int]:
    """The processes in whose command a word stands."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has just ended
            continue
    return found


def wait_for(number: int, word: str) -> list[int]:
    end = time.monotonic() + 60
    while len(found := running_with(word)) != number and time.monotonic() < end:
        time.sleep(0.02)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc, and a signal for orphans")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_tool_that_was_killed(temporary: Path, mode: str, how: signal.Signals) -> None:
    link = temporary / f"tree-{os.getpid()}-{mode}"  # by which its processes are known
    link.symlink_to(ROOT)
    child = link / execution_process.CHILD.relative_to(ROOT)
    command = [sys.executable, "-c", TOOL, str(child), ",".join(layers_of(mode))]
    tool = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)})
    assert len(wait_for(4, str(child))) == 4  # the tool, the one that waits, the tests and the program
    tool.send_signal(how)
    tool.wait()
    assert wait_for(0, str(child)) == []
    (left,) = temporary.glob(f"{PREFIX}*")  # which the next start removes
    os.utime(left, (LONG_AGO, LONG_AGO))
    assert remove_abandoned() == [str(left)] and not left.exists()
