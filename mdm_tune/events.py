"""What the commands tell while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mdm_tune.build import Run
from mdm_tune.evaluation import Scores
from mdm_tune.measuring import PointMeasured
from mdm_tune.search import Event

__all__ = ["BudgetStarted", "Loaded", "Note", "Notify", "RunEvent", "Scored"]


@dataclass(frozen=True)
class Loaded:
    """Model and data are in memory."""

    run: Run


@dataclass(frozen=True)
class BudgetStarted:
    """The study of one budget begins or goes on."""

    steps: int


@dataclass(frozen=True)
class Scored:
    """``evaluate`` has scored one more setting."""

    scores: Scores
    done: int
    total: int


@dataclass(frozen=True)
class Note:
    """Something about the input that is allowed and worth knowing."""

    text: str


RunEvent = Loaded | BudgetStarted | Scored | Note | PointMeasured | Event
Notify = Callable[[RunEvent], None]
