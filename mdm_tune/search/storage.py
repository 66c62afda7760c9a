"""The storage of a search's state: a journal file, or a database that several machines can use."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalRedisBackend

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.redaction import HIDDEN, redacted
from mdm_tune.search.journal import open_journal

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["Storage", "open_storage", "storage_errors"]

Storage = BaseStorage

CONNECT = 10  # seconds to wait for a server
TRIES = 6  # attempts to create a database's tables while another process does the same
SECRET = re.compile("pass|secret|token", re.IGNORECASE)  # in names of options that contain a password
NOT_FOUND = "Record does not exist."  # Optuna's message after another process has deleted a study
PACKAGES = {"psycopg": '"mdm-tune[postgres]"', "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def _silent(message: str) -> None:
    """Ignore the message."""


def open_storage(where: Path | str, notify: Callable[[str], None] = _silent) -> BaseStorage:
    """Open a storage. No message contains a password.

    Args:
        where: A path for a journal file, or the address of a database, such as postgresql://user@host/name.
        notify: Called with a sentence when a journal's damaged end is cut off or another process is waited for; it may
            be called in another thread.

    Returns:
        The storage. A journal that fails later raises RunError; use a database inside ``storage_errors``.

    Raises:
        InputError: If the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if isinstance(where, Path):
        return open_journal(where, notify)
    address = _address(where)
    return _open_redis(address) if address.scheme in {"redis", "rediss"} else _open_database(address)


@contextmanager
def storage_errors(where: Path | str) -> Iterator[None]:
    """Turn failures of an open database, such as a lost server, into RunError.

    Other errors pass unchanged, so that a whole run can be inside the ``with`` block.
    """
    try:
        yield
    except Exception as error:
        if isinstance(where, Path) or not _from_database(error):
            raise
        address = _address(where)
        raise RunError(
            f"search.storage: {address.shown} failed ({address.reason(error)}); nothing that was finished is lost: "
            "bring it back and run again with --resume"
        ) from None


def _from_database(error: Exception) -> bool:
    """Whether a database or its driver raised the error."""
    if isinstance(error, KeyError):
        return error.args == (NOT_FOUND,)
    driver = type(error).__module__.partition(".")[0]
    return isinstance(error, StorageInternalError) or driver in {"redis", "sqlalchemy"}


@dataclass(frozen=True)
class _Address:
    """A database's address.

    Attributes:
        url: The address.
        shown: The address without its password and options.
        secrets: Forms in which the passwords may occur in a message, the longest first.
    """

    url: URL
    shown: str
    secrets: tuple[str, ...]

    @property
    def scheme(self) -> str:
        return self.url.get_backend_name()

    def reason(self, error: BaseException) -> str:
        """The first line of a driver's message, without passwords."""
        while error.__cause__ is not None:
            error = error.__cause__
        text = next(iter(str(error).strip().rstrip(".").splitlines()), type(error).__name__)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _address(where: str) -> _Address:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    scheme = re.match(r"[a-z][a-z0-9+]*(?=://)", where)
    problem = InputError(
        "search.storage: an address must read driver://user:password@host/database, with %40 for an @ in the password "
        f"and so on, got {scheme.group() + '://***' if scheme else 'something without driver://'}; correct it"
    )
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        raise problem from None
    if HIDDEN in (url.password, *url.query.values()):
        raise InputError(
            f"search.storage: {HIDDEN} stands for the password, which is never shown, got {redacted(where)}; put the "
            "password in again, or leave it out where the driver finds it elsewhere (PGPASSWORD, ~/.pgpass)"
        )
    is_path = url.get_backend_name() == "sqlite"  # a path may contain an @; other addresses only before the host
    if scheme is None or (not is_path and (where.count("@") > 1 or "@" in f"{url.database}")):
        raise problem  # part of a password would be read as host or database, and shown
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    shown = url.set(query={}).render_as_string(hide_password=True)
    return _Address(url, shown, _secrets(where))


def _secrets(where: str) -> tuple[str, ...]:
    """The passwords in an address, as typed, decoded, and encoded as a driver may write them; the longest first."""
    typed = [where.partition("://")[2].rpartition("@")[0].partition(":")[2]]
    typed += [value for name, value in re.findall("[?&]([^=&]*)=([^&]*)", where) if SECRET.search(name)]
    decoded = [decode(text) for text in typed for decode in (unquote, unquote_plus)]
    encoded = [encode(text, safe="") for text in decoded for encode in (quote, quote_plus)]
    forms = {*typed, *decoded, *encoded} - {""}
    return tuple(sorted(forms, key=len, reverse=True))


def _open_database(address: _Address) -> BaseStorage:
    from sqlalchemy.exc import NoSuchModuleError

    if address.scheme == "sqlite" and (address.url.database or ":memory:") == ":memory:":
        raise InputError("search.storage: a search needs a database that stays, got one in memory; use sqlite:///path")
    url = address.url.render_as_string(hide_password=False)
    url = url.replace("{", "{{").replace("}", "}}")  # Optuna calls str.format on the address
    for attempts_left in reversed(range(TRIES)):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "connect_args": _connect_args(address.url)})
        except ImportError as error:
            module = getattr(error.__cause__, "name", None) or address.url.get_driver_name()
            raise _missing_package(address, module) from None
        except NoSuchModuleError:
            raise InputError(
                f"search.storage: the address must begin with sqlite, postgresql, mysql or redis, got {address.shown}; "
                "use one of them"
            ) from None
        except Exception as error:  # a driver may raise anything
            if not attempts_left or not _created_meanwhile(error):
                raise _unusable(address, error) from None
        time.sleep(0.2)
    raise AssertionError("the last attempt returns or raises")


def _connect_args(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": 60}  # seconds to wait for another process's write
    psycopg = url.drivername.startswith("postgresql+psycopg")
    return {"connect_timeout": CONNECT} if psycopg and "connect_timeout" not in url.query else {}


def _created_meanwhile(error: Exception) -> bool:
    """Whether creating tables failed because another process created them at the same moment."""
    from sqlalchemy.exc import IntegrityError

    return isinstance(error, IntegrityError) or "already exists" in str(error)


def _open_redis(address: _Address) -> BaseStorage:
    url = address.url
    if "socket_connect_timeout" not in url.query:
        url = url.update_query_dict({"socket_connect_timeout": str(CONNECT)})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return JournalStorage(JournalRedisBackend(url.render_as_string(hide_password=False), prefix="mdm-tune"))
    except ImportError:
        raise _missing_package(address, "redis") from None
    except Exception as error:  # the driver may raise anything
        raise _unusable(address, error) from None


def _missing_package(address: _Address, module: str) -> InputError:
    return InputError(
        f"search.storage: {address.shown} needs the Python package {module}, which is not installed; "
        f"run: pip install {PACKAGES.get(module, module)}"
    )


def _unusable(address: _Address, error: Exception) -> InputError:
    server = "the address, that its server runs, and the user's password and rights"
    check = "that the path's folder exists and can be written" if address.scheme == "sqlite" else server
    return InputError(f"search.storage: cannot use {address.shown} ({address.reason(error)}); check {check}")
