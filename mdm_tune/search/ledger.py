"""A record of finished work in a storage: trials and named results, each written once, by the one driver of a search.

An entry is one write, so that a killed process leaves it whole or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from mdm_tune.core.types import Direction
from mdm_tune.search.checksums import SUM, changed, digest, read_notes, sealed

__all__ = ["Ledger", "LedgerEntry", "check_ledger_name", "study_of"]

PIECE = 30_000  # characters of a record in one attribute: MySQL's texts hold 64 kB, and quotes are written twice


def _nothing() -> None:
    """Let everybody write."""


@dataclass(frozen=True)
class LedgerEntry:
    """A finished task: its value, and a record of what JSON can hold."""

    task: str
    params: dict[str, float]
    value: float
    record: dict[str, Any]


class Ledger:
    """One Optuna study, made with its first entry or note. Every entry is a complete trial that names its task.

    guard: called before every write; where it raises, nothing is written.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        direction: Direction = "minimize",
        guard: Callable[[], None] = _nothing,
    ) -> None:
        self._storage, self._name, self._guard = storage, name, guard
        self._direction = StudyDirection[direction.upper()]
        self._study: optuna.Study | None = None
        self._known: dict[int, LedgerEntry] = {}  # finished trials never change

    @property
    def notes(self) -> dict[str, Any]:
        """What was noted about the whole; raises InputError where it is not what was written."""
        with self._reading() as study:
            return {} if study is None else read_notes(study.user_attrs)

    def note(self, key: str, value: Any) -> None:
        """Note something JSON can hold about the whole."""
        self._guard()
        self._storage.set_study_user_attr(study_of(self._storage, self._name, self._direction), key, sealed(key, value))

    def finished(self) -> dict[str, LedgerEntry]:
        """The entries by task, in the order in which they were written; of two for one task the first.

        Raises InputError where one is not what was written.
        """
        with self._reading() as study:
            trials = [] if study is None else study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
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
    ) -> None:
        """Write an entry.

        value: finite or infinite. record: of what JSON can hold. box: for each of ``params`` the positive ends of its
        log-uniform range, widened where a value lies outside. looks: intermediate values by the number of examples
        behind them.
        """
        assert not math.isnan(value)
        self._guard()
        text = json.dumps(dict(record))
        pieces = {
            _piece(number): text[start : start + PIECE] for number, start in enumerate(range(0, len(text), PIECE))
        }
        trial = create_trial(
            state=TrialState.COMPLETE,
            value=float(value),
            params=dict(params),
            distributions={name: _distribution(given, *box[name]) for name, given in params.items()},
            user_attrs={"task": task, SUM: digest(task, params, float(value), text), **pieces},
            intermediate_values=dict(looks),
        )
        study = study_of(self._storage, self._name, self._direction)
        self._storage.create_new_trial(study, template_trial=trial)

    def once(self, task: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``make`` returns, of what JSON can hold; from the ledger where it is there."""
        if task not in self.finished():
            self.write(task, 0.0, {"made": make()})
        made: dict[str, Any] = self.finished()[task].record["made"]
        return made

    @contextmanager
    def _reading(self) -> Iterator[optuna.Study | None]:
        """The study, None before there is one."""
        if self._study is None:
            with suppress(KeyError):
                self._study = optuna.load_study(study_name=self._name, storage=self._storage)
        try:
            yield self._study
        except KeyError:  # it was removed, perhaps by who has taken the search over
            self._guard()
            raise


def study_of(storage: BaseStorage, name: str, direction: StudyDirection = StudyDirection.MINIMIZE) -> int:
    """The number of the study of that name, made where there is none, also if another process does so meanwhile."""
    with suppress(KeyError):
        return storage.get_study_id_from_name(name)
    try:
        return storage.create_new_study([direction], name)
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name)


def check_ledger_name(storage: BaseStorage, run: str) -> None:
    """Read all that is finished in the ledgers of a run; raises InputError where it is not what was written."""
    for study in storage.get_all_studies():
        if study.study_name.startswith(f"{run}/"):
            read_notes(study.user_attrs)
            for trial in storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.COMPLETE,)):
                if "task" in trial.user_attrs:
                    _entry(trial)


def _distribution(value: float, low: float, high: float) -> FloatDistribution:
    return FloatDistribution(min(low, value), max(high, value), log=True)


def _piece(number: int) -> str:
    return f"record.{number}"


def _entry(trial: FrozenTrial) -> LedgerEntry:
    """The entry that a complete trial is; raises InputError where it is not what was written."""
    task = trial.user_attrs["task"]
    pieces = sum(key.startswith(_piece(0)[:-1]) for key in trial.user_attrs)
    text = "".join(str(trial.user_attrs.get(_piece(number))) for number in range(pieces))
    value = trial.value
    if value is None or trial.user_attrs.get(SUM) != digest(task, trial.params, value, text):
        raise changed(f"task {task!r}")
    return LedgerEntry(task=task, params=dict(trial.params), value=value, record=json.loads(text))
