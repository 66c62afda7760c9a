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
FORMS = "threshold[:T], entropy-bound[:NATS], quota:SCHEDULE[@T]"


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
    """

    name: str
    kind: Kind
    value: float | None
    schedule: str | None = None

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

    def at(self, value: float) -> AdaptiveName:
        """The plan itself if it has a value; otherwise the plan with this one, rounded, which its name then shows."""
        if self.value is not None:
            return self
        value = self.rounded(value)
        return replace(self, name=f"{self.name}{'@' if self.schedule else ':'}{value:.12g}", value=value)


def parse_adaptive(text: str) -> AdaptiveName | None:
    """The adaptive plan that a text names; None if it names something else.

    Raises:
        InputError: the name has an invalid value or, for a quota, an invalid schedule.
    """
    kind, colon, rest = text.strip().partition(":")
    if kind == "quota":
        schedule, at, value = rest.partition("@")
        if not schedule:
            raise InputError(f"quota needs a schedule whose counts it keeps, got {shown(text)}; write quota:linear@0.9")
        if parse_adaptive(schedule) is not None:
            raise InputError(
                f"quota keeps the counts of a schedule, and {shown(schedule)} has none; give one such as linear"
            )
        return AdaptiveName(
            name=text, kind="quota", value=_number(text, value, "quota") if at else None, schedule=schedule
        )
    for known in get_args(Kind):
        if kind == known:
            return AdaptiveName(text, known, _number(text, rest, known) if colon else None)
    return None


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
