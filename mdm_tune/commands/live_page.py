"""The page of a search that is running: what is finished, how far it is, and how to go on if it stops."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from mdm_tune.commands.events import BudgetStarted, ModelLoaded, Notify, Progress, RunEvent, SearchStarted
from mdm_tune.commands.report_page import write_page
from mdm_tune.commands.report_reading import PROGRESS
from mdm_tune.core.json_record import as_json
from mdm_tune.core.messages import quantity
from mdm_tune.core.permissions import Permissions
from mdm_tune.core.types import better_of
from mdm_tune.pages.names import short_name
from mdm_tune.run.build import Run
from mdm_tune.run.description import RunDescription
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.measuring import PointMeasured
from mdm_tune.run.search_details import budget_pairs, detailed_budget
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.events import Comparison, TrialDone

__all__ = ["LivePage"]

EVERY = 60.0  # seconds between two pages, at least
STAGE = 5.0  # the same where a new stage begins
RARELY = 20.0  # the same in units of the time that the last page took: pages take a twentieth of the time, at most
Record = dict[str, Any]


class LivePage:
    """Passes events on, and keeps ``progress.json`` and the page of a search up to date while it runs.

    Use it as a context: at its end ``progress.json`` is removed, or says that the search was stopped. It never raises
    and changes nothing of the search. What it writes, ``mdm-tune report`` reads.

    Args:
        folder: The run folder.
        notify: Called with every event.
        allow: The permissions of the command, for the command that continues.
    """

    def __init__(self, folder: RunFolder, notify: Notify, allow: Permissions = Permissions()) -> None:
        self.folder, self.notify, self.allow = folder, notify, allow
        self.run: Run | None = None
        self.began: str | None = None  # None until the search has begun to write
        self.written, self.took = -EVERY, 0.0
        self.stage = "loading"
        self.done = self.before = 0
        self.current: int | None = None
        self.best: float | None = None
        self.seconds_left: float | None = None
        self.points: list[Record] = []  # of the budget at work
        self.budgets: list[Record] = []
        self.pairs: list[Record] = []
        self.check: Callable[[], None] = _nothing  # raises if another process has taken the search over

    def __call__(self, event: RunEvent) -> None:
        self.notify(event)
        with suppress(Exception):
            self._follow(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(Exception):
            if kind is not None and self.began is not None:
                self._write(state="stopped")
            elif kind is None:
                (self.folder.path / PROGRESS).unlink(missing_ok=True)

    def finished(self, budget: Budget) -> None:
        """Add the result of a budget, so that the page shows it before the search ends."""
        with suppress(Exception):
            if self.run is None:
                return
            self.budgets.append(detailed_budget(self.run, budget).to_json())
            self.pairs += as_json([*budget_pairs(self.run, budget)])
            self.before += self._each
            self.done = self.before
            self.current, self.best, self.points = None, None, []

    def _follow(self, event: RunEvent) -> None:
        """Note what an event says, and write the page if it is time."""
        match event:
            case ModelLoaded(run):
                self.run = run
            case SearchStarted():
                self.began, self.stage = _now(), "the search begins"
                self._write_after(0.0)
            case PointMeasured():
                self.stage = f"measuring the information profile, {quantity(event.revealed, 'visible token')}"
                self._write_after(EVERY)
            case Progress():
                self.seconds_left = event.seconds_left
                self._write_after(EVERY)
            case BudgetStarted(steps):
                self.current, self.best, self.points = steps, None, []
                self.stage = f"pilot at {quantity(steps, 'step')}"
                self._write_after(STAGE)
            case TrialDone():
                direction = "maximize" if self.run is None else self.run.evaluator.metric.direction
                self.best = better_of(event.best, self.best, direction)
                self.points.append(_point(event))
                self.done = min(self.done + 1, self.before + self._each)
                steps = event.setting.steps
                where = f"at {quantity(steps, 'step')}" if steps else "for all budgets"
                self.stage = f"trial {event.number + 1} of {event.trials} {where}"
                self._write_after(EVERY)
            case Comparison():
                self.done = min(self.done + 1, self.before + self._each)
                where = "unseen examples" if event.use == "report" else "the examples that choose the winner"
                at = quantity(event.setting.steps, "step")
                self.stage = f"comparing {short_name(event.setting.label)} at {at} on {where}"
                self._write_after(STAGE if event.done == 0 else EVERY)

    @property
    def _each(self) -> int:
        """Trials and comparisons of one budget, at most."""
        assert self.run is not None
        search, sizes = self.run.config.search, len(self.run.evaluator.block_lengths)
        return sizes * (search.trials + 2 * len(search.baselines)) + search.finalists + 1

    def _write_after(self, seconds: float) -> None:
        if self.began is not None and time.monotonic() - self.written >= max(seconds, RARELY * self.took):
            self._write(state="running")

    def _write(self, state: str) -> None:
        """Write progress.json and the page, unless another process drives the search by now."""
        assert self.run is not None
        self.check()
        began = time.monotonic()
        about, path = RunDescription.of(self.run, self.allow), self.folder.path
        words = ["mdm-tune", "search", str(self.folder.config), "--output", str(path), "--resume", *about.flags]
        steps = list(self.run.config.sampler.steps)
        record = {
            "state": state,
            "stage": self.stage,
            "done": self.done,
            "total": self._each * len(steps),
            "started": self.began,
            "updated": _now(),
            "steps": steps,
            "current": self.current,
            "best": as_json(self.best),
            "seconds_left": as_json(self.seconds_left),
            "trial_points": self.points,
            "resume": shlex.join(words),
            "budgets": self.budgets,
            "sample_pairs": self.pairs,
            "description": about.to_json(),
        }
        self.folder.write_json(PROGRESS, record)
        write_page(self.folder, _ignore)
        self.written = time.monotonic()
        self.took = self.written - began


def _point(event: TrialDone) -> Record:
    """A trial, as ``run.page_records.TrialPoint`` has it. A policy other than a schedule has no a and b."""
    return {
        "number": event.number,
        "a": getattr(event.policy, "a", None),
        "b": getattr(event.policy, "b", None),
        "block_length": None if event.setting.counts is None else event.setting.block_length,
        "value": as_json(event.value),
        "examples": event.examples,
        "fresh": event.fresh,
        "dropped": event.dropped is not None,
        "cut": event.cut,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _nothing() -> None:
    """Find no fault."""


def _ignore(event: RunEvent) -> None:
    """Do nothing: the page at the end of the search says why it could not be written."""
