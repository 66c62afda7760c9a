"""Names of adaptive plans on the command line and in a config. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, shown
from mdm_tune.core.numerals import decimal

__all__ = ["FORMS", "Adaptive", "parse_adaptive"]

Kind = Literal["threshold", "entropy-bound", "quota"]
FORMS = "threshold[:T], entropy-bound[:NATS], quota:SCHEDULE[@T]"


@dataclass(frozen=True)
class Adaptive:
    """A plan that decides by its predictions: ``threshold``, ``entropy-bound``, or ``quota``, at least given counts.

    value: the threshold, or the bound in nats; None to choose it so that the mean NFE is a budget's. schedule: the
    quota's, as on the command line. Source: arXiv:2505.22618 (threshold) and arXiv:2505.24857 (entropy bound).
    """

    name: str
    kind: Kind
    value: float | None
    schedule: str | None = None

    @property
    def range(self) -> tuple[float, float]:
        """Between which values a sweep looks."""
        return (0.0, 64.0) if self.kind == "entropy-bound" else (0.0, 1.0)


def parse_adaptive(text: str) -> Adaptive | None:
    """The adaptive plan that a name on the command line means; None where it means none.

    Raises InputError for a value that is no number in its range.
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
        return Adaptive(name=text, kind="quota", value=_number(text, value, "quota") if at else None, schedule=schedule)
    for known in get_args(Kind):
        if kind == known:
            return Adaptive(text, known, _number(text, rest, known) if colon else None)
    return None


def _number(text: str, value: str, kind: Kind) -> float:
    """A probability, or a bound in nats, which is a finite number of any size."""
    most = math.inf if kind == "entropy-bound" else 1.0
    try:
        number = decimal(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        rule = "a number of at least 0" if most > 1 else "a probability from 0 to 1"
        alone = text[: len(text) - len(value) - 1] if value else text[:-1]
        sign = "@" if kind == "quota" else ":"
        raise InputError(f"{kind} needs {rule}, got {shown(text)}; write {cut(alone)} alone, or {cut(alone)}{sign}0.9")
    return number
