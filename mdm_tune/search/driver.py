"""Who drives a search: one process at a time, which the storage names, so that a second one is refused.

A process that begins to drive writes a claim: who it is, and which claim its own follows. Of several that follow the
same claim the first counts. A claim is one write, so that it is there as a whole or not at all, and of processes that
begin at the same moment exactly one drives. Nothing depends on a clock: a driver is seen to have left or to be dead, or
it is taken to be at work.
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
FIRST_SPACE = "pid:[4026531836]"  # where all processes of a machine are seen; a container has another
Events = Iterable[Mapping[str, Any]]  # claims and leavings in their order
_at_work: set[str] = set()  # the claims of this process


@dataclass(frozen=True)
class Driver:
    """A process that drives a search.

    host: the machine's name. machine: what tells it from others for good, "" where that is unknown. boot: one start of
    it. space: where process numbers hold. pid, started: the process, and when it began, in the kernel's ticks. since:
    when it began to drive, for a reader.
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
        host, machine, boot, space = _machine()
        return cls(
            host=host, machine=machine, boot=boot, space=space, pid=pid, started=_started(pid) or "", since=since
        )

    @classmethod
    def read(cls, record: object) -> Driver | None:
        """Who was written down; None where that cannot be read."""
        try:
            found = cls(**{each.name: record[each.name] for each in fields(cls)})  # type: ignore[index]
        except (KeyError, TypeError):
            return None
        texts = (found.host, found.machine, found.boot, found.space, found.started, found.since)
        return found if type(found.pid) is int and all(isinstance(text, str) for text in texts) else None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def runs(self) -> bool | None:
        """Whether the process runs; None where that cannot be seen from here.

        That is so on another machine, in another container, and where the kernel does not say when a process began.
        """
        host, machine, boot, space = _machine()
        if not self.boot or host != self.host:
            return None
        if (boot, space) == (self.boot, self.space):
            now = _started(self.pid) if self.pid > 0 and self.started else None
            return None if now is None else now == self.started
        again = machine == self.machine != "" and boot not in ("", self.boot)  # this machine was started again
        return False if again and space == self.space == FIRST_SPACE else None


@dataclass(frozen=True)
class SearchName:
    """How a search is called. run: in its storage. what: in a message. other: what to give for another search."""

    run: str
    what: str
    other: str

    @classmethod
    def plain(cls, run: str) -> SearchName:
        return cls(run, f"the search {run}", "another name")


@dataclass(frozen=True)
class _Ownership:
    """driver: None where the record of it cannot be read."""

    id: str
    driver: Driver | None

    def __str__(self) -> str:
        return "a process whose record cannot be read" if self.driver is None else str(self.driver)

    @property
    def lives(self) -> bool | None:
        runs = None if self.driver is None else self.driver.runs
        # A driver of this process that could not say that it left has left.
        return self.id in _at_work if runs and self.driver is not None and self.driver.pid == os.getpid() else runs


class DriverState:
    """The storage of one run, as its driver sees it.

    Every write is made as the driver that this state was opened for: after another process has taken the search over,
    writing raises RunError, and nothing is changed.
    """

    def __init__(self, storage: BaseStorage, search: SearchName, claim: str) -> None:
        self.storage, self._search, self._claim = storage, search, claim
        self.made = self.ledger("made")

    def ledger(self, name: str, direction: Direction = "minimize") -> Ledger:
        """One of the run's ledgers."""
        return Ledger(self.storage, f"{self._search.run}/{name}", direction, self.check)

    def once(self, task: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``make`` returns, kept in the storage."""
        return self.made.once(task, make)

    def check(self) -> None:
        """Raise RunError where another process has taken the search over."""
        latest, holder = _latest(_events(self.storage, self._search.run), self._search.run)
        if latest != self._claim:
            who = "another process, which has left" if holder is None else f"{holder}"
            raise RunError(
                f"{self._search.what} was taken over by {who}; this process writes nothing more, and what it had "
                "finished is kept"
            )


def refuse_second(storage: BaseStorage, search: SearchName, *, take_over: bool = False) -> None:
    """Raise InputError where another process drives a search; nothing is written."""
    _refuse(_latest(_events(storage, search.run), search.run)[1], search, take_over)


def refuse_second_in(journal: Path, search: SearchName, *, take_over: bool = False) -> None:
    """``refuse_second`` for a journal that need not be whole, and that is neither opened nor repaired for that."""
    _refuse(_latest(created(journal, STUDY), search.run)[1], search, take_over)


@contextmanager
def driving(
    storage: BaseStorage, search: SearchName, *, take_over: bool = False, claim: str | None = None
) -> Iterator[DriverState]:
    """Drive a search for the time of the block.

    take_over: also where a driver of which nothing can be seen from here, as on another machine, has not left. claim:
    that of ``begin_anew``.

    Raises InputError where another process drives it.
    """
    mine = claim or uuid.uuid4().hex
    _at_work.add(mine)
    try:
        if claim is None:
            _take(storage, search, mine, take_over)
        yield DriverState(storage, search, mine)
    finally:
        with suppress(Exception):  # the next driver will see that this process has ended
            if _latest(_events(storage, search.run), search.run)[0] == mine:
                _write(storage, search.run, {"left": mine})
        _at_work.discard(mine)


def begin_anew(journal: Path, search: SearchName, *, take_over: bool = False) -> str:
    """Put an empty journal that this process drives in the place of one, damaged or not; the claim for ``driving``.

    Raises InputError where another process drives the search in that one, and then leaves it as it is.
    """
    mine = uuid.uuid4().hex
    with replacing(journal) as fresh:  # nobody can claim meanwhile
        refuse_second_in(journal, search, take_over=take_over)
        _write(open_journal(fresh, lambda text: None), search.run, _record(mine, ""))
    return mine


def holds_run(storage: BaseStorage, run: str) -> bool:
    """Whether a storage holds more of a run than who drives it."""
    names = [study.study_name for study in storage.get_all_studies()]
    return any(name.startswith(f"{run}/") and name != f"{run}/{STUDY}" for name in names)


def remove_run(storage: BaseStorage, run: str) -> None:
    """Delete all that a storage holds of a run, but for who drives it."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{run}/") and study.study_name != f"{run}/{STUDY}":
            storage.delete_study(study._study_id)


def _take(storage: BaseStorage, search: SearchName, mine: str, take_over: bool) -> None:
    latest, holder = _latest(_events(storage, search.run), search.run)
    _refuse(holder, search, take_over)
    _write(storage, search.run, _record(mine, latest))
    latest, holder = _latest(_events(storage, search.run), search.run)
    if latest != mine:
        who = "another process, which has left" if holder is None else f"{holder}"
        raise InputError(
            f"{search.what} is driven by {who}, which began at the same moment; wait for it, end it, or give "
            f"{search.other}"
        )


def _refuse(holder: _Ownership | None, search: SearchName, take_over: bool) -> None:
    lives = False if holder is None else holder.lives
    if lives:
        raise InputError(f"{search.what} is driven by {holder}; wait for it, end it, or give {search.other}")
    if lives is None and not take_over:
        raise InputError(
            f"{search.what} is driven by {holder}, and from here it cannot be seen whether that still runs; if it does "
            "not, add --take-over"
        )


def _record(mine: str, after: str) -> dict[str, Any]:
    return {"claim": mine, "after": after, "driver": asdict(Driver.here())}


def _write(storage: BaseStorage, run: str, event: dict[str, Any]) -> None:
    trial = create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs={STUDY: run, **event})
    storage.create_new_trial(study_of(storage, f"{run}/{STUDY}"), template_trial=trial)


def _events(storage: BaseStorage, run: str) -> Events:
    try:
        trials = storage.get_all_trials(storage.get_study_id_from_name(f"{run}/{STUDY}"), deepcopy=False)
    except KeyError:  # nobody has driven it
        return ()
    return [trial.user_attrs for trial in sorted(trials, key=lambda trial: trial.number)]


def _latest(events: Events, run: str) -> tuple[str, _Ownership | None]:
    """The claim that counts now, "" before the first; and whose it is, None where that one has left."""
    after, left = dict[str, _Ownership](), set[str]()
    for event in events:
        if event.get(STUDY) != run:
            continue
        mine, before, gone = (event.get(key) for key in ("claim", "after", "left"))
        if isinstance(mine, str) and isinstance(before, str):
            after.setdefault(before, _Ownership(mine, Driver.read(event.get("driver"))))
        if isinstance(gone, str):
            left.add(gone)
    latest, holder = "", None
    while latest in after:
        holder = after.pop(latest)
        latest = holder.id
    return latest, None if latest in left else holder


def _machine() -> tuple[str, str, str, str]:
    """Host, machine, boot and space of ``Driver``; "" for what is not to be had."""

    def text(path: str) -> str:
        try:
            return Path(path).read_text("utf-8").strip()
        except (OSError, ValueError):
            return ""

    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    boot = text("/proc/sys/kernel/random/boot_id") if space else ""
    return socket.gethostname(), text("/etc/machine-id"), boot, space


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; "" where there is none (any more), None where that is hidden."""
    try:
        with suppress(PermissionError):  # another user's
            os.kill(pid, 0)
        parts = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (ProcessLookupError, OverflowError):
        return ""
    except OSError:
        return None
    return "" if parts[0] in (b"Z", b"X") else parts[19].decode()
