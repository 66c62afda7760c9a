"""The journal of a search: torn lines, damage, locks, and a disk that is full."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.search import journal
from mdm_tune.search.storage import open_storage
from tests.search.test_storage import add_study, names
from tests.support.processes import start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with two studies."""
    path = tmp_path / "study.journal"
    store = open_storage(path)
    add_study(store, "one")
    add_study(store, "two")
    return path


def tear(path: Path, text: bytes = b'{"op_code":0,"worker_id":"x","stu') -> bytes:
    with path.open("ab") as file:
        file.write(text)
    return path.read_bytes()


def test_a_journal_keeps_what_it_is_told(path: Path) -> None:
    heard: list[str] = []
    assert names(open_storage(path, heard.append)) == ["one", "two"]
    assert heard == [] and [file.name for file in path.parent.iterdir()] == ["study.journal"]


def test_opening_a_journal_silences_optuna(tmp_path: Path) -> None:
    """A search that replaces another opens the journal by itself, before anything else has silenced Optuna."""
    optuna.logging.set_verbosity(optuna.logging.INFO)
    journal.open_journal(tmp_path / "study.journal", lambda text: None)
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_a_torn_line_is_cut_off_once_and_kept(path: Path) -> None:
    whole = path.read_bytes()
    for number in (1, 2):
        heard: list[str] = []
        torn = tear(path, b'{"op_code":0,' + b"9" * number)
        store = open_storage(path, heard.append)
        assert path.read_bytes() == whole
        assert path.with_name(f"study.journal.torn-{number}").read_bytes() == torn
        assert len(heard) == 1 and f"study.journal.torn-{number}" in heard[0] and "\n" not in heard[0]
        assert names(open_storage(path, heard.append)) == ["one", "two"] and len(heard) == 1
    add_study(store, "three")
    assert names(open_storage(path)) == ["one", "two", "three"]
    assert len(list(path.parent.iterdir())) == 3


@pytest.mark.parametrize("end", [b'{"op_code":0,"wo\n', b"\0" * 50, b"\0" * 50 + b"\n", b"17\n"])
def test_a_last_line_that_is_no_record_is_torn_too(path: Path, end: bytes) -> None:
    whole = path.read_bytes()
    tear(path, end)
    assert names(open_storage(path)) == ["one", "two"]
    assert path.read_bytes() == whole


def test_a_journal_of_one_torn_line_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"op_code":0')
    store = open_storage(tmp_path / "a")
    add_study(store, "one")
    assert names(open_storage(tmp_path / "a")) == ["one"]


def test_a_process_killed_while_cutting_leaves_one_copy(path: Path) -> None:
    torn = tear(path)
    path.with_name("study.journal.torn-1").write_bytes(torn)
    open_storage(path)
    assert not path.with_name("study.journal.torn-2").exists()


def test_a_torn_line_stays_where_no_copy_can_be_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copyfile(source: Path, copy: Path) -> None:
        copy.write_bytes(b"{")
        raise OSError(28, "No space left on device")

    torn = tear(path)
    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(InputError, match=r"cannot be opened \(No space left on device\)"):
        open_storage(path)
    assert path.read_bytes() == torn and [file.name for file in path.parent.iterdir()] == ["study.journal"]


def test_a_line_torn_by_another_process_meanwhile_is_cut_off_before_the_next(path: Path) -> None:
    heard: list[str] = []
    store, other = open_storage(path, heard.append), open_storage(path)
    tear(path)
    assert names(store) == ["one", "two"]
    add_study(store, "three")
    assert len(heard) == 1
    add_study(other, "four")
    assert names(store) == names(other) == names(open_storage(path)) == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda lines: [lines[0][:9] + "\n", *lines[1:]], "line 1 is no operation"),
        (lambda lines: [lines[0], "[1]\n", *lines[1:]], "line 2 is no operation"),
        (lambda lines: ['{"op_code":77}\n', *lines], "line 1 is no operation"),
        (lambda lines: ["{}\n", *lines], "line 1 is no operation"),
    ],
)
def test_damage_elsewhere_is_named_and_left_alone(path: Path, damage: object, reason: str) -> None:
    assert callable(damage)
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    damaged = path.read_bytes()
    with pytest.raises(
        InputError, match=f"study.journal is damaged: .*{reason} of a search, .*: restore it, or start again"
    ):
        open_storage(path)
    assert path.read_bytes() == damaged


def test_a_journal_damaged_while_in_use_is_named(path: Path) -> None:
    store = open_storage(path)
    tear(path, b"{oops}\n{}\n")
    with pytest.raises(RunError, match="line 3 is no operation of a search; run again with --resume"):
        names(store)


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear all,\nno end")
    with pytest.raises(InputError, match="letter is no journal of a search; move it away, or give another --output"):
        open_storage(tmp_path / "letter")
    assert (tmp_path / "letter").read_text() == "Dear all,\nno end"


@pytest.mark.parametrize("place", ["no/folder/study.journal", "."])
def test_a_path_that_cannot_be_opened(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match=r"the journal .* cannot be opened \((No such file|Is a directory).*\); make"):
        open_storage(tmp_path / place)


def hold(path: Path, ready: Path) -> None:
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    ready.touch()
    time.sleep(60)


def test_a_killed_process_holds_no_lock(path: Path) -> None:
    path.with_name("study.journal.lock").symlink_to(path)  # Optuna's, as a killed process leaves it
    ready = path.with_name("ready")
    process = start(hold, path, ready)
    while not ready.exists():
        time.sleep(0.005)
    store = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    assert names(store) == ["one", "two"]  # readers need no lock
    process.kill()
    began = time.monotonic()
    add_study(open_storage(path), "three")
    assert time.monotonic() - began < 2.0


def test_a_long_wait_for_another_process_is_told_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.05)
    heard: list[str] = []
    store = open_storage(path, heard.append)
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    writing = threading.Thread(target=add_study, args=(store, "three"))
    writing.start()
    time.sleep(0.3)
    assert writing.is_alive()
    os.close(other)
    writing.join(10)
    assert heard == [f"waiting for another process that is writing to {path}"]
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(journal, "PATIENCE", 0.3)
    writing = threading.Thread(target=add_study, args=(store, "four"))
    writing.start()
    time.sleep(0.05)
    os.close(other)
    writing.join(10)
    time.sleep(0.4)
    assert len(heard) == 1  # a short wait is not worth a word
    assert names(store) == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("replace", "reason"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (lambda path: path.write_bytes(b""), "another process replaced it"),  # the same file, begun anew
        (lambda path: shutil.copy(path, path.with_name("x")) and path.with_name("x").replace(path), "another process"),
    ],
)
def test_a_journal_that_another_process_removed_or_replaced_is_not_written(
    path: Path, replace: Callable[[Path], object], reason: str
) -> None:
    store = open_storage(path)
    add_study(store, "three")
    replace(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(RunError, match=f"cannot be written \\({reason}.*\\); nothing that was finished is lost"):
        add_study(store, "four")
    assert before == (path.read_bytes() if path.exists() else None)


def test_a_line_is_on_the_disk_when_it_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, synced = open_storage(path), []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    add_study(store, "three")
    assert synced == [path.stat().st_size]


FULL = """
import resource, sys
from pathlib import Path
from mdm_tune.core.errors import RunError
from mdm_tune.search.storage import open_storage
from optuna.study import StudyDirection
path = Path(sys.argv[1])
heard = []
store = open_storage(path, heard.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        store.create_new_study([StudyDirection.MINIMIZE], "three")
    except RunError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.create_new_study([StudyDirection.MINIMIZE], "four")
print(heard)
"""


def test_a_full_disk_stops_the_run_and_leaves_whole_lines(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    *messages, heard = done.stdout.splitlines()
    assert len(messages) == 2 and heard == "[]"
    for message in messages:
        assert message.startswith(f"the journal {path} cannot be written (File too large); nothing that was finished")
    assert names(open_storage(path)) == ["one", "two", "four"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_nothing_is_printed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for where in (path, f"sqlite:///{path}.db"):
        optuna.create_study(storage=open_storage(where), study_name="three")
    assert capfd.readouterr() == ("", "")
