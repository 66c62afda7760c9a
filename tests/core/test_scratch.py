"""Temporary folders end with their process, however it ends; those of living ones, and of others, are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mdm_tune.core import scratch

HOLD = """
import os, sys
from mdm_tune.core.scratch import use_scratch_for_compiler, scratch_folder
print(scratch_folder(), flush=True)
use_scratch_for_compiler()
assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(scratch_folder() / "compiled")
(scratch_folder() / "compiled").mkdir()
sys.stdin.readline()
"""


def test_what_a_killed_process_leaves_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)

    def started() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    killed, left = started()
    living, held = started()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (tmp_path / f"{scratch.PREFIX}other").mkdir()  # without a lock: just being made, or somebody else's
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(left)
    assert left.is_dir() and held.is_dir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert scratch.remove_stale_folders() == [left]
    assert not left.exists() and held.is_dir() and (tmp_path / f"{scratch.PREFIX}other").is_dir()
    living.communicate("\n")
    assert living.returncode == 0 and not held.exists()


def test_folders_of_another_user_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / f"{scratch.PREFIX}a"
    folder.mkdir()
    (folder / scratch.LOCK).touch()
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert scratch.remove_stale_folders(tmp_path) == []
    monkeypatch.undo()
    assert scratch.remove_stale_folders(tmp_path) == [folder]
