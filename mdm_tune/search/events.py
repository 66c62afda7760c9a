"""The events that a search reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from mdm_tune.core.types import Use
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.power import Detectable

__all__ = ["AllValuesEqual", "BlocksStarted", "Comparison", "Event", "TrialDone"]


@dataclass(frozen=True)
class TrialDone:
    """A trial is finished.

    Attributes:
        number: The trial's number within its budget, from 0.
        trials: Trials of the budget.
        schedule: The schedule.
        setting: Its setting.
        value: Its value.
        best: The best value so far.
        fresh: Whether its counts were scored for the first time.
        dropped: The examples after which it was dropped; None if it was not.
    """

    number: int
    trials: int
    schedule: Beta
    setting: Setting
    value: float
    best: float
    fresh: bool
    dropped: int | None


@dataclass(frozen=True)
class Comparison:
    """A schedule is about to be scored on the ``choose`` or ``report`` split.

    Attributes:
        use: The split.
        setting: The schedule's setting.
        done: Schedules scored on the split so far.
        total: Schedules to score on the split.
    """

    use: Use
    setting: Setting
    done: int
    total: int


@dataclass(frozen=True)
class BlocksStarted:
    """The trials of a budget in one of several block lengths begin or continue.

    Attributes:
        block_length: Positions per block.
    """

    block_length: int


@dataclass(frozen=True)
class AllValuesEqual:
    """All examples of the pilot have the same value.

    Attributes:
        text: The sentence for the user.
    """

    text: str


Event = TrialDone | Comparison | Detectable | BlocksStarted | AllValuesEqual
