"""A search's journal: one file of JSON lines, for the processes of one machine or of a shared file system with locks.

It is written under a lock of the kernel's, which ends with the process that holds it, however that ends. What a killed
process leaves half-written is cut off before the next line is written, and a copy is kept.
"""

from __future__ import annotations

import fcntl
import filecmp
import json
import mmap
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from mdm_tune.errors import InputError, RunError

__all__ = ["open_journal"]

Notify = Callable[[str], None]
PATIENCE = 2.0  # seconds to wait for the lock before saying so


def open_journal(path: Path, notify: Notify) -> BaseStorage:
    """Open a journal, created where there is none; a torn last line is cut off.

    Raises InputError where it cannot be opened or is damaged elsewhere. Once open, it raises RunError.
    """
    try:
        with path.open("a+b") as file:
            file.seek(0)
            if file.read(1) not in {b"", b"{"}:  # before anything is cut off what may be another program's file
                raise InputError(f"{path} is no journal of a search; move it away, or give another --output")
        journal = _Journal(path, notify)
        with journal.locked() as descriptor:
            journal.mend(descriptor, thorough=True)
    except OSError as error:
        raise InputError(
            f"the journal {path} cannot be opened ({error.strerror}); make it readable and writable, or give another "
            "--output"
        ) from None
    try:
        return JournalStorage(journal)
    except RunError as error:
        raise InputError(str(error)) from None
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError):  # lines that are no operations
        raise InputError(_damage(path)) from None


class _Journal(JournalFileBackend):
    """Optuna's journal file with a lock that no dead process holds, and with whole lines only."""

    def __init__(self, path: Path, notify: Notify) -> None:
        super().__init__(str(path))
        self._journal, self._notify = path, notify
        status = path.stat()
        self._file, self._size = (status.st_dev, status.st_ino), 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        with self._errors("read"):
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._errors("written"), self.locked() as file:
            end = self.mend(file)
            try:
                while lines:
                    lines = lines[os.write(file, lines) :]
                os.fsync(file)
            except OSError:
                if lines:  # readers pass over a line without an end, so nobody has read it
                    os.ftruncate(file, end)
                raise
            self._size = os.fstat(file).st_size

    @contextmanager
    def locked(self) -> Iterator[int]:
        """The journal's file descriptor, held by no other process; closing it, or dying, ends that."""
        file = os.open(self._journal, os.O_RDWR | os.O_APPEND)
        try:
            self._wait(file)
            status = self._journal.stat()
            if (status.st_dev, status.st_ino) != self._file or status.st_size < self._size:
                raise OSError(None, "another process replaced it")
            yield file
        finally:
            os.close(file)

    def _wait(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"waiting for another process that is writing to {self._journal}"
            telling = threading.Timer(PATIENCE, self._notify, [text])
            telling.daemon = True
            telling.start()
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            finally:
                telling.cancel()

    def mend(self, file: int, thorough: bool = False) -> int:
        """Cut off a last line without an end, or, if ``thorough``, one that is no record; return the file's size.

        Optuna reads past such a line, and could read nothing any more once another line is appended to it.
        """
        size = os.fstat(file).st_size
        if size == 0 or (not thorough and os.pread(file, 1, size - 1) == b"\n"):
            return size
        with mmap.mmap(file, size, access=mmap.ACCESS_READ) as content:
            start = content.rfind(b"\n", 0, size - 1) + 1
            if content[size - 1 :] == b"\n" and _is_record(content[start:]):
                return size
        copy = self._keep()
        os.ftruncate(file, start)
        os.fsync(file)
        self._notify(f"cut a half-written line off the end of {self._journal}; the file as it was is {copy.name}")
        return start

    def _keep(self) -> Path:
        """Copy the journal beside itself, unless a process that was killed right after that has done so."""
        number = 1
        while (copy := self._journal.with_name(f"{self._journal.name}.torn-{number}")).exists():
            if filecmp.cmp(copy, self._journal, shallow=False):
                return copy
            number += 1
        try:
            shutil.copyfile(self._journal, copy)
        except OSError:
            copy.unlink(missing_ok=True)
            raise
        return copy

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"the journal {self._journal} cannot be {done} ({error.strerror}); nothing that was finished is lost: "
                "free space or bring the file back, and run again with --resume"
            ) from None
        except ValueError:
            raise RunError(_damage(self._journal)) from None


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _damage(path: Path) -> str:
    """What is wrong with a journal that cannot be read, and what to do."""
    with path.open("rb") as file:
        broken = next((number for number, line in enumerate(file, 1) if not _is_record(line)), None)
    which = "its lines are no operations of a study" if broken is None else f"line {broken} is no record"
    return f"the journal {path} is damaged: {which}; restore it, or start again with --overwrite"
