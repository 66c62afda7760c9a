"""A book of named tasks in a storage: each is claimed by one worker at a time and finished once, by whichever process.

All of it lies in the storage; processes may be killed at any moment, and what they had claimed is free again.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from mdm_tune.search.sealing import SUM, changed, digest, read_notes, sealed

__all__ = ["Claim", "Entry", "Ledger", "Worker", "check"]

Direction = Literal["minimize", "maximize"]
ENDED = -1  # the counter of a worker that has left
PIECE = 30_000  # characters of a record in one attribute: MySQL's texts hold 64 kB, and quotes are written twice


class Worker:
    """One process at work. A thread of it counts in the storage, so that other machines see that it lives.

    lease: seconds without a change of the counter after which a worker of another machine is taken for dead. A worker
    of this machine is looked up among its processes. A worker is entered once: ``with Worker(...) as worker``.
    """

    def __init__(
        self,
        storage: BaseStorage,
        run: str,
        *,
        lease: float = 60.0,
        renew: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = "/".join([_machine(), str(os.getpid()), str(_started(os.getpid())), uuid.uuid4().hex[:8]])
        self._storage, self._lease, self._clock = storage, lease, clock
        self._renew_every = lease / 4 if renew is None else renew
        name = f"{run}/workers"
        _study(storage, name, "minimize")
        self._study = storage.get_study_id_from_name(name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._seen: dict[str, tuple[Any, float]] = {}  # another's counter, and when it was first met at that

    def __enter__(self) -> Worker:
        self._count(0)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)
        with suppress(Exception):  # the others will find out, and an error on its way out is worth more
            self._count(ENDED)

    def living(self, workers: Iterable[str]) -> set[str]:
        """Those of ``workers`` that are at work, as far as can be known from here."""
        workers = set(workers)
        counters = self._storage.get_study_user_attrs(self._study) if workers else {}
        return {worker for worker in workers if self._lives(worker, counters.get(worker))}

    def _lives(self, worker: str, counter: int | None) -> bool:
        if counter == ENDED:
            return False
        if worker == self.id:
            return True
        here = _runs_here(worker)
        if here is not None:
            return here
        now = self._clock()
        last, since = self._seen.get(worker, (None, now))
        if worker not in self._seen or last != counter:
            self._seen[worker] = (counter, now)
            return True
        return now - since <= self._lease

    def _renew(self) -> None:
        number = 1
        while not self._stop.wait(self._renew_every):
            with suppress(Exception):  # the work meets the same failure and reports it
                self._count(number)
                number += 1

    def _count(self, number: int) -> None:
        self._storage.set_study_user_attr(self._study, self.id, number)


@dataclass(frozen=True)
class Entry:
    """A task in the book. value: None while it is held. record: what it was finished with, {} while it is held."""

    task: str
    params: dict[str, float]
    value: float | None
    record: dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A task that this worker holds. What comes after another worker has taken it over is dropped without a word."""

    task: str
    params: dict[str, float]
    _storage: BaseStorage = field(repr=False)
    _trial: int = field(repr=False)

    def report(self, step: int, value: float) -> None:
        """Note an intermediate value."""
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_intermediate_value(self._trial, step, value)

    def finish(self, value: float, record: Mapping[str, Any]) -> None:
        """Close the task with a value, finite or infinite, and a record of what JSON can hold.

        The record is written first and the state last, so that a killed process leaves all of it or an open task.
        """
        assert not math.isnan(value)
        text = json.dumps(dict(record))
        sealed = digest(self.task, self.params, float(value), text)
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(self._trial, SUM, sealed)
            for number, start in enumerate(range(0, len(text), PIECE)):
                self._storage.set_trial_user_attr(self._trial, _piece(number), text[start : start + PIECE])
            self._storage.set_trial_state_values(self._trial, TrialState.COMPLETE, [float(value)])

    def release(self) -> None:
        """Give the task back unfinished."""
        _fail(self._storage, self._trial)


class Ledger:
    """One Optuna study as a book of tasks. A claim is a running trial that names its task and its worker."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        worker: Worker,
        direction: Direction = "minimize",
    ) -> None:
        self._storage, self._worker = storage, worker
        self._study = _study(storage, name, direction)
        self._id = storage.get_study_id_from_name(name)
        self._known: dict[int, Entry] = {}  # finished trials never change

    @property
    def notes(self) -> dict[str, Any]:
        """What was noted about the book as a whole; raises InputError where it is not what was written."""
        return read_notes(self._study.user_attrs)

    def note(self, key: str, value: Any) -> None:
        """Note something JSON can hold about the book as a whole."""
        self._study.set_user_attr(key, sealed(key, value))

    def finished(self) -> dict[str, Entry]:
        """The finished tasks by name, in the order in which they were claimed."""
        entries: dict[str, Entry] = {}
        for trial in self._trials(TrialState.COMPLETE):
            if trial.number not in self._known:
                self._known[trial.number] = _entry(trial)
            entry = self._known[trial.number]
            entries.setdefault(entry.task, entry)
        return entries

    def held(self) -> dict[str, Entry]:
        """The unfinished tasks that living workers hold, this one included, in the order in which they were claimed."""
        trials = self._trials(TrialState.RUNNING)
        living = self._worker.living(trial.user_attrs["worker"] for trial in trials)
        entries: dict[str, Entry] = {}
        for trial in trials:
            if trial.user_attrs["worker"] in living:
                entries.setdefault(trial.user_attrs["task"], _entry(trial))
        return entries

    def claim(
        self,
        task: str,
        params: Mapping[str, float] = {},
        box: Mapping[str, tuple[float, float]] = {},
    ) -> Claim | None:
        """Take a task, or None where it is finished or a living worker holds it.

        box: for each of ``params`` the positive ends of its log-uniform range, widened where a value lies outside.
        Of several workers that claim at the same moment the one with the lowest trial number gets it.
        """
        if self._taken(task, math.inf):
            return None
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions={name: _distribution(value, *box[name]) for name, value in params.items()},
            user_attrs={"task": task, "worker": self._worker.id},
        )
        mine = self._storage.create_new_trial(self._id, template_trial=trial)
        if self._taken(task, self._storage.get_trial_number_from_id(mine)):
            _fail(self._storage, mine)
            return None
        return Claim(task, dict(params), self._storage, mine)

    def _taken(self, task: str, before: float) -> bool:
        """Whether a trial with a number below ``before`` has the task; fails those whose worker is dead."""
        trials = [
            trial
            for trial in self._trials(TrialState.RUNNING, TrialState.COMPLETE)
            if trial.user_attrs["task"] == task and trial.number < before
        ]
        if any(trial.state == TrialState.COMPLETE for trial in trials):
            return True
        living = self._worker.living(trial.user_attrs["worker"] for trial in trials)
        return any(trial.user_attrs["worker"] in living or not self._take_back(trial.number) for trial in trials)

    def _take_back(self, number: int) -> bool:
        """Fail a dead worker's trial; False where it was not dead after all and has just finished."""
        trial = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        return _fail(self._storage, trial) or self._storage.get_trial(trial).state == TrialState.FAIL

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False, states=states)
        return [
            trial for trial in trials if all(isinstance(trial.user_attrs.get(key), str) for key in ("task", "worker"))
        ]


def _study(storage: BaseStorage, name: str, direction: Direction) -> optuna.Study:
    """The study of that name, created where there is none, also if another process does so at the same moment."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return optuna.create_study(study_name=name, storage=storage, direction=direction, load_if_exists=True)


def check(storage: BaseStorage, run: str) -> None:
    """Read all that is finished in the ledgers of a run; raises InputError where it is not what was written."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{run}/") and study.study_name != f"{run}/workers":
            read_notes(study.user_attrs)
            for trial in storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.COMPLETE,)):
                if "task" in trial.user_attrs:
                    _entry(trial)


def _distribution(value: float, low: float, high: float) -> FloatDistribution:
    return FloatDistribution(min(low, value), max(high, value), log=True)


def _fail(storage: BaseStorage, trial: int) -> bool:
    """Close a trial as failed; False where it was closed before."""
    try:
        return storage.set_trial_state_values(trial, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False


def _piece(number: int) -> str:
    return f"record.{number}"


def _entry(trial: FrozenTrial) -> Entry:
    """The entry that a trial is; raises InputError where a finished one is not what was written."""
    task = trial.user_attrs["task"]
    if trial.state != TrialState.COMPLETE:
        return Entry(task, dict(trial.params), None, {})
    pieces = sum(key.startswith(_piece(0)[:-1]) for key in trial.user_attrs)
    text = "".join(str(trial.user_attrs.get(_piece(number))) for number in range(pieces))
    value = trial.value
    if value is None or trial.user_attrs.get(SUM) != digest(task, trial.params, value, text):
        raise changed(f"task {task!r}")
    return Entry(task, dict(trial.params), value, json.loads(text))


def _machine() -> str:
    """What the process numbers of this machine, or of this container, hold for: until the next boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # where processes cannot be looked up all workers are judged by their counters
        boot, space = uuid.uuid4().hex, ""
    return f"{socket.gethostname()}/{boot}/{space}"


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; "" where there is none (any more), None where that is hidden."""
    try:
        os.kill(pid, 0)
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except ProcessLookupError:
        return ""
    except OSError:
        return None
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _runs_here(worker: str) -> bool | None:
    """Whether a worker's process runs; None where that cannot be seen from this machine."""
    machine, pid, started, *_ = [*worker.rsplit("/", 3), "", "", ""]
    if machine != _machine() or not pid.isdecimal():
        return None
    now = _started(int(pid))
    return None if now is None else now == started
