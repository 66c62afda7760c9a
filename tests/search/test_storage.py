"""A storage opens or says why not; a journal outlives kills and full disks; no message holds a password."""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from urllib.parse import quote, quote_plus

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.search import storage
from mdm_tune.search.storage import open_storage, storage_errors
from tests.support.processes import crew

PASSWORD = "p@ss w{o}rd/%?"
HIDDEN = (PASSWORD, quote(PASSWORD, ""), quote_plus(PASSWORD), "p@ss", "p%40ss", "rd/%?")


def add_study(store: BaseStorage, name: str) -> None:
    store.create_new_study([StudyDirection.MINIMIZE], name)


def names(store: BaseStorage) -> list[str]:
    return [study.study_name for study in store.get_all_studies()]


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
