"""Tests that need a PostgreSQL server; scripts/postgres.sh starts one and names it in the environment."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, make_url

SERVER = os.environ.get("MDM_TUNE_POSTGRES", "")  # the address of a database of which the user is a superuser
collect_ignore_glob = [] if SERVER else ["test_*.py"]

Execute = Callable[..., None]


@pytest.fixture(scope="session")
def server() -> URL:
    return make_url(SERVER).set(drivername="postgresql+psycopg")


@contextmanager
def connected(url: URL) -> Iterator[Engine]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def execute(server: URL) -> Iterator[Execute]:
    """Run a statement of SQL as the superuser."""
    with connected(server) as engine, engine.connect() as connection:

        def run(statement: str, **values: object) -> None:
            connection.execute(text(statement), values)

        yield run


@pytest.fixture
def database(execute: Execute, server: URL) -> Iterator[URL]:
    """An empty database of its own."""
    name = f"test_{uuid.uuid4().hex}"
    execute(f"CREATE DATABASE {name}")
    yield server.set(database=name)
    execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def address(database: URL) -> str:
    """The address of that database, as a user types it."""
    return database.set(drivername="postgresql").render_as_string(hide_password=False)
