"""One process at a time drives a search. The storage names it, so that a second process is refused.

A process that begins to drive a search writes a claim. The claim names the process and the claim before it. If several
claims follow the same one, the first counts. A claim is written by one operation, completely or not at all. Therefore
exactly one of several processes that begin at the same moment drives. Nothing depends on a clock: a driver counts as
running unless it has left or is seen to be dead.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.types import Direction
from mdm_tune.search.journal import created, open_journal, replacing
from mdm_tune.search.ledger import Ledger, study_of

__all__ = [
    "Driver",
    "DriverState",
    "SearchName",
    "begin_anew",
    "driving",
    "holds_run",
    "refuse_second",
    "refuse_second_in",
    "remove_run",
]

STUDY = "drivers"
FIRST_SPACE = "pid:[4026531836]"  # the PID namespace with all processes of a machine; a container has another
Events = Iterable[Mapping[str, Any]]  # claims, and records that a driver left, in their order
_own_claims: set[str] = set()  # the claims that this process holds


@dataclass(frozen=True)
class Driver:
    """A process that drives a search.

    Attributes:
        host: The machine's name.
        machine: The machine's permanent id; "" if unknown.
        boot: The id of the machine's present boot; "" if unknown.
        space: The PID namespace, in which ``pid`` is valid; "" if unknown.
        pid: The process id.
        started: The process's start time in the kernel's ticks; "" if unknown.
        since: The time at which it began to drive, for messages.
    """

    host: str
    machine: str
    boot: str
    space: str
    pid: int
    started: str
    since: str

    @classmethod
    def here(cls) -> Driver:
        """This process."""
        pid, since = os.getpid(), datetime.now().astimezone().isoformat(" ", "seconds")
        host, machine, boot, space = _machine_ids()
        return cls(
            host=host, machine=machine, boot=boot, space=space, pid=pid, started=_start_ticks(pid) or "", since=since
        )

    @classmethod
    def read(cls, record: object) -> Driver | None:
        """The driver that a record names; None if the record cannot be read."""
        try:
            driver = cls(**{field.name: record[field.name] for field in fields(cls)})  # type: ignore[index]
        except (KeyError, TypeError):
            return None
        texts = (driver.host, driver.machine, driver.boot, driver.space, driver.started, driver.since)
        return driver if type(driver.pid) is int and all(isinstance(text, str) for text in texts) else None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def runs(self) -> bool | None:
        """Whether the process runs; None if this process cannot know.

        It cannot know about another machine or container, or if the kernel hides when a process began.
        """
        host, machine, boot, space = _machine_ids()
        if not self.boot or host != self.host:
            return None
        if (boot, space) == (self.boot, self.space):
            ticks = _start_ticks(self.pid) if self.pid > 0 and self.started else None
            return None if ticks is None else ticks == self.started
        rebooted = machine == self.machine != "" and boot not in ("", self.boot)
        return False if rebooted and space == self.space == FIRST_SPACE else None


@dataclass(frozen=True)
class SearchName:
    """The names of a search.

    Attributes:
        run: Its name in the storage.
        what: Its name in messages.
        other: What the user must give to start another search, in messages.
    """

    run: str
    what: str
    other: str

    @classmethod
    def plain(cls, run: str) -> SearchName:
        """The names of a search that is known by its name in the storage only."""
        return cls(run, f"the search {run}", "another name")


@dataclass(frozen=True)
class _Claim:
    """A claim and the process that wrote it.

    Attributes:
        id: The claim's id.
        driver: The process; None if its record cannot be read.
    """

    id: str
    driver: Driver | None

    def __str__(self) -> str:
        return "a process whose record cannot be read" if self.driver is None else str(self.driver)

    @property
    def active(self) -> bool | None:
        """Whether the driver runs and still holds the claim; None if this process cannot know."""
        runs = None if self.driver is None else self.driver.runs
        # A claim of this process that it no longer holds was given up, even if that could not be written.
        return self.id in _own_claims if runs and self.driver is not None and self.driver.pid == os.getpid() else runs


class DriverState:
    """The storage of one run, for its driver.

    After another process has taken the search over, every write raises RunError and changes nothing.

    Attributes:
        storage: The storage.
        made: The ledger of named results, see ``once``.
    """

    def __init__(self, storage: BaseStorage, search: SearchName, claim: str) -> None:
        self.storage, self._search, self._claim = storage, search, claim
        self.made = self.ledger("made")

    def ledger(self, name: str, direction: Direction = "minimize", value_name: str | None = None) -> Ledger:
        """One of the run's ledgers. value_name: what its values are, for viewers."""
        return Ledger(self.storage, f"{self._search.run}/{name}", direction, self.check, value_name)

    def once(self, task: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Call ``make`` unless the storage holds the result of this task, and return the result."""
        return self.made.once(task, make)

    def check(self) -> None:
        """Raise RunError if another process has taken the search over."""
        latest, holder = _latest_claim(_events(self.storage, self._search.run), self._search.run)
        if latest != self._claim:
            who = "another process, which has left" if holder is None else f"{holder}"
            raise RunError(
                f"{self._search.what} was taken over by {who}; this process writes nothing more, and what it had "
                "finished is kept"
            )


def refuse_second(storage: BaseStorage, search: SearchName, *, take_over: bool = False) -> None:
    """Raise InputError if another process drives a search. Nothing is written.

    Args:
        storage: The storage of the search.
        search: Its names.
        take_over: Whether a driver whose state cannot be known counts as gone.
    """
    _refuse_holder(_latest_claim(_events(storage, search.run), search.run)[1], search, take_over)


def refuse_second_in(journal: Path, search: SearchName, *, take_over: bool = False) -> None:
    """``refuse_second`` for a journal that may be damaged. The journal is only read."""
    _refuse_holder(_latest_claim(created(journal, STUDY), search.run)[1], search, take_over)


@contextmanager
def driving(
    storage: BaseStorage, search: SearchName, *, take_over: bool = False, claim: str | None = None
) -> Iterator[DriverState]:
    """Drive a search inside a ``with`` block.

    Args:
        storage: The storage of the search.
        search: Its names.
        take_over: Whether a driver whose state cannot be known, for example on another machine, counts as gone.
        claim: The claim that ``begin_anew`` returned; None to make one.

    Yields:
        The storage for the driver.

    Raises:
        InputError: If another process drives the search.
    """
    own_claim = claim or uuid.uuid4().hex
    _own_claims.add(own_claim)
    try:
        if claim is None:
            _claim_search(storage, search, own_claim, take_over)
        yield DriverState(storage, search, own_claim)
    finally:
        with suppress(Exception):  # the next driver sees that this process has ended
            if _latest_claim(_events(storage, search.run), search.run)[0] == own_claim:
                _write(storage, search.run, {"left": own_claim})
        _own_claims.discard(own_claim)


def begin_anew(journal: Path, search: SearchName, *, take_over: bool = False) -> str:
    """Replace a journal, damaged or not, by an empty one that this process drives.

    Args:
        journal: The journal's path.
        search: The names of the search.
        take_over: As in ``driving``.

    Returns:
        The claim, for ``driving``.

    Raises:
        InputError: If another process drives the search. The journal is left as it is.
    """
    claim = uuid.uuid4().hex
    with replacing(journal) as fresh:  # the lock keeps other processes from claiming the search
        refuse_second_in(journal, search, take_over=take_over)
        _write(open_journal(fresh, lambda text: None), search.run, _record(claim, ""))
    return claim


def holds_run(storage: BaseStorage, run: str) -> bool:
    """Whether a storage holds anything of a run except its claims."""
    names = [study.study_name for study in storage.get_all_studies()]
    return any(name.startswith(f"{run}/") and name != f"{run}/{STUDY}" for name in names)


def remove_run(storage: BaseStorage, run: str) -> None:
    """Delete everything that a storage holds of a run except its claims."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{run}/") and study.study_name != f"{run}/{STUDY}":
            storage.delete_study(study._study_id)


def _claim_search(storage: BaseStorage, search: SearchName, claim: str, take_over: bool) -> None:
    """Write a claim. Raises InputError if another process drives the search or claims it at the same moment."""
    latest, holder = _latest_claim(_events(storage, search.run), search.run)
    _refuse_holder(holder, search, take_over)
    _write(storage, search.run, _record(claim, latest))
    latest, holder = _latest_claim(_events(storage, search.run), search.run)
    if latest != claim:
        who = "another process, which has left" if holder is None else f"{holder}"
        raise InputError(
            f"{search.what} is driven by {who}, which began at the same moment; wait for it, end it, or give "
            f"{search.other}"
        )


def _refuse_holder(holder: _Claim | None, search: SearchName, take_over: bool) -> None:
    """Raise InputError if the holder of the latest claim drives the search, or may drive it without ``take_over``."""
    active = False if holder is None else holder.active
    if active:
        raise InputError(f"{search.what} is driven by {holder}; wait for it, end it, or give {search.other}")
    if active is None and not take_over:
        raise InputError(
            f"{search.what} is driven by {holder}, and from here it cannot be seen whether that still runs; if it does "
            "not, add --take-over"
        )


def _record(claim: str, predecessor: str) -> dict[str, Any]:
    return {"claim": claim, "after": predecessor, "driver": asdict(Driver.here())}


def _write(storage: BaseStorage, run: str, event: dict[str, Any]) -> None:
    trial = create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs={STUDY: run, **event})
    storage.create_new_trial(study_of(storage, f"{run}/{STUDY}"), template_trial=trial)


def _events(storage: BaseStorage, run: str) -> Events:
    try:
        trials = storage.get_all_trials(storage.get_study_id_from_name(f"{run}/{STUDY}"), deepcopy=False)
    except KeyError:  # no process has driven it
        return ()
    return [trial.user_attrs for trial in sorted(trials, key=lambda trial: trial.number)]


def _latest_claim(events: Events, run: str) -> tuple[str, _Claim | None]:
    """The id of the claim that counts now, "" before the first; and the claim itself, None if its driver has left."""
    successors, left = dict[str, _Claim](), set[str]()
    for event in events:
        if event.get(STUDY) != run:
            continue
        claim, predecessor, ended = (event.get(key) for key in ("claim", "after", "left"))
        if isinstance(claim, str) and isinstance(predecessor, str):
            successors.setdefault(predecessor, _Claim(claim, Driver.read(event.get("driver"))))
        if isinstance(ended, str):
            left.add(ended)
    latest, holder = "", None
    while latest in successors:
        holder = successors.pop(latest)
        latest = holder.id
    return latest, None if latest in left else holder


def _machine_ids() -> tuple[str, str, str, str]:
    """Host, machine, boot and space of ``Driver``; "" for an unknown one."""

    def content(path: str) -> str:
        try:
            return Path(path).read_text("utf-8").strip()
        except (OSError, ValueError):
            return ""

    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    boot = content("/proc/sys/kernel/random/boot_id") if space else ""
    return socket.gethostname(), content("/etc/machine-id"), boot, space


def _start_ticks(pid: int) -> str | None:
    """The start time of a process in the kernel's ticks; "" if there is no such process, None if it is hidden."""
    try:
        with suppress(PermissionError):  # the process of another user
            os.kill(pid, 0)
        parts = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (ProcessLookupError, OverflowError):
        return ""
    except OSError:
        return None
    return "" if parts[0] in (b"Z", b"X") else parts[19].decode()
