"""What a search reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from mdm_tune.core.types import Use
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.power import Detectable

__all__ = ["AllValuesEqual", "BlocksStarted", "Comparison", "Event", "TrialDone"]


@dataclass(frozen=True)
class TrialDone:
    """One finished trial. number: from 0 within its budget. fresh: False where its counts were scored before.

    dropped: the examples after which it was dropped; None where it was scored on all, or costs nothing.
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
    """A schedule that is about to be scored on the ``choose`` or ``report`` split."""

    use: Use
    setting: Setting
    done: int
    total: int


@dataclass(frozen=True)
class BlocksStarted:
    """The trials of a budget in one of several kinds of blocks begin or go on."""

    block_length: int


@dataclass(frozen=True)
class AllValuesEqual:
    """The pilot's examples all have the same value. text: what to know."""

    text: str


Event = TrialDone | Comparison | Detectable | BlocksStarted | AllValuesEqual
