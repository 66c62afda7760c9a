"""A disk that fills up, or a process that dies, while a file of the run folder is written: the old one stays whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mdm_tune.commands.events import RunEvent
from mdm_tune.commands.search import search
from mdm_tune.config.file import load_config
from mdm_tune.core import files
from mdm_tune.core.files import write_text
from mdm_tune.run.folder import RunFolder, load_schedule
from mdm_tune.search.events import TrialDone

LIMIT = 20_000  # bytes that a file may have: more than the buffer of a write, so that both of its ways are taken
BUDGET = {"steps": 3, "schedule": "beta:0.9,0.3", "counts": [1, 2, 5], "alphas": None}
OLD: dict[str, Any] = {"length": 8, "budgets": [BUDGET]}

# In a process of its own, because the limit holds for every file of a process. argv: folder, size of the new text,
# what happens at the limit. Python itself ignores SIGXFSZ, so that a write fails as on a full disk.
WRITER = f"""
import resource, signal, sys
from mdm_tune.core.errors import RunError
from mdm_tune.core.files import write_text
from mdm_tune.run.folder import RunFolder
folder, filler = RunFolder(sys.argv[1]), "x" * int(sys.argv[2])
signal.signal(signal.SIGXFSZ, {{"fail": signal.SIG_IGN, "die": signal.SIG_DFL}}[sys.argv[3]])
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    CALL
except RunError as error:
    print(error)
"""
# Another process in the middle of a write.
BUSY = """
import os, sys, time
from pathlib import Path
from mdm_tune.core.files import write_text
def sync(file):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = sync
write_text(Path(sys.argv[1]) / "config.yaml", "new")
"""
CALLS = {
    "schedule.yaml": f"folder.write_schedule({{**{OLD!r}, 'filler': filler}})",
    "search.json": "folder.write_json('search.json', {'filler': filler})",
    "search-scores.jsonl": "folder.write_lines('search-scores.jsonl', [{'filler': filler}])",
    "evaluate.csv": "folder.write_csv('evaluate.csv', [{'filler': filler}])",
    "config.yaml": "write_text(folder.config, filler)",
}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Every file in its old state."""
    folder = RunFolder(tmp_path / "run")
    folder.open()
    folder.write_schedule(OLD)
    for name in CALLS.keys() - {"schedule.yaml"}:
        (folder.path / name).write_text('{"old": 1}\n', encoding="utf-8")
    return folder


def state(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


def write(folder: RunFolder, name: str, size: int, at_limit: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITER.replace("CALL", CALLS[name]), str(folder.path), str(size), at_limit]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("size", [LIMIT + 1, 50 * LIMIT])
@pytest.mark.parametrize("name", CALLS)
def test_a_text_that_does_not_fit_leaves_the_old_file_and_no_other(folder: RunFolder, name: str, size: int) -> None:
    before = state(folder)
    done = write(folder, name, size, "fail")
    assert (done.returncode, done.stderr) == (0, "")
    reason = "File too large; raise the limit of a file's size (ulimit -f), or use another disk"
    expected = f"cannot write {folder.path / name}: {reason}\n"
    assert done.stdout == expected
    assert state(folder) == before


@pytest.mark.parametrize("name", CALLS)
def test_a_text_that_fits_replaces_its_file_alone(folder: RunFolder, name: str) -> None:
    before = state(folder)
    done = write(folder, name, LIMIT // 2, "fail")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    after = state(folder)
    assert len(after[name]) >= LIMIT // 2
    assert {**after, name: b""} == {**before, name: b""}


def test_the_folder_is_used_again_once_there_is_space(folder: RunFolder) -> None:
    assert "File too large" in write(folder, "schedule.yaml", 2 * LIMIT, "fail").stdout
    assert load_schedule(folder.path).budget(3).counts == (1, 2, 5)
    folder.write_schedule({"length": 8, "budgets": [{**BUDGET, "counts": [2, 2, 4]}]})
    assert load_schedule(folder.path).budget(3).counts == (2, 2, 4)


SEARCH = f"""
import resource, signal, sys
from pathlib import Path
from mdm_tune.config.file import load_config
from mdm_tune.core.errors import RunError
from mdm_tune.commands.search import search
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
try:
    search(load_config(Path(sys.argv[1]), output=sys.argv[2]), resume=False, overwrite=False, notify=lambda event: None)
except RunError as error:
    print(error)
"""


def test_a_search_that_a_full_disk_stopped_goes_on_and_ends_like_any_other(tmp_path: Path) -> None:
    """The journal outgrows the limit in the middle of the trials."""
    config = tmp_path / "c.yaml"
    config.write_text(
        "model: {type: markov, length: 12, symbols: 3, flip: 0.15}\n"
        "dataset: {type: law, tune: 32, choose: 16, report: 16}\n"
        "sampler: {order: margin, steps: [4]}\n"
        "objective: {metric: path_nll}\n"
        "search: {strategy: tpe, trials: 30, finalists: 1, baselines: [linear], auto_stop: false}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-c", SEARCH, str(config), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "study.journal cannot be written (File too large); nothing that was finished is lost" in done.stdout
    ran: dict[str, list[int]] = {"run": [], "quiet": []}
    found = {}
    for name, numbers in ran.items():

        def tell(event: RunEvent, numbers: list[int] = numbers) -> None:
            numbers.extend([event.number] if isinstance(event, TrialDone) else [])

        chosen = load_config(config, output=str(tmp_path / name))
        found[name] = search(chosen, resume=True, overwrite=False, notify=tell).to_json()
    assert 0 < len(ran["run"]) < len(ran["quiet"]) == 30
    assert found["run"]["budgets"] == found["quiet"]["budgets"]
    assert found["run"]["denoiser_rows"] == found["quiet"]["denoiser_rows"]


@pytest.mark.parametrize("name", CALLS)
def test_a_process_that_dies_while_it_writes_leaves_every_file_whole(folder: RunFolder, name: str) -> None:
    before = state(folder)
    done = write(folder, name, 50 * LIMIT, "die")
    assert done.returncode == -signal.SIGXFSZ
    after = state(folder)
    half = [after.pop(left) for left in after.keys() - before.keys()]
    assert [len(content) for content in half] == [LIMIT]  # it was in the middle of writing, in a file of another name
    assert after == before
    assert load_schedule(folder.path).budget(3).counts == (1, 2, 5)
    assert folder.read(folder.result) == json.loads(before["search.json"])
    folder.open()
    assert state(folder) == before


def test_only_what_a_dead_process_left_is_removed(folder: RunFolder) -> None:
    """A file that another process is writing stays, and one of another program."""
    (folder.path / "mine.unfinished").write_text("mine", encoding="utf-8")
    (folder.path / ".mdm-tune-dead.unfinished").write_text("half", encoding="utf-8")
    before = state(folder)
    with subprocess.Popen([sys.executable, "-c", BUSY, str(folder.path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
        during = state(folder)
        (half,) = during.keys() - before.keys()
        folder.open()
        assert state(folder).keys() == during.keys() - {".mdm-tune-dead.unfinished"}
        writer.kill()
        writer.wait()
    assert half in state(folder)
    folder.open()
    assert state(folder).keys() == before.keys() - {".mdm-tune-dead.unfinished"}


def test_a_new_file_that_was_taken_for_left_behind_is_made_again(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process opens the folder between the making of a file and its lock."""
    lock, locked = files._lock, list[str]()

    def late(file: Any) -> None:
        locked.append(file.name)
        if len(locked) == 1:
            folder.open()
        lock(file)

    monkeypatch.setattr(files, "_lock", late)
    before = state(folder)
    write_text(folder.config, "new")
    assert len(set(locked)) == 2 and state(folder) == {**before, "config.yaml": b"new"}
