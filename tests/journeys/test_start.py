"""A command ends with 130 by a signal at any moment, in the middle of an import too; standard files may be closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

CONFIG = str(Path(__file__).parents[2] / "configs" / "markov.yaml")


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        # A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    whole = command.replace("mdm-tune", f"{sys.executable} -m mdm_tune")
    return subprocess.run(
        ["bash", "-c", whole], capture_output=True, check=False, timeout=60, env={**os.environ, **environment}
    )


def test_a_reader_of_the_help_may_leave() -> None:
    done = shell("mdm-tune search --help | head -1; echo ${PIPESTATUS[0]}")
    assert done.stdout.endswith(b"\n0\n") and done.stderr == b""


def test_a_help_that_cannot_be_written_is_no_traceback() -> None:
    done = shell("mdm-tune --help > /dev/full")
    assert done.returncode == 1 and done.stderr.startswith(b"error: cannot write to stdout: No space left on device")
    assert done.stderr.count(b"\n") == 1


def test_closed_standard_files_are_no_error(tmp_path: Path) -> None:
    """A file that got the number of the closed stderr would hold what is said."""
    done = shell(f"mdm-tune search {CONFIG} --trials 2 --set sampler.steps=[4] --output {tmp_path}/run >&- 2>&- <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "run" / "search.json").is_file()
    for file in (tmp_path / "run").iterdir():
        assert b"loading" not in file.read_bytes()
    done = shell("mdm-tune evaluate missing.yaml 2>&-")
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_ascii_terminal_gets_escapes_and_no_traceback(tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = shell(f"mdm-tune profile {CONFIG} --output {tmp_path}/run", **plain)
    assert done.returncode == 0, done.stderr
    assert done.stderr.isascii() and b"####" in done.stderr and b"\\u" not in done.stderr
    assert shell("mdm-tune search --help", **plain).returncode == 0
