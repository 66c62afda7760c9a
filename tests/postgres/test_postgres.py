"""The ledger on a real server: shared by processes, killed, cut off; and what is said where it cannot be used."""

from __future__ import annotations

import gc
import math
import os
import re
import signal
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna import load_study
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL

from mdm_tune.errors import InputError, RunError
from mdm_tune.search.ledger import Entry, Ledger, Worker
from mdm_tune.search.storage import open_storage, storage_errors
from tests.postgres.conftest import Execute
from tests.processes import crew, start

BOX = {"a": (0.1, 10.0)}
PARTS = 2
KILLS = 6


@pytest.fixture
def storage(address: str) -> Iterator[BaseStorage]:
    storage = open_storage(address)
    assert isinstance(storage, RDBStorage)
    yield storage
    storage.engine.dispose()


def numbers(storage: BaseStorage) -> Counter[str]:
    study = load_study(study_name="run/8", storage=storage)
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
    return Counter(trial.state.name for trial in study.trials)


def test_a_task_comes_back_as_it_was_finished(storage: BaseStorage) -> None:
    record = {"key": [0.1 + 0.2, 1e-300, -1 / 3], "text": "ü\n\"'\\\0", "large": [math.sqrt(i) for i in range(50_000)]}
    with Worker(storage, "run") as worker:
        book = Ledger(storage, "run/8", worker)
        for task, value in (("one", math.inf), ("two", 0.1 + 0.2)):
            claim = book.claim(task, {"a": 1e-7 / 3}, BOX)  # outside the box
            assert claim is not None
            assert book.claim(task) is None
            claim.report(8, 1 / 3)
            claim.finish(value, record)
        book.note("points", [[0.5, 2.0]])
        held = book.claim("three")
        assert held is not None and list(book.held()) == ["three"]
        held.release()
        assert book.held() == {}
        kept = Ledger(storage, "run/8", worker)
        assert kept.finished()["two"] == Entry("two", {"a": 1e-7 / 3}, 0.1 + 0.2, record)
        assert kept.finished()["one"].value == math.inf and kept.notes == {"points": [[0.5, 2.0]]}


def share(barrier: threading.Barrier, address: str, number: int, tasks: int, log: Path) -> None:
    log.touch()
    for part in range(PARTS):  # tables and studies are made at the same moment, too
        barrier.wait()
        storage = open_storage(address)
        assert isinstance(storage, RDBStorage)
        with Worker(storage, "run") as worker:
            book = Ledger(storage, f"run/{part}", worker)
            barrier.wait()  # else the first to be connected may find nothing left for the others
            for task in range(tasks):
                claim = book.claim(str(task), {"a": task + 1.0}, BOX)
                if claim is not None:
                    claim.report(0, number)
                    claim.finish(task / 7, {"who": number})
                    with log.open("a") as file:
                        file.write(f"{part}/{task} ")
        storage.engine.dispose()


def test_processes_share_the_tasks(address: str, storage: BaseStorage, tmp_path: Path) -> None:
    tasks, logs = 15, [tmp_path / str(number) for number in range(3)]
    crew(share, [(address, number, tasks, log) for number, log in enumerate(logs)])
    told = [log.read_text().split() for log in logs]
    assert sum(map(bool, told)) > 1
    assert sorted(task for tasks_of_one in told for task in tasks_of_one) == sorted(
        f"{part}/{task}" for part in range(PARTS) for task in range(tasks)
    )
    for part in range(PARTS):
        finished = Ledger(storage, f"run/{part}", Worker(storage, "run")).finished()
        assert {task: (entry.params, entry.value) for task, entry in finished.items()} == {
            str(task): ({"a": task + 1.0}, task / 7) for task in range(tasks)
        }
        for task, entry in finished.items():
            assert f"{part}/{task}" in told[entry.record["who"]]


def open_only(barrier: threading.Barrier, addresses: list[str]) -> None:
    for address in addresses:
        barrier.wait()
        storage = open_storage(address)
        assert isinstance(storage, RDBStorage)
        storage.engine.dispose()


def test_processes_make_the_tables_at_once(execute: Execute, server: URL) -> None:
    names = [f"tables_{number}" for number in range(3)]
    for name in names:
        execute(f"CREATE DATABASE {name}")
    crew(open_only, [([server.set(database=name).render_as_string(hide_password=False) for name in names],)] * 4)
    for name in names:
        execute(f"DROP DATABASE {name} WITH (FORCE)")


def work(address: str, told: Path) -> None:
    file = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    storage = open_storage(address)
    with Worker(storage, "run") as worker:
        book = Ledger(storage, "run/8", worker)
        os.write(file, b"ready\n")
        for task in range(1000):
            if (claim := book.claim(str(task), {"a": 1.0 + task}, BOX)) is not None:
                claim.report(0, 1.0)
                claim.finish(float(task), {"values": [1.5] * 300})
                os.write(file, f"{task}\n".encode())


def test_a_killed_process_loses_nothing(address: str, storage: BaseStorage, tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.touch()
    for attempt in range(KILLS):
        process = start(work, address, told)
        while told.read_text().count("ready") == attempt:
            time.sleep(0.002)
        time.sleep(0.03 * (attempt + 1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    with Worker(storage, "run") as worker:
        book = Ledger(storage, "run/8", worker)
        said = {line for line in told.read_text().split() if line != "ready"}
        finished = book.finished()
        assert said <= finished.keys() and len(finished) <= len(said) + KILLS
        assert all(entry.value == float(task) for task, entry in finished.items())
        assert book.held() == {}
        for task in range(len(finished) + 1):
            claim = book.claim(str(task))
            assert (claim is None) == (str(task) in finished)
    assert numbers(storage)["COMPLETE"] == len(finished)


def cut_off(execute: Execute, database: URL, allow: bool) -> None:
    """Let nobody connect any more, and end who is, as when a server goes away; or let them again."""
    execute(f"ALTER DATABASE {database.database} WITH ALLOW_CONNECTIONS {str(allow).lower()}")
    execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=database.database)


def test_a_server_that_goes_away_stops_the_run_and_nothing_is_lost(
    address: str, storage: BaseStorage, database: URL, execute: Execute
) -> None:
    with Worker(storage, "run") as worker:
        book = Ledger(storage, "run/8", worker)
        one, two = book.claim("one"), book.claim("two")
        assert one is not None and two is not None
        one.finish(1.0, {})
        cut_off(execute, database, False)
        failure = pytest.raises(
            RunError, match=r"u?:\*\*\*@127\.0\.0\.1:\d+/test_\w+ failed \(.*\); nothing .* --resume$"
        )
        with failure as caught, storage_errors(address):
            two.finish(2.0, {})
        assert database.password is not None and database.password not in str(caught.value)
        with failure, storage_errors(address):
            book.finished()
        cut_off(execute, database, True)
        assert list(book.finished()) == ["one"]
        two.finish(2.0, {})
        assert list(book.finished()) == ["one", "two"]


def test_a_server_that_restarts_between_two_questions_is_no_failure(
    storage: BaseStorage, database: URL, execute: Execute
) -> None:
    with Worker(storage, "run") as worker:
        book = Ledger(storage, "run/8", worker)
        claim = book.claim("one")
        assert claim is not None
        cut_off(execute, database, True)
        claim.finish(1.0, {})
        assert list(book.finished()) == ["one"]


def refusal(address: str) -> str:
    """What is said of a storage that cannot be opened; the connection that Optuna then leaves open is closed here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            open_storage(address)
        except InputError as error:
            text = str(error)
        gc.collect()
    assert "\n" not in text
    return text


@pytest.mark.parametrize("password", ["wr%40ng", ""])
def test_a_wrong_password(database: URL, password: str) -> None:
    place = f"127.0.0.1:{database.port}/{database.database}"
    text = refusal(f"postgresql://{database.username}:{password}@{place}")
    assert re.search(rf"cannot use postgresql\+psycopg://\w+:\*\*\*@{place} \(.*password.*\); check the address", text)
    assert "wr@ng" not in text and "wr%40ng" not in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"port": 1}, "Connection refused"),
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid"),
        ({"database": "no_such"}, 'database "no_such" does not exist'),
        ({"username": "nobody-here"}, "authentication failed"),
        ({"query": {"no_option": "x"}}, 'invalid connection option "no_option"'),
    ],
)
def test_what_cannot_be_reached(database: URL, change: dict[str, Any], reason: str) -> None:
    text = refusal(database.set(**change).render_as_string(hide_password=False))
    assert re.search(rf"\(.*{reason}.*\); check the address, that its server runs", text)
    assert database.password is not None and database.password not in text


def test_rights_that_are_missing(database: URL, execute: Execute) -> None:
    user = f"reader_{uuid.uuid4().hex}"
    execute(f"CREATE ROLE {user} LOGIN PASSWORD 'secret'")
    text = refusal(database.set(username=user, password="secret").render_as_string(hide_password=False))
    execute(f"DROP ROLE {user}")
    assert "(permission denied for schema public); check the address" in text and "secret" not in text


def test_another_schema_is_refused(address: str, storage: BaseStorage) -> None:
    assert isinstance(storage, RDBStorage)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v1.3.0.a'"))
    assert re.search(r"\(The runtime optuna version .* is no longer compatible", refusal(address))
