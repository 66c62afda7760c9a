"""A search's journal: one file of JSON lines, for processes on one machine or on a shared file system with locks.

The journal is written under a lock of the kernel. The lock ends with the process that holds it, however that ends. A
line that a killed process has half written is cut off before the next line is written, and a copy of the file is kept.
A tail without any operation is cut off when the journal is opened. A journal that is damaged before its last operation
is refused and left as it is.
"""

from __future__ import annotations

import fcntl
import filecmp
import json
import mmap
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from mdm_tune.core.errors import InputError, RunError

__all__ = ["created", "open_journal", "operations", "replacing"]

Notify = Callable[[str], None]
BEGINNING = b'{"op_code":'  # of every line; it distinguishes a journal from another program's file
Fields = dict[str, type]
STUDY: Fields = {"study_id": int}
TRIAL: Fields = {"trial_id": int}
FIELDS: dict[int, Fields] = {  # the fields that Optuna writes for each kind of operation, by its number
    0: {"study_name": str, "directions": list},
    1: STUDY,
    2: {**STUDY, "user_attr": dict},
    3: {**STUDY, "system_attr": dict},
    4: {**STUDY},
    5: {**TRIAL, "param_name": str, "distribution": str},
    6: {**TRIAL, "state": int},
    7: {**TRIAL, "step": int},
    8: {**TRIAL, "user_attr": dict},
    9: {**TRIAL, "system_attr": dict},
}
PATIENCE = 2.0  # seconds to wait for the lock before a message


def open_journal(path: Path, notify: Notify) -> BaseStorage:
    """Open a journal, or create it. A damaged tail is cut off, and a copy of the file is kept.

    Args:
        path: The journal's path.
        notify: Called with a sentence when a tail is cut off or another process is waited for.

    Returns:
        The storage. It raises RunError if the journal fails later.

    Raises:
        InputError: If the journal cannot be opened or is damaged elsewhere; it is left as it is.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it prints each study that is created
    try:
        path.open("ab").close()
        journal = _Journal(path, notify)
        with journal.locked() as descriptor:
            journal.repair(descriptor)
    except OSError as error:
        raise _cannot_open(path, error) from None
    try:
        return JournalStorage(journal)
    except RunError as error:
        raise InputError(str(error)) from None


def created(path: Path, name: str) -> list[dict[str, Any]]:
    """The attributes of a journal's trials at their creation, for trials that have an attribute of this name.

    The journal is only read, without a lock. Lines that are no operations are skipped.

    Args:
        path: The journal's path.
        name: The attribute's name.

    Returns:
        The attributes by name, of each trial in order; [] if there is no journal.

    Raises:
        InputError: If the journal cannot be read.
    """
    created_trials = [log for log in operations(path, json.dumps(name)) if log["op_code"] == 4]
    attributes_by_trial = [log.get("user_attrs") for log in created_trials]
    return [attributes for attributes in attributes_by_trial if isinstance(attributes, dict) and name in attributes]


def operations(path: Path, text: str = "") -> Iterator[dict[str, Any]]:
    """The operations of a journal whose line holds a text. It is only read, without a lock; other lines are skipped.

    Args:
        path: The journal's path.
        text: A part of the line; empty for all lines.

    Yields:
        The operations in order; none if there is no journal.

    Raises:
        InputError: If the journal cannot be read.
    """
    try:
        lines = _lines(path.read_bytes())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_open(path, error) from None
    for line in lines:
        if text.encode() in line and (log := _operation(line)) is not None:
            yield log


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a journal when the ``with`` block ends. Until then no process writes to it.

    Args:
        path: The journal's path.

    Yields:
        The path at which to make the new journal.

    Raises:
        InputError: If the journal cannot be opened or replaced.
    """
    fresh, file = path.with_name(f"{path.name}.new-{os.getpid()}"), None
    try:
        file = _locked_file(path)
        fresh.unlink(missing_ok=True)
        yield fresh
        fresh.replace(path)
    except OSError as error:
        raise _cannot_open(path, error) from None
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        if file is not None:
            os.close(file)


def _locked_file(path: Path) -> int:
    """Open and lock a file, created if there is none, and return its descriptor.

    If another process replaces the file before it is locked, the new file is opened.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BaseException as error:
            os.close(file)
            if not isinstance(error, FileNotFoundError):  # replaced between ``exists`` and ``stat``
                raise
        else:
            os.close(file)


def _cannot_open(path: Path, error: OSError) -> InputError:
    return InputError(
        f"the journal {path} cannot be opened ({error.strerror}); make it readable and writable, or give another "
        "--output"
    )


class _Journal(JournalFileBackend):
    """Optuna's journal file, with a lock that ends with its process, and with complete lines only."""

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
            end = self.cut_partial_line(file)
            try:
                while lines:
                    lines = lines[os.write(file, lines) :]
                os.fsync(file)
            except OSError:
                if lines:  # readers skip a line without an end, so no process has read it
                    os.ftruncate(file, end)
                raise
            self._size = os.fstat(file).st_size

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the journal's lock in a ``with`` block, and yield its file descriptor."""
        file = os.open(self._journal, os.O_RDWR | os.O_APPEND)
        try:
            self._acquire(file)
            status = self._journal.stat()
            if (status.st_dev, status.st_ino) != self._file or status.st_size < self._size:
                raise OSError(None, "another process replaced it")
            yield file
        finally:
            os.close(file)

    def _acquire(self, file: int) -> None:
        """Wait for the lock, with a message if this takes long."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"waiting for another process that is writing to {self._journal}"
            message = threading.Timer(PATIENCE, self._notify, [text])
            message.daemon = True
            message.start()
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            finally:
                message.cancel()

    def repair(self, file: int) -> None:
        """Check every line, and cut off a tail without an operation.

        Raises:
            InputError: If the journal is damaged elsewhere, or is another program's file. Nothing is written.
        """
        lines = _lines(self._journal.read_bytes())
        operations = [_operation(line) for line in lines]
        good = operations.index(None) if None in operations else len(lines)
        later = any(log is not None for log in operations[good:])
        if good == 0 and lines and not later and not lines[0].startswith(BEGINNING[: len(lines[0])]):
            raise InputError(f"{self._journal} is no journal of a search; move it away, or give another --output")
        while (bad := _first_invalid([log for log in operations[:good] if log is not None])) is not None and not later:
            good, later = bad, bad < good - 1
        if later:
            raise InputError(
                f"the journal {self._journal} is damaged: line {good + 1} is no operation of a search, and others "
                "follow; it was left as it is: restore it, or start again with --overwrite"
            )
        if good < len(lines):
            self._cut(file, sum(map(len, lines[:good])), "a damaged end")

    def cut_partial_line(self, file: int) -> int:
        """Cut off a last line without an end, and return the file's size.

        Optuna skips such a line, but fails for good once another line is appended to it.
        """
        size = os.fstat(file).st_size
        if size == 0 or os.pread(file, 1, size - 1) == b"\n":
            return size
        with mmap.mmap(file, size, access=mmap.ACCESS_READ) as content:
            start = content.rfind(b"\n", 0, size - 1) + 1
        self._cut(file, start, "a half-written line")
        return start

    def _cut(self, file: int, size: int, what: str) -> None:
        """Cut the journal to ``size`` bytes, after a copy is made. ``what`` names the lost part for the message."""
        copy = self._copy()
        os.ftruncate(file, size)
        os.fsync(file)
        self._notify(f"cut {what} off the end of {self._journal}; the file as it was is {copy.name}")

    def _copy(self) -> Path:
        """Copy the journal into its folder and return the copy's path. An equal copy is not made again."""
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
        """Turn errors of reading and writing into RunError. ``done`` completes the message, such as "read"."""
        try:
            yield
        except OSError as error:
            raise RunError(
                f"the journal {self._journal} cannot be {done} ({error.strerror}); nothing that was finished is lost: "
                "free space or bring the file back, and run again with --resume"
            ) from None
        except (ValueError, RecursionError):
            lines = _lines(self._journal.read_bytes())
            broken = next((number for number, line in enumerate(lines, 1) if _operation(line) is None), len(lines))
            raise RunError(
                f"the journal {self._journal} is damaged: line {broken} is no operation of a search; run again with "
                "--resume, which cuts off a damaged end and keeps a copy"
            ) from None


class _Replay(BaseJournalBackend):
    """Operations in memory, to check whether Optuna can apply them.

    Attributes:
        logs: The operations.
        read: The number of operations read so far.
    """

    def __init__(self, logs: Sequence[dict[str, Any]]) -> None:
        self.logs, self.read = logs, 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        for log in self.logs[log_number_from:]:
            self.read += 1
            yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise AssertionError("nothing is written to a replay")


def _first_invalid(logs: Sequence[dict[str, Any]]) -> int | None:
    """The number, from 0, of the first operation that Optuna cannot apply or that names no existing study or trial."""
    names, trials = list[str | None](), 0  # names of studies by number, None for a deleted one; number of trials
    for number, log in enumerate(logs):
        kind, study, trial = log["op_code"], log.get("study_id"), log.get("trial_id")
        if (study is not None and not 0 <= study < len(names)) or (trial is not None and not 0 <= trial < trials):
            return number
        if kind == 0 and log["study_name"] not in names:
            names.append(log["study_name"])
        if kind == 1:
            names[log["study_id"]] = None
        trials += kind == 4
    replay = _Replay(logs)
    try:
        JournalStorage(replay)
    except Exception:  # an operation that was edited by hand may raise anything
        return replay.read - 1
    return None


def _lines(content: bytes) -> list[bytes]:
    """The lines with their ends, split at newlines only, unlike ``bytes.splitlines``."""
    return [line for line in re.split(rb"(?<=\n)", content) if line]


def _operation(line: bytes) -> dict[str, Any] | None:
    """The operation in a complete line; None if there is none."""
    try:
        log = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(log, dict) or not isinstance(log.get("worker_id"), str):
        return None
    kind = log.get("op_code")
    fields = FIELDS.get(kind) if type(kind) is int else None
    if fields is None or any(not isinstance(log.get(name), kind) for name, kind in fields.items()):
        return None
    return log
