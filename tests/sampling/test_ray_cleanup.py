"""What uses the folder of a Ray that was started here ends with the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdm_tune.sampling import ray_cleanup
from tests.sampling.test_cluster import ROOT


def test_what_uses_a_folder_ends_with_it(tmp_path: Path) -> None:
    """Also what has not opened a file there yet; another process, and one that is spared, go on."""
    folder, other = tmp_path / "ray", tmp_path / "rays"
    folder.mkdir()
    other.mkdir()
    opens, will = "file = open(sys.argv[1], 'w')", "0"
    held = []
    for file, first in ((folder / "a", opens), (folder / "b", opens), (other / "c", opens), (folder / "d", will)):
        code = f"import sys, time; {first}; print(flush=True); time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-S", "-c", code, str(file)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        held.append(process)
    try:
        ray_cleanup.end(folder, {held[1].pid})
        assert held[0].wait(10) == held[3].wait(10) == -9
        assert not folder.exists()
        assert [process.poll() for process in held[1:3]] == [None, None]
    finally:
        for process in held:
            process.kill()
            process.communicate()


def test_a_folder_that_somebody_still_wrote_to_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process does that Ray was just starting: it is seen after the folder was removed for the first time."""
    folder = tmp_path / "ray"
    folder.mkdir()
    remove, removed = shutil.rmtree, []

    def and_write(path: Path, *, ignore_errors: bool) -> None:
        remove(path, ignore_errors=ignore_errors)
        removed.append(path)
        if len(removed) < 3:
            path.mkdir()

    monkeypatch.setattr("shutil.rmtree", and_write)
    ray_cleanup.end(folder)
    assert len(removed) == 3 and not folder.exists()


@pytest.mark.parametrize("killed", [True, False])
def test_a_folder_ends_with_the_process_that_made_it(tmp_path: Path, killed: bool) -> None:
    code = (
        "from mdm_tune.sampling.cluster import _ray_folder\n"
        "with _ray_folder() as folder:\n"
        "    print(folder, flush=True)\n"
        "    input()\n"
    )
    root = tmp_path if len(str(tmp_path)) < 20 else Path("/tmp")
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(root), "PYTHONPATH": str(ROOT)},
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir() and folder.parent == root
        if killed:
            process.kill()
        else:
            process.communicate("\n")
    last = time.monotonic() + 30
    while killed and folder.exists() and time.monotonic() < last:
        time.sleep(0.02)
    assert not folder.exists()
