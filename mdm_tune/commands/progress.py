"""How far a command is, and about how long it will take: from its rows and trials so far, and those expected."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mdm_tune.commands.events import BudgetStarted, Notify, Progress, RunEvent, SettingScored
from mdm_tune.core.errors import InputError
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.settings import calls_of
from mdm_tune.run.build import Run
from mdm_tune.run.measuring import PointMeasured
from mdm_tune.sampling.pieces import CountedPool
from mdm_tune.schedules.curves import Linear
from mdm_tune.search.events import Comparison, ReferenceStarted, TrialDone, TrialsProposed

__all__ = ["Following", "Plan", "Stage", "Stages", "expected_rows", "proposal_weight"]

EVERY = 0.2  # seconds between two progress events, at least
RECENT, RECENT_SHARE = 10.0, 0.5  # seconds, or share of the time so far, of whose work the speed is the mean
BASIS = 1.0  # seconds of measured work that an estimate needs
ENDING = 0.1  # seconds of intervals and files at the end of a command of known stages
PROPOSALS = "proposals"  # the kind of work that is counted in trials
DOUBLED = 120  # trials after which a trial takes twice the time, where values are exact
BUDGETS = "budgets"  # the kind of work that is counted in budgets; all others are counted in denoiser rows
OTHERWISE = {PROPOSALS: 0.1, BUDGETS: 0.5}  # seconds of one, until one was timed


class Plan(Protocol):
    """What a command still has to do.

    Attributes:
        doing: What it does now.
        kind: The kind of the rows that are computed now. Rows of one kind take about the same time.
        sure: Whether what is expected can be relied on.
        at_most: Whether a part of it may be left out.
        ending: Seconds of intervals, files and the page, which come last.
    """

    @property
    def doing(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def sure(self) -> bool: ...

    @property
    def at_most(self) -> bool: ...

    @property
    def ending(self) -> float: ...

    def left(self) -> Mapping[str, float]:
        """What is expected: denoiser rows by kind, trials to propose, and budgets that have not begun."""
        ...

    def count(self, rows: int) -> None:
        """Note rows that were computed."""
        ...

    def follow(self, event: RunEvent) -> None:
        """Note what an event says."""
        ...


@dataclass(frozen=True)
class Stage:
    """A part of a command.

    Attributes:
        doing: What the command does, for people.
        rows: The denoiser rows that are expected.
    """

    doing: str
    rows: float = 0.0


class Stages:
    """A ``Plan`` of known stages, one after the other. ``SettingScored`` ends a stage, and so does ``next``.

    Args:
        stages: At least one.
    """

    kind = "rows"
    sure, at_most, ending = True, False, ENDING

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages, self.place, self.done = list(stages), 0, 0.0
        self.foreseen: float | None = None  # rows that the present stage still takes, where it says so itself

    @property
    def doing(self) -> str:
        return self.stages[self.place].doing

    def left(self) -> Mapping[str, float]:
        here, *later = self.stages[self.place :]
        left = max(0.0, here.rows - self.done) if self.foreseen is None else self.foreseen
        return {self.kind: left + sum(stage.rows for stage in later)}

    def count(self, rows: int) -> None:
        self.done += rows
        if self.foreseen is not None:
            self.foreseen = max(0.0, self.foreseen - rows)

    def follow(self, event: RunEvent) -> None:
        if isinstance(event, SettingScored):
            self.next()

    def next(self) -> None:
        """Begin the next stage, unless the last one has begun."""
        if self.place + 1 < len(self.stages):
            self.place, self.done, self.foreseen = self.place + 1, 0.0, None


class Following:
    """Passes events on, and reports ``Progress`` between them once the work is planned.

    The time that is left is the sum of what is expected of each kind, at the recent speed of that kind. A kind that was
    not measured yet has the speed of all rows.

    Args:
        notify: Called with every event.
    """

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.plan: Plan | None = None
        self.seconds: dict[str, float] = {}
        self.amounts: dict[str, float] = {}
        self.began = self.mark = self.told = now()

    def __call__(self, event: RunEvent) -> None:
        if self.plan is not None:
            self._account(event)
            self.plan.follow(event)
        self.notify(event)
        self._tell(at_once=True)

    def begin(self, plan: Plan, run: Run) -> Run:
        """Follow a plan from now on.

        Returns:
            The run whose rows are counted.
        """
        self.plan, self.mark = plan, now()
        self._tell(at_once=True)
        if isinstance(run.evaluator.pool, CountedPool):
            return run
        return replace(run, evaluator=replace(run.evaluator, fill_with=run.evaluator.filler.counted(self.count)))

    def count(self, rows: int) -> None:
        """Note rows that were computed."""
        if self.plan is not None:
            self._spend(self.plan.kind, rows)
            self.plan.count(rows)
            self._tell()

    def stage(self) -> None:
        """Begin the next stage of a plan of stages."""
        if isinstance(self.plan, Stages):
            self._spend(self.plan.kind, 0)
            self.plan.next()
            self._tell(at_once=True)

    def foresee(self, rows: float) -> None:
        """Note the rows that the present stage of a plan of stages still takes, where it knows better than the plan."""
        if isinstance(self.plan, Stages):
            self.plan.foreseen = rows
            self._tell()

    @property
    def seconds_left(self) -> float | None:
        """The estimate of the time that is left; None if there is no basis for one."""
        if self.plan is None or not self.plan.sure or sum(self.seconds.values()) < BASIS:
            return None
        rows = [kind for kind, amount in self.amounts.items() if amount and kind not in OTHERWISE]
        pooled = sum(self.seconds[kind] for kind in rows) / max(1.0, sum(self.amounts[kind] for kind in rows))
        total = self.plan.ending
        for kind, amount in self.plan.left().items():
            known = self.amounts.get(kind, 0.0)
            if not known and amount and kind not in OTHERWISE and not rows:
                return None
            total += amount * (self.seconds[kind] / known if known else OTHERWISE.get(kind, pooled))
        return total

    def _account(self, event: RunEvent) -> None:
        """Attribute the time since the last event or piece to what it was spent on."""
        assert self.plan is not None
        match event:
            case TrialsProposed():
                if event.first == 0:
                    self._spend(BUDGETS, 1)
                else:
                    weight = proposal_weight(event.first + (event.count - 1) / 2)
                    self._spend("" if event.given else PROPOSALS, event.count * weight)
            case TrialDone() if self.plan.kind == PROPOSALS:  # values are computed without rows
                self._spend(PROPOSALS, 0)
            case TrialDone() | Comparison() | ReferenceStarted() | PointMeasured() | SettingScored():
                self._spend(self.plan.kind, 0)
            case BudgetStarted():
                self._spend("", 0)

    def _spend(self, kind: str, amount: float) -> None:
        moment = now()
        if kind:
            spent = moment - self.mark
            kept = math.exp(-spent / max(RECENT, RECENT_SHARE * (moment - self.began)))  # the speed may change
            self.seconds[kind] = kept * self.seconds.get(kind, 0.0) + spent
            self.amounts[kind] = kept * self.amounts.get(kind, 0.0) + amount
        self.mark = moment

    def _tell(self, *, at_once: bool = False) -> None:
        if self.plan is None or not (at_once or now() - self.told >= EVERY):
            return
        self.told = now()
        left, spent = self.seconds_left, self.told - self.began
        share = None if left is None else spent / max(1e-9, spent + left)
        at_most = left is not None and self.plan.at_most
        self.notify(Progress(doing=self.plan.doing, share=share, seconds_left=left, at_most=at_most))


def expected_rows(run: Run, use: Use, steps: int) -> float:
    """The denoiser rows of scoring one schedule on a split. A first step that all rows share is computed once a batch.

    Args:
        run: The run.
        use: The split.
        steps: The step budget.
    """
    evaluator = run.evaluator
    if evaluator.exact:
        return 0.0
    split = evaluator.split(use)
    try:
        setting = evaluator.setting(Linear(), steps)
    except InputError:  # blocks cannot share these steps equally, but some schedules divide them otherwise
        rows = float(steps * len(split.ids))
    else:
        rows = calls_of(setting, split.hidden.sum(1), evaluator.sampler.section.counts)
    rows -= evaluator.saved_by_equal_starts(use)
    forwards: int = getattr(evaluator.denoiser, "forwards", 1)
    return forwards * rows


def proposal_weight(number: float) -> float:
    """The cost of proposing a trial relative to that of trial 0. It grows with the square of the finished trials."""
    return 1 + (number / DOUBLED) ** 2


def now() -> float:
    """The clock of all estimates, in seconds."""
    return time.monotonic()
