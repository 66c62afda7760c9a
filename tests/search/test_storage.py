"""A storage opens or says why not; a journal outlives kills and full disks; no message holds a password."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.search import journal, storage
from mdm_tune.search.storage import open_storage, storage_errors
from tests.support.processes import crew, start

PASSWORD = "p@ss w{o}rd/%?"
HIDDEN = (PASSWORD, quote(PASSWORD, ""), quote_plus(PASSWORD), "p@ss", "p%40ss", "rd/%?")


def add_study(store: BaseStorage, name: str) -> None:
    store.create_new_study([StudyDirection.MINIMIZE], name)


def names(store: BaseStorage) -> list[str]:
    return [study.study_name for study in store.get_all_studies()]


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


def test_a_file_database(tmp_path: Path) -> None:
    for name in ("a.db", "a@b{c}.db"):
        add_study(open_storage(f"sqlite:///{tmp_path}/{name}"), name)
        assert names(open_storage(f"sqlite:///{tmp_path}/{name}")) == [name]
        assert (tmp_path / name).exists()


def open_at_once(barrier: threading.Barrier, addresses: list[str]) -> None:
    for address in addresses:
        barrier.wait()
        open_storage(address)


def test_several_processes_create_one_database_at_once(tmp_path: Path) -> None:
    crew(open_at_once, [([f"sqlite:///{tmp_path}/{i}.db" for i in range(2)],)] * 3)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("study.journal", "must read driver://user:password@host/database.* got something without driver://"),
        (f"u:{PASSWORD}@host", "got something without driver://"),
        (f"postgresql://u:{PASSWORD}@127.0.0.1:1/db", r"got postgresql://\*\*\*; correct it"),
        (f"postgresql://u/{PASSWORD}@127.0.0.1:1/db", r"got postgresql://\*\*\*; correct it"),
        ("postgresql://u/p%40ss@127.0.0.1:1/db", r"got postgresql://\*\*\*; correct it"),
        ("postgresql://u:p%40ss", r"got postgresql://\*\*\*; correct it"),
        (f"redis://:{PASSWORD}@h:1", r"got redis://\*\*\*; correct it"),
        (
            "postgresql://u:***@h/db",
            r"\*\*\* stands for the password, .* got postgresql://u:\*\*\*@h/db; put the password",
        ),
        ("redis://h?password=***", r"\*\*\* stands for the password"),
        ("sqlite://", "got one in memory; use sqlite:///path"),
        ("sqlite:///:memory:", "got one in memory; use sqlite:///path"),
        ("sqlite:////no/folder/a.db", r"cannot use sqlite:////no/folder/a.db \(unable to open database file\); check"),
        (
            f"oops://u:{quote(PASSWORD, '')}@h/db",
            r"must begin with sqlite, postgresql, mysql or redis, got oops://u:\*\*\*@h/db; use one of them",
        ),
        (
            f"postgres://u:{quote(PASSWORD, '')}@h/db",
            r'postgresql\+psycopg://u:\*\*\*@h/db needs the Python package psycopg, .* "mdm-tune\[postgres\]"$',
        ),
        (
            f"postgresql://u@h/db?password={quote(PASSWORD, '')}",
            r"postgresql\+psycopg://u@h/db needs the Python package psycopg",
        ),
        (f"postgresql+psycopg2://u:{quote(PASSWORD, '')}@h", "package psycopg2, .* pip install psycopg2-binary$"),
        (f"mysql://u:{quote(PASSWORD, '')}@h", "package MySQLdb, .* pip install mysqlclient$"),
        (f"mysql+pymysql://u:{quote(PASSWORD, '')}@h", "package pymysql, .* pip install pymysql$"),
    ],
)
def test_an_address_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, address: str, message: str) -> None:
    for driver in ("psycopg", "psycopg2", "MySQLdb", "pymysql"):
        monkeypatch.setitem(sys.modules, driver, None)  # as if not installed
    with pytest.raises(InputError, match=message) as caught:
        open_storage(address)
    text = str(caught.value)
    assert text.startswith("search.storage: ") and "\n" not in text and not any(part in text for part in HIDDEN)


def test_redis_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(url: str, prefix: str) -> None:
        warnings.warn("this class is an experiment", ExperimentalWarning, stacklevel=2)
        raise ImportError(url)

    monkeypatch.setattr(storage, "JournalRedisBackend", backend)
    with pytest.raises(InputError, match=r"redis://:\*\*\*@h:1 needs the Python package redis, .* pip install redis$"):
        open_storage("redis://:secret@h:1")


@pytest.mark.parametrize(
    "address",
    [
        "sqlite://u:p%40ss%20w{o}rd%2f%25%3F@h/db",
        "postgresql://u:p%40ss%20w{o}rd%2f%25%3F@h/db",
        "postgresql://u@h/db?connect_timeout=3&sslPassword=p%40ss%20w{o}rd%2f%25%3F",
        "rediss://:p%40ss%20w{o}rd%2f%25%3F@h",
        "redis://h?password=p%40ss%20w{o}rd%2f%25%3F",
    ],
)
@pytest.mark.parametrize("form", [PASSWORD, quote(PASSWORD, ""), quote_plus(PASSWORD), "p%40ss%20w{o}rd%2f%25%3F"])
def test_a_password_in_a_drivers_message_is_hidden(monkeypatch: pytest.MonkeyPatch, address: str, form: str) -> None:
    def fail(url: str, **options: object) -> None:
        try:
            raise ConnectionError(f"cannot log in with {form} at h\nand more of {form}")
        except ConnectionError as error:
            raise RuntimeError(url) from error

    monkeypatch.setattr(storage, "RDBStorage", fail)
    monkeypatch.setattr(storage, "JournalRedisBackend", fail)
    with pytest.raises(InputError, match=r"\(cannot log in with \*\*\* at h\); check") as caught:
        open_storage(address)
    assert "\n" not in str(caught.value) and not any(part in str(caught.value) for part in HIDDEN)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_database_that_fails_later_stops_the_run(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    address = f"sqlite:///{file}"
    store = open_storage(address)
    file.write_bytes(b"no database any more" * 99)
    failure = pytest.raises(RunError, match=r"a\.db failed \(file is not a database\); nothing that was .* --resume$")
    with failure, storage_errors(address):
        names(store)


def test_a_study_that_another_process_deleted_stops_the_run(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/a.db"
    study = optuna.create_study(storage=open_storage(address), study_name="one")
    optuna.delete_study(storage=open_storage(address), study_name="one")
    with pytest.raises(RunError, match=r"a\.db failed \('Record does not exist\.'\)"), storage_errors(address):
        study.get_trials()


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError("x"), InputError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["sqlite:///a.db", Path("a")])
def test_what_does_not_come_from_a_storage_passes(error: BaseException, where: Path | str) -> None:
    with pytest.raises(type(error)) as caught, storage_errors(where):
        raise error
    assert caught.value is error


def test_a_journal_is_no_database() -> None:
    error = KeyError("Record does not exist.")
    with pytest.raises(KeyError) as caught, storage_errors(Path("a")):
        raise error
    assert caught.value is error


def test_nothing_is_printed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for where in (path, f"sqlite:///{path}.db"):
        optuna.create_study(storage=open_storage(where), study_name="three")
    assert capfd.readouterr() == ("", "")
