"""The names of adaptive plans on the command line and in a config. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, shown
from mdm_tune.core.numerals import decimal

__all__ = ["FORMS", "AdaptiveName", "parse_adaptive"]

Kind = Literal["threshold", "entropy-bound", "quota"]
FORMS = "threshold[:T], entropy-bound[:NATS], quota:SCHEDULE[#STEPS][@T]"
MOST_STEPS = 65_536  # as in a config


@dataclass(frozen=True)
class AdaptiveName:
    """The parsed name of an adaptive plan, which reveals as many tokens per step as the predictions allow.

    Source: arXiv:2505.22618 (threshold) and arXiv:2505.24857 (entropy bound).

    Attributes:
        name: the name as it was written.
        kind: ``threshold``, ``entropy-bound``, or ``quota``, which reveals at least the counts of a schedule.
        value: the threshold, from 0 to 1, or the bound in nats; None if it is calibrated so that the mean NFE meets a
            budget.
        schedule: the schedule of a quota, as on the command line; None for other kinds.
        counts_steps: the steps of that schedule (``#32``), whatever the budget; None if they follow the budget.
    """

    name: str
    kind: Kind
    value: float | None
    schedule: str | None = None
    counts_steps: int | None = None

    @property
    def separator(self) -> str:
        """What stands before the value in the name."""
        return ":" if self.schedule is None else "@"

    @property
    def same_at_every_budget(self) -> bool:
        """Whether the plan does the same at every step budget."""
        return self.value is not None and (self.schedule is None or self.counts_steps is not None)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that a calibration tries."""
        return (0.0, 64.0) if self.kind == "entropy-bound" else (0.0, 1.0)

    @property
    def numbers(self) -> tuple[float, ...]:
        """All numbers of the plan; those that are not known are left out."""
        return () if self.value is None else (self.value,)

    def rounded(self, value: float) -> float:
        """The value with as many digits as a name shows: four, or for a probability near 1 three of its distance."""
        if self.kind == "entropy-bound":
            return float(f"{value:.4g}")
        gap = 1.0 - value
        return round(value, 4 if gap <= 0 else max(4, 2 - math.floor(math.log10(gap))))

    def steps_of_counts(self, steps: int) -> int:
        """The steps of the schedule of a quota at a step budget.

        Where the value is calibrated, they are twice the budget, since a quota makes fewer calls than its schedule has
        steps.
        """
        if self.counts_steps is not None:
            return self.counts_steps
        return steps if self.value is not None else 2 * steps

    def at(self, value: float, steps: int | None = None) -> AdaptiveName:
        """The plan itself if it has a value; otherwise the plan with this one, rounded, which its name then shows.

        Args:
            value: the value.
            steps: the step budget. The name then says the steps of the counts where these are not the budget's, so that
                the plan is the same if its name is read at this budget. None if the plan has no schedule.
        """
        if self.value is not None:
            return self
        value = self.rounded(value)
        written, counts_steps = self.name, self.counts_steps
        if self.schedule is not None and counts_steps is None and steps is not None:
            own = self.steps_of_counts(steps)
            if own != steps:
                written, counts_steps = f"{written}#{own}", own
        name = f"{written}{self.separator}{value:.12g}"
        return replace(self, name=name, value=value, counts_steps=counts_steps)

    def with_schedule(self, schedule: str) -> AdaptiveName:
        """The plan with another schedule, which its name then shows."""
        assert self.schedule is not None
        kind, name = f"{self.kind}:", self.name.strip()
        return replace(self, name=f"{kind}{schedule}{name[len(kind) + len(self.schedule) :]}", schedule=schedule)


def parse_adaptive(text: str) -> AdaptiveName | None:
    """The adaptive plan that a text names; None if it names something else.

    Raises:
        InputError: the name has an invalid value or, for a quota, an invalid schedule.
    """
    kind, colon, rest = text.strip().partition(":")
    if kind == "quota":
        schedule, at, value = rest.partition("@")
        schedule, counts_steps = _with_steps(text, schedule)
        if not schedule:
            raise InputError(f"quota needs a schedule whose counts it keeps, got {shown(text)}; write quota:linear@0.9")
        if parse_adaptive(schedule) is not None:
            raise InputError(
                f"quota keeps the counts of a schedule, and {shown(schedule)} has none; give one such as linear"
            )
        return AdaptiveName(
            name=text,
            kind="quota",
            value=_number(text, value, "quota") if at else None,
            schedule=schedule,
            counts_steps=counts_steps,
        )
    for known in get_args(Kind):
        if kind == known:
            return AdaptiveName(text, known, _number(text, rest, known) if colon else None)
    return None


def _with_steps(text: str, written: str) -> tuple[str, int | None]:
    """The schedule of ``SCHEDULE#STEPS`` and its steps, None without ``#``. A ``#`` within a path belongs to it."""
    schedule, sign, steps = written.rpartition("#")
    if not sign or "/" in steps or steps.endswith((".yaml", ".yml")):
        return written, None
    if not (steps.isascii() and steps.isdigit() and 1 <= int(steps[:9]) <= MOST_STEPS and len(steps) <= 9):
        raise InputError(
            f"the steps of the counts must be a whole number from 1 to {MOST_STEPS}, got {shown(text)}; write "
            f"{cut(text.strip().partition('#')[0])}#32@0.9, or leave # out"
        )
    return schedule, int(steps)


def _number(text: str, value: str, kind: Kind) -> float:
    """The value as a number: a bound in nats of at least 0, or a probability."""
    most = math.inf if kind == "entropy-bound" else 1.0
    try:
        number = decimal(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        rule = "a number of at least 0" if most > 1 else "a probability from 0 to 1"
        name = cut(text[: len(text) - len(value) - 1] if value else text[:-1])
        separator = "@" if kind == "quota" else ":"
        raise InputError(f"{kind} needs {rule}, got {shown(text)}; write {name} alone, or {name}{separator}0.9")
    return number
