"""A search's journal: one file of JSON lines, for the processes of one machine or of a shared file system with locks.

It is written under a lock of the kernel's, which ends with the process that holds it, however that ends. What a killed
process leaves half-written is cut off before the next line is written, and a copy is kept. When a journal is opened, so
is a tail that holds no operation at all; a journal with operations behind what is none is refused and left as it is.
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

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from mdm_tune.core.errors import InputError, RunError

__all__ = ["created", "open_journal", "replacing"]

Notify = Callable[[str], None]
BEGINNING = b'{"op_code":'  # of every line; how a journal is told from another program's file
Fields = dict[str, type]
STUDY: Fields = {"study_id": int}
TRIAL: Fields = {"trial_id": int}
FIELDS: dict[int, Fields] = {  # what Optuna writes of each kind of operation, by its number
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
PATIENCE = 2.0  # seconds to wait for the lock before saying so


def open_journal(path: Path, notify: Notify) -> BaseStorage:
    """Open a journal, created where there is none; a damaged tail is cut off and kept beside it.

    Raises InputError where it cannot be opened or is damaged elsewhere, and then leaves it as it is. Once open, it
    raises RunError.
    """
    try:
        path.open("ab").close()
        journal = _Journal(path, notify)
        with journal.locked() as descriptor:
            journal.repair(descriptor)
    except OSError as error:
        raise _closed(path, error) from None
    try:
        return JournalStorage(journal)
    except RunError as error:
        raise InputError(str(error)) from None


def created(path: Path, name: str) -> list[dict[str, Any]]:
    """What the trials of a journal that have an attribute of this name were created with, in their order.

    It is read line by line, with neither a lock nor a repair, and what is no operation is passed over; nothing where
    there is no journal. Raises InputError where it cannot be read.
    """
    try:
        lines = _lines(path.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _closed(path, error) from None
    mark = json.dumps(name).encode()
    found = [log for line in lines if mark in line and (log := _operation(line)) is not None and log["op_code"] == 4]
    attributes = [log.get("user_attrs") for log in found]
    return [each for each in attributes if isinstance(each, dict) and name in each]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to make a journal that takes the place of one when the block ends; until then nobody writes to that one.

    Raises InputError where it cannot be opened or replaced.
    """
    fresh, file = path.with_name(f"{path.name}.new-{os.getpid()}"), None
    try:
        file = _locked_file(path)
        fresh.unlink(missing_ok=True)
        yield fresh
        fresh.replace(path)
    except OSError as error:
        raise _closed(path, error) from None
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        if file is not None:
            os.close(file)


def _locked_file(path: Path) -> int:
    """The descriptor of the file that has this name once it is locked; made where there is none."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BaseException as error:
            os.close(file)
            if not isinstance(error, FileNotFoundError):  # replaced between two looks
                raise
        else:
            os.close(file)


def _closed(path: Path, error: OSError) -> InputError:
    return InputError(
        f"the journal {path} cannot be opened ({error.strerror}); make it readable and writable, or give another "
        "--output"
    )


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

    def repair(self, file: int) -> None:
        """Cut off a tail without an operation, after a look at every line.

        Raises InputError where it is damaged elsewhere, or another program's file; nothing is written then.
        """
        lines = _lines(self._journal.read_bytes())
        found = [_operation(line) for line in lines]
        good = found.index(None) if None in found else len(lines)
        later = any(log is not None for log in found[good:])
        if good == 0 and lines and not later and not lines[0].startswith(BEGINNING[: len(lines[0])]):
            raise InputError(f"{self._journal} is no journal of a search; move it away, or give another --output")
        while (wrong := _refused([log for log in found[:good] if log is not None])) is not None and not later:
            good, later = wrong, wrong < good - 1
        if later:
            raise InputError(
                f"the journal {self._journal} is damaged: line {good + 1} is no operation of a search, and others "
                "follow; it was left as it is: restore it, or start again with --overwrite"
            )
        if good < len(lines):
            self._cut(file, sum(map(len, lines[:good])), "a damaged end")

    def mend(self, file: int) -> int:
        """Cut off a last line without an end; return the file's size.

        Optuna reads past such a line, and could read nothing any more once another line is appended to it.
        """
        size = os.fstat(file).st_size
        if size == 0 or os.pread(file, 1, size - 1) == b"\n":
            return size
        with mmap.mmap(file, size, access=mmap.ACCESS_READ) as content:
            start = content.rfind(b"\n", 0, size - 1) + 1
        self._cut(file, start, "a half-written line")
        return start

    def _cut(self, file: int, size: int, what: str) -> None:
        copy = self._keep()
        os.ftruncate(file, size)
        os.fsync(file)
        self._notify(f"cut {what} off the end of {self._journal}; the file as it was is {copy.name}")

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
        except (ValueError, RecursionError):
            lines = _lines(self._journal.read_bytes())
            broken = next((number for number, line in enumerate(lines, 1) if _operation(line) is None), len(lines))
            raise RunError(
                f"the journal {self._journal} is damaged: line {broken} is no operation of a search; run again with "
                "--resume, which cuts off a damaged end and keeps a copy"
            ) from None


class _Replay(BaseJournalBackend):
    """Operations in memory, to see whether they make a storage. taken: how many were asked for."""

    def __init__(self, logs: Sequence[dict[str, Any]]) -> None:
        self.logs, self.taken = logs, 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        for log in self.logs[log_number_from:]:
            self.taken += 1
            yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise AssertionError("nothing is written to a replay")


def _refused(logs: Sequence[dict[str, Any]]) -> int | None:
    """The number of the first operation, from 0, that Optuna cannot apply, or of a study or trial that there is not."""
    names, trials = list[str | None](), 0  # of the studies by their number, None for a deleted one
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
    except Exception:  # whatever an operation edited by hand may raise
        return replay.taken - 1
    return None


def _lines(content: bytes) -> list[bytes]:
    """With their ends; bytes.splitlines would end lines elsewhere too."""
    return [line for line in re.split(rb"(?<=\n)", content) if line]


def _operation(line: bytes) -> dict[str, Any] | None:
    """The operation that a whole line holds, None where it holds none."""
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
