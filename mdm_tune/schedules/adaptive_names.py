"""The names of adaptive policies on the command line and in a config. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, shown
from mdm_tune.core.numerals import decimal, shortest

__all__ = ["FORMS", "KL", "AdaptiveName", "parse_adaptive"]

Kind = Literal["threshold", "entropy-bound", "quota", "cap", "klass"]
FORMS = "threshold[:T], entropy-bound[:NATS], quota:SCHEDULE[#STEPS][@T], cap:SCHEDULE[#STEPS][@T], klass[:KL][@T]"
KL = 0.01  # nats; the default of KLASS, and its value for three of its four tasks with LLaDA
MOST_STEPS = 65_536  # as in a config


@dataclass(frozen=True)
class AdaptiveName:
    """The parsed name of an adaptive policy, which reveals as many tokens per step as the predictions allow.

    Source: arXiv:2505.22618 (threshold), arXiv:2505.24857 (entropy bound), arXiv:2511.05664 (klass).

    Attributes:
        name: the name as it was written.
        kind: ``threshold``; ``entropy-bound``; ``quota``, which reveals at least the counts of a schedule; ``cap``,
            which reveals at most the counts; or ``klass``, which reveals what is confident and stable.
        value: the threshold, from 0 to 1, or the bound in nats; None if it is calibrated so that the mean NFE meets a
            budget.
        schedule: the schedule of a quota or a cap, as on the command line; None for other kinds.
        counts_steps: the steps of that schedule (``#32``), whatever the budget; None if they follow the budget.
        kl: of ``klass``, the KL divergence in nats below which a prediction is stable; None for other kinds.
    """

    name: str
    kind: Kind
    value: float | None
    schedule: str | None = None
    counts_steps: int | None = None
    kl: float | None = None

    @property
    def separator(self) -> str:
        """What stands before the value in the name."""
        return ":" if self.kind in ("threshold", "entropy-bound") else "@"

    @property
    def same_at_every_budget(self) -> bool:
        """Whether the policy does the same at every step budget."""
        return self.value is not None and (self.schedule is None or self.counts_steps is not None)

    @property
    def numbers(self) -> tuple[float, ...]:
        """All numbers of the policy; those that are not known are left out."""
        return tuple(number for number in (self.kl, self.value) if number is not None)

    def rounded(self, value: float) -> float:
        """The value with as many digits as a name shows: four, or for a probability near 1 three of its distance."""
        if self.kind == "entropy-bound":
            return float(f"{value:.4g}")
        gap = 1.0 - value
        return round(value, 4 if gap <= 0 else max(4, 2 - math.floor(math.log10(gap))))

    def steps_of_counts(self, steps: int) -> int:
        """The steps of the schedule of a quota or a cap at a step budget.

        Where the value is calibrated, a quota gets twice the budget, since it makes fewer calls than its schedule has
        steps, and a cap gets half of it, since it makes more.
        """
        if self.counts_steps is not None:
            return self.counts_steps
        if self.value is not None:
            return steps
        return 2 * steps if self.kind == "quota" else max(1, steps // 2)

    def at(self, value: float, steps: int | None = None) -> AdaptiveName:
        """The policy itself if it has a value; otherwise the policy with this one, rounded, which its name then shows.

        Args:
            value: the value.
            steps: the step budget. The name then says the steps of the counts where these are not the budget's, so that
                the policy is the same if its name is read at this budget. None if the policy has no schedule.
        """
        if self.value is not None:
            return self
        value = self.rounded(value)
        written, counts_steps = self.name, self.counts_steps
        if self.schedule is not None and counts_steps is None and steps is not None:
            own = self.steps_of_counts(steps)
            if own != steps:
                written, counts_steps = f"{written}#{own}", own
        name = f"{written}{self.separator}{shortest(value)}"
        return replace(self, name=name, value=value, counts_steps=counts_steps)

    def with_schedule(self, schedule: str) -> AdaptiveName:
        """The policy with another schedule, which its name then shows."""
        assert self.schedule is not None
        kind, name = f"{self.kind}:", self.name.strip()
        return replace(self, name=f"{kind}{schedule}{name[len(kind) + len(self.schedule) :]}", schedule=schedule)


def parse_adaptive(text: str) -> AdaptiveName | None:
    """The adaptive policy that a text names; None if it names something else.

    Raises:
        InputError: the name has an invalid value or, for a quota or a cap, an invalid schedule.
    """
    stem, at, value = text.strip().partition("@")
    kind, colon, rest = stem.partition(":")
    if kind == "klass":
        kl = _number(text, rest, "klass", most=math.inf, example="klass:0.01") if colon else KL
        return AdaptiveName(text, "klass", _number(text, value, "klass") if at else None, kl=kl)
    if kind in ("quota", "cap"):
        return _of_counts(text, "quota" if kind == "quota" else "cap", rest, value if at else None)
    kind, colon, rest = text.strip().partition(":")
    if kind == "threshold":
        return AdaptiveName(text, "threshold", _number(text, rest, "threshold", ":") if colon else None)
    if kind == "entropy-bound":
        bound = _number(text, rest, "entropy-bound", ":", most=math.inf) if colon else None
        return AdaptiveName(text, "entropy-bound", bound)
    return None


def _of_counts(text: str, kind: Literal["quota", "cap"], written: str, value: str | None) -> AdaptiveName:
    """A quota or a cap. text: the whole name; written: its schedule, with ``#STEPS``; value: None if it has none."""
    schedule, counts_steps = _with_steps(text, written)
    if not schedule:
        whose = "whose counts it keeps" if kind == "quota" else "whose counts it does not exceed"
        raise InputError(f"{kind} needs a schedule {whose}, got {shown(text)}; write {kind}:linear@0.9")
    if parse_adaptive(schedule) is not None:
        does = "keeps the counts" if kind == "quota" else "reveals at most the counts"
        raise InputError(f"{kind} {does} of a schedule, and {shown(schedule)} has none; give one such as linear")
    number = None if value is None else _number(text, value, kind)
    return AdaptiveName(text, kind, number, schedule=schedule, counts_steps=counts_steps)


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


def _number(
    text: str, value: str, kind: Kind, separator: str = "@", *, most: float = 1.0, example: str | None = None
) -> float:
    """The value as a number from 0 to ``most``: a probability, or nats.

    text: the whole name. separator: what stands before the value. example: a name with a good value; None to make one.
    """
    try:
        number = decimal(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        rule = "a number of at least 0" if most > 1 else "a probability from 0 to 1"
        name = cut(text[: len(text) - len(value) - 1] if value else text[:-1])
        what, name = (f"{kind} needs {rule}", name) if example is None else (f"the KL of {kind} must be {rule}", kind)
        example = example or f"{name}{separator}0.9"
        raise InputError(f"{what}, got {shown(text)}; write {name} alone, or {example}")
    return number
