"""A record of finished work in a storage: trials and named results, each written once by the driver of a search.

An entry is written by one operation, so that a killed process leaves it complete or not at all.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from mdm_tune.core.types import Direction
from mdm_tune.search.checksums import SUM, changed, digest, read_notes, sealed

__all__ = ["Ledger", "LedgerEntry", "check_ledger_name", "study_of"]

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # earlier versions wrote dropped trials as complete
PIECE = 30_000  # characters of a record per attribute: MySQL's texts hold 64 kB, and quotes are written twice


def _allow() -> None:
    """Allow every write."""


@dataclass(frozen=True)
class LedgerEntry:
    """A finished task.

    Attributes:
        task: The task's name.
        params: Its parameters.
        value: Its value.
        record: Its record, which JSON can represent.
    """

    task: str
    params: dict[str, float]
    value: float
    record: dict[str, Any]


class Ledger:
    """One Optuna study, created with its first entry or note. Each entry is a finished trial that names its task.

    Args:
        storage: The storage.
        name: The study's name.
        direction: The study's direction.
        guard: Called before every write; if it raises, nothing is written.
        value_name: What the values are, for viewers of the study, such as the name of a metric; None for no name.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        direction: Direction = "minimize",
        guard: Callable[[], None] = _allow,
        value_name: str | None = None,
    ) -> None:
        self._unwritten_name = value_name
        self._storage, self._name, self._guard = storage, name, guard
        self._direction = StudyDirection[direction.upper()]
        self._study: optuna.Study | None = None
        self._known: dict[int, LedgerEntry] = {}  # finished trials never change

    @property
    def notes(self) -> dict[str, Any]:
        """The notes by key. Raises InputError if a note does not match its digest."""
        with self._reading() as study:
            return {} if study is None else read_notes(study.user_attrs)

    def note(self, key: str, value: Any) -> None:
        """Write a note, which JSON can represent."""
        self._guard()
        self._storage.set_study_user_attr(study_of(self._storage, self._name, self._direction), key, sealed(key, value))

    def finished(self) -> dict[str, LedgerEntry]:
        """The entries by task, in the order in which they were written; the first entry of a task counts.

        Raises:
            InputError: If an entry does not match its digest.
        """
        with self._reading() as study:
            trials = [] if study is None else study.get_trials(deepcopy=False, states=FINISHED)
        entries: dict[str, LedgerEntry] = {}
        for trial in trials:
            if not isinstance(trial.user_attrs.get("task"), str):
                continue
            if trial.number not in self._known:
                self._known[trial.number] = _entry(trial)
            entry = self._known[trial.number]
            entries.setdefault(entry.task, entry)
        return entries

    def write(
        self,
        task: str,
        value: float,
        record: Mapping[str, Any],
        params: Mapping[str, float] = {},
        box: Mapping[str, tuple[float, float]] = {},
        looks: Mapping[int, float] = {},
        shown: Mapping[str, str | float] = {},
        *,
        pruned: bool = False,
    ) -> None:
        """Write an entry.

        Args:
            task: The task's name.
            value: Its value, finite or infinite.
            record: Its record, which JSON can represent.
            params: Its parameters.
            box: The positive ends of each parameter's log-uniform range, widened if the parameter lies outside.
            looks: Intermediate values by the number of examples.
            shown: Attributes for people who look at the study, which are never read.
            pruned: Whether viewers of the study show the trial as pruned; it is read like any other.
        """
        assert not math.isnan(value)
        self._guard()
        text = json.dumps(dict(record))
        pieces = {
            _piece(number): text[start : start + PIECE] for number, start in enumerate(range(0, len(text), PIECE))
        }
        trial = create_trial(
            state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
            value=float(value),
            params=dict(params),
            distributions={name: _distribution(param, *box[name]) for name, param in params.items()},
            user_attrs={**shown, "task": task, SUM: digest(task, params, float(value), text), **pieces},
            intermediate_values=dict(looks),
        )
        study = study_of(self._storage, self._name, self._direction)
        self._name_values()
        self._storage.create_new_trial(study, template_trial=trial)

    def once(self, task: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Call ``make`` unless the ledger holds the task's result, and return the result, which JSON can represent."""
        if task not in self.finished():
            self.write(task, 0.0, {"made": make()})
        made: dict[str, Any] = self.finished()[task].record["made"]
        return made

    def _name_values(self) -> None:
        """Name the values of the study, unless they have a name; studies of earlier versions have none."""
        if self._unwritten_name is None:
            return
        with warnings.catch_warnings():  # the method is old, but Optuna still calls it experimental
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.load_study(study_name=self._name, storage=self._storage)
            if study.metric_names is None:
                study.set_metric_names([self._unwritten_name])
        self._unwritten_name = None

    @contextmanager
    def _reading(self) -> Iterator[optuna.Study | None]:
        """Yield the study, None if there is none yet."""
        if self._study is None:
            with suppress(KeyError):
                self._study = optuna.load_study(study_name=self._name, storage=self._storage)
        try:
            yield self._study
        except KeyError:  # the study was removed, perhaps by a process that has taken the search over
            self._guard()
            raise


def study_of(storage: BaseStorage, name: str, direction: StudyDirection = StudyDirection.MINIMIZE) -> int:
    """The number of the study with this name, created if there is none, even if another process creates it now."""
    with suppress(KeyError):
        return storage.get_study_id_from_name(name)
    try:
        return storage.create_new_study([direction], name)
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name)


def check_ledger_name(storage: BaseStorage, run: str) -> None:
    """Read all ledgers of a run. Raises InputError if an entry or a note does not match its digest."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{run}/"):
            read_notes(study.user_attrs)
            for trial in storage.get_all_trials(study._study_id, deepcopy=False, states=FINISHED):
                if "task" in trial.user_attrs:
                    _entry(trial)


def _distribution(value: float, low: float, high: float) -> FloatDistribution:
    return FloatDistribution(min(low, value), max(high, value), log=True)


def _piece(number: int) -> str:
    return f"record.{number}"


def _entry(trial: FrozenTrial) -> LedgerEntry:
    """The entry of a complete trial. Raises InputError if it does not match its digest."""
    task = trial.user_attrs["task"]
    pieces = sum(key.startswith(_piece(0)[:-1]) for key in trial.user_attrs)
    text = "".join(str(trial.user_attrs.get(_piece(number))) for number in range(pieces))
    value = trial.value
    if value is None or trial.user_attrs.get(SUM) != digest(task, trial.params, value, text):
        raise changed(f"task {task!r}")
    return LedgerEntry(task=task, params=dict(trial.params), value=value, record=json.loads(text))
