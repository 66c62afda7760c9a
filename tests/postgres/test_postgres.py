"""Driver and ledger on a real server: refused, killed, cut off; and what is said where it cannot be used."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna import load_study
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.search.driver import Driver, SearchName, driving, remove_run
from mdm_tune.search.ledger import Ledger, LedgerEntry
from mdm_tune.search.storage import open_storage, storage_errors
from tests.postgres.conftest import Execute
from tests.support.drivers import FAR, RUN, claimed_by
from tests.support.processes import crew, start

BOX = {"a": (0.1, 10.0)}
PARTS = 2
KILLS = 6


@pytest.fixture
def storage(address: str) -> Iterator[BaseStorage]:
    storage = open_storage(address)
    assert isinstance(storage, RDBStorage)
    yield storage
    storage.engine.dispose()


def test_an_entry_comes_back_as_it_was_written(storage: BaseStorage) -> None:
    record = {"key": [0.1 + 0.2, 1e-300, -1 / 3], "text": "ü\n\"'\\\0", "large": [math.sqrt(i) for i in range(50_000)]}
    ledger = Ledger(storage, "run/8")
    for task, value in (("one", math.inf), ("two", 0.1 + 0.2)):
        ledger.write(task, value, record, {"a": 1e-7 / 3}, BOX, {8: 1 / 3})  # outside the box
    ledger.note("points", [[0.5, 2.0]])
    kept = Ledger(storage, "run/8")
    assert kept.finished()["two"] == LedgerEntry(task="two", params={"a": 1e-7 / 3}, value=0.1 + 0.2, record=record)
    assert kept.finished()["one"].value == math.inf and kept.notes == {"points": [[0.5, 2.0]]}
    trials = load_study(study_name="run/8", storage=storage).trials
    assert [trial.intermediate_values for trial in trials] == [{8: 1 / 3}] * 2


def begin(barrier: threading.Barrier, address: str, log: Path) -> None:
    storage = open_storage(address)
    assert isinstance(storage, RDBStorage)
    for part in range(PARTS):  # tables and studies are made at the same moment, too
        barrier.wait()
        try:
            with driving(storage, SearchName.plain(f"run-{part}")) as state:
                state.once("mine", lambda: {"pid": os.getpid()})
                with log.open("a") as file:
                    file.write("drove\n")
                barrier.wait()  # it does not leave before all have tried
        except InputError as error:
            with log.open("a") as file:
                file.write(f"{error}\n")
            barrier.wait()
    storage.engine.dispose()


def test_of_processes_that_begin_at_the_same_moment_one_drives(
    address: str, storage: BaseStorage, tmp_path: Path
) -> None:
    logs = [tmp_path / str(number) for number in range(4)]
    crew(begin, [(address, log) for log in logs])
    for part, told in enumerate(zip(*(log.read_text().splitlines() for log in logs), strict=True)):
        assert told.count("drove") == 1
        (made,) = Ledger(storage, f"run-{part}/made").finished().values()
        who = f"the search run-{part} is driven by process {made.record['made']['pid']} on {Driver.here().host} since "
        assert all(text.startswith(who) for text in told if text != "drove")


def test_a_driver_of_another_machine_is_taken_over_when_asked_and_stops(storage: BaseStorage) -> None:
    far = claimed_by(storage, "run", **FAR)
    refused = pytest.raises(InputError, match=rf"driven by process {far.pid} on node7 .* add --take-over$")
    with refused, driving(storage, RUN):
        pass
    with driving(storage, RUN, take_over=True) as old:
        ledger = old.ledger("8")
        ledger.write("one", 1.0, {})
        new = claimed_by(storage, "run", **{**FAR, "host": "node8"})
        ousted = pytest.raises(RunError, match=rf"was taken over by process {new.pid} on node8 since ")
        with ousted:
            ledger.write("two", 2.0, {})
        with ousted:
            ledger.note("ended", 1)
        assert [*ledger.finished()] == ["one"]
        remove_run(storage, "run")  # as --overwrite does
        with ousted:
            ledger.finished()
    assert [study.study_name for study in storage.get_all_studies()] == ["run/drivers"]


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
    with driving(open_storage(address), RUN) as state:
        ledger = state.ledger("8")
        os.write(file, b"ready\n")
        for task in range(len(ledger.finished()), 1000):
            ledger.write(str(task), float(task), {"values": [1.5] * 300}, {"a": 1.0 + task}, BOX, {0: 1.0})
            os.write(file, f"{task}\n".encode())


def test_a_killed_driver_loses_nothing_and_is_seen_to_be_dead(
    address: str, storage: BaseStorage, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    told.touch()
    for attempt in range(KILLS):
        process = start(work, address, told)
        while told.read_text().count("ready") == attempt:
            time.sleep(0.002)
        with pytest.raises(InputError, match=f"driven by process {process.pid} on"), driving(storage, RUN):
            pass
        time.sleep(0.03 * (attempt + 1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    with driving(storage, RUN) as state:
        said = {line for line in told.read_text().split() if line != "ready"}
        finished = state.ledger("8").finished()
        assert said <= finished.keys() and len(finished) <= len(said) + KILLS
        assert list(finished) == [str(task) for task in range(len(finished))]
        assert all(entry.value == float(task) for task, entry in finished.items())
    assert len(load_study(study_name="run/8", storage=storage).trials) == len(finished)  # each of them once


def cut_off(execute: Execute, database: URL, allow: bool) -> None:
    """Let nobody connect any more, and end who is, as when a server goes away; or let them again."""
    execute(f"ALTER DATABASE {database.database} WITH ALLOW_CONNECTIONS {str(allow).lower()}")
    execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name", name=database.database)


def test_a_server_that_goes_away_stops_the_run_and_nothing_is_lost(
    address: str, storage: BaseStorage, database: URL, execute: Execute
) -> None:
    with driving(storage, RUN) as state:
        ledger = state.ledger("8")
        ledger.write("one", 1.0, {})
        cut_off(execute, database, False)
        failure = pytest.raises(
            RunError, match=r"u?:\*\*\*@127\.0\.0\.1:\d+/test_\w+ failed \(.*\); nothing .* --resume$"
        )
        with failure as caught, storage_errors(address):
            ledger.write("two", 2.0, {})
        assert database.password is not None and database.password not in str(caught.value)
        with failure, storage_errors(address):
            ledger.finished()
        cut_off(execute, database, True)
        assert list(ledger.finished()) == ["one"]
        ledger.write("two", 2.0, {})
        assert list(ledger.finished()) == ["one", "two"]


def test_a_server_that_restarts_between_two_questions_is_no_failure(
    storage: BaseStorage, database: URL, execute: Execute
) -> None:
    with driving(storage, RUN) as state:
        cut_off(execute, database, True)
        state.ledger("8").write("one", 1.0, {})
        assert list(state.ledger("8").finished()) == ["one"]


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
