"""Mask schedules alpha_t, their interpolation schedules gamma_t, and the rates of both.

Time runs from 0 (all tokens masked) to 1 (data). alpha_t is the probability that a token is revealed at time t. Every
schedule is optimal for its own gamma_t: alpha_t = sin^2(pi/2 gamma_t).
Source: arXiv:2509.13866, Condition 3.4 and Proposition 3.7.
"""

from __future__ import annotations

import difflib
import math
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import ClassVar, Literal, final, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.numerals import decimals, wholes

__all__ = [
    "Alphas",
    "Beta",
    "Counts",
    "CurveValues",
    "Linear",
    "MaskgitCosine",
    "Schedule",
    "Shift",
    "Sine",
    "SquaredSine",
    "begins_with_schedule_name",
    "check_schedule",
    "parse_schedule",
]

Array = NDArray[np.float64]
Rounding = Literal["ours", "llada", "dream", "dllm"]

HALF_PI = math.pi / 2
SMALLEST, LARGEST = 1e-6, 1e6  # of a and b; outside this range the rates of a Beta schedule are rounding noise
LONGEST = 65_536  # tokens of a sequence, and therefore steps of a schedule
FORMS = (
    "linear, sine, squared-sine, maskgit-cosine, llada, dream, dllm, two numbers as in beta:0.9,0.3, one as in "
    "shift:0.3, integers as in counts:3,5,9,15, shares as in alphas:0,0.2,1"
)


@dataclass(frozen=True)
class CurveValues:
    """The values of a schedule at times t: four float64 arrays in the shape of t.

    At t = 0 and t = 1 a rate is its limit from inside (0, 1), which may be 0 or inf.

    Attributes:
        alpha: alpha_t, from 0 to 1.
        d_alpha: the rate of alpha_t.
        gamma: gamma_t, from 0 to 1.
        d_gamma: the rate of gamma_t.
    """

    alpha: Array
    d_alpha: Array
    gamma: Array
    d_gamma: Array


@dataclass(frozen=True)
class Schedule(ABC):
    """A mask schedule alpha_t, increasing from 0 to 1, and the gamma_t for which it is optimal."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The text from which ``parse_schedule`` makes this schedule."""

    @abstractmethod
    def dual(self) -> Schedule:
        """The reversed schedule t -> 1 - alpha_{1-t}, without rounding errors."""

    @abstractmethod
    def _values_at(self, t: Array) -> CurveValues:
        """``at`` for a valid vector t; floating-point warnings are off."""

    def at(self, t: ArrayLike) -> CurveValues:
        """alpha_t, gamma_t and their rates.

        Args:
            t: times in [0, 1], of any shape.

        Returns:
            The values, in the shape of t.

        Raises:
            InputError: a time is outside [0, 1] or NaN.
        """
        try:
            times = np.array(t, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"Times must be numbers in [0, 1], not {shown(t)}.") from None
        outside = ~((times >= 0) & (times <= 1))
        if outside.any():
            raise InputError(f"A time must lie in [0, 1], from all masked to data, not {times[outside].flat[0]}.")
        with np.errstate(all="ignore"):
            values = self._values_at(times.ravel())
        return CurveValues(**{name: value.reshape(times.shape) for name, value in vars(values).items()})

    def alpha(self, t: ArrayLike) -> Array:
        """The probability that a token is revealed at time t in [0, 1], in the shape of t."""
        return self.at(t).alpha

    def remaining(self, u: ArrayLike) -> Array:
        """1 - alpha_t at t = 1 - u, in the shape of u in [0, 1]; near u = 0 it is more accurate than the difference."""
        return self.dual().alpha(u)


@final
@dataclass(frozen=True)
class Beta(Schedule):
    """gamma_t = I_t(a, b), the distribution function of the Beta(a, b) law.

    Near t = 0, alpha_t ~ t^(2a). Near t = 1, 1 - alpha_t ~ (1-t)^(2b).
    Source: arXiv:2509.13866, Condition 3.4.

    Args:
        a: from 1e-6 to 1e6.
        b: from 1e-6 to 1e6.

    Raises:
        InputError: a or b is outside its range.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        for key, value in (("a", self.a), ("b", self.b)):
            if not _is_number(value) or not SMALLEST <= value <= LARGEST:
                raise InputError(f"Beta needs {SMALLEST:g} <= {key} <= {LARGEST:g}, not {shown(value)}: try 0.1 to 10.")
            object.__setattr__(self, key, float(value))

    @property
    def name(self) -> str:
        return f"beta:{self.a!r},{self.b!r}"

    @property
    def parameters(self) -> dict[str, float]:
        """a and b by name, as records and storages have them."""
        return {"a": self.a, "b": self.b}

    def dual(self) -> Beta:
        return Beta(self.b, self.a)

    def _values_at(self, t: Array) -> CurveValues:
        from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

        gamma = betainc(self.a, self.b, t)
        root_alpha = np.sin(HALF_PI * gamma)
        root_remaining = np.sin(HALF_PI * betaincc(self.a, self.b, t))
        log_norm = betaln(self.a, self.b)
        d_gamma = np.exp(xlogy(self.a - 1, t) + xlog1py(self.b - 1, -t) - log_norm)
        d_alpha = math.pi * root_alpha * root_remaining * d_gamma
        for end, exponent in ((0.0, self.a), (1.0, self.b)):  # at the ends the product above is 0 times inf
            limit = np.exp(2 * (math.log(math.pi) - log_norm)) if exponent == 0.5 else np.inf if exponent < 0.5 else 0.0
            d_alpha = np.where(t == end, limit, d_alpha)
        return CurveValues(alpha=root_alpha**2, d_alpha=d_alpha, gamma=gamma, d_gamma=d_gamma)


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """alpha_t = t, which is Beta(1/2, 1/2). Source: arXiv:2509.13866, Proposition 3.7.

    Attributes:
        counts_of: the sampler whose rounding to integer counts is used; see ``counts.to_counts``.
    """

    counts_of: Rounding = "ours"

    def __post_init__(self) -> None:
        if self.counts_of not in (known := get_args(Rounding)):
            raise InputError(f"counts_of must be one of {', '.join(known)}, not {shown(self.counts_of)}.")

    @property
    def name(self) -> str:
        return "linear" if self.counts_of == "ours" else self.counts_of

    def dual(self) -> Linear:
        return self

    def _values_at(self, t: Array) -> CurveValues:
        return _with_gamma(t, 1 - t, np.ones_like(t))


@final
@dataclass(frozen=True)
class Sine(Schedule):
    """alpha_t = sin(pi t/2). The gamma rate is inf at 0 and 1/sqrt(2) at 1. A baseline of arXiv:2509.13866."""

    name: ClassVar[str] = "sine"

    def dual(self) -> MaskgitCosine:
        return MaskgitCosine()

    def _values_at(self, t: Array) -> CurveValues:
        alpha = np.sin(HALF_PI * t)
        remaining = 2 * np.sin(HALF_PI / 2 * (1 - t)) ** 2
        values = _with_gamma(alpha, remaining, HALF_PI * np.sin(HALF_PI * (1 - t)))
        return CurveValues(
            alpha=alpha, d_alpha=values.d_alpha, gamma=values.gamma, d_gamma=np.sqrt((1 + alpha) / alpha) / 2
        )


@final
@dataclass(frozen=True)
class SquaredSine(Schedule):
    """alpha_t = sin^2(pi t/2), which is Beta(1, 1): gamma_t = t. Source: arXiv:2509.13866, Proposition 3.7."""

    name: ClassVar[str] = "squared-sine"

    def dual(self) -> SquaredSine:
        return self

    def _values_at(self, t: Array) -> CurveValues:
        d_alpha = HALF_PI * np.sin(math.pi * np.minimum(t, 1 - t))  # exactly 0 at t = 1
        return CurveValues(alpha=np.sin(HALF_PI * t) ** 2, d_alpha=d_alpha, gamma=t, d_gamma=np.ones_like(t))


@final
@dataclass(frozen=True)
class MaskgitCosine(Schedule):
    """alpha_t = 1 - cos(pi t/2). The gamma rate is 1/sqrt(2) at 0 and inf at 1. Source: arXiv:2202.04200."""

    name: ClassVar[str] = "maskgit-cosine"

    def dual(self) -> Sine:
        return Sine()

    def _values_at(self, t: Array) -> CurveValues:
        remaining = np.sin(HALF_PI * (1 - t))
        alpha = np.where(t < 0.5, 2 * np.sin(HALF_PI / 2 * t) ** 2, 1 - remaining)
        values = _with_gamma(alpha, remaining, HALF_PI * np.sin(HALF_PI * t))
        return CurveValues(
            alpha=alpha, d_alpha=values.d_alpha, gamma=values.gamma, d_gamma=np.sqrt((1 + remaining) / remaining) / 2
        )


@final
@dataclass(frozen=True)
class Shift(Schedule):
    """alpha_t = S t / (1 + (S - 1) t): linear at S = 1; the first steps reveal less below 1, and more above.

    The gamma rate is inf at 0 and at 1. Source: the time shift of flow matching, arXiv:2403.03206, Section 5.3.2, which
    OmniVoice (k2-fsa/OmniVoice) uses as a mask schedule.

    Args:
        shift: S, from 1e-6 to 1e6.

    Raises:
        InputError: the shift is outside its range.
    """

    shift: float

    def __post_init__(self) -> None:
        if not _is_number(self.shift) or not SMALLEST <= self.shift <= LARGEST:
            raise InputError(
                f"Shift needs a number from {SMALLEST:g} to {LARGEST:g}, not {shown(self.shift)}: try 0.1 to 10."
            )
        object.__setattr__(self, "shift", float(self.shift))

    @property
    def name(self) -> str:
        return f"shift:{self.shift!r}"

    def dual(self) -> Shift:
        return Shift(min(max(1 / self.shift, SMALLEST), LARGEST))

    def _values_at(self, t: Array) -> CurveValues:
        scale = (1 - t) + self.shift * t
        return _with_gamma(self.shift * t / scale, (1 - t) / scale, self.shift / scale**2)


@final
@dataclass(frozen=True)
class Counts(Schedule):
    """The piecewise linear alpha_t through (i/K, N_i/L): step i of K reveals counts[i-1] of the L tokens.

    N_i is the number of tokens after step i. The rate at a knot is the rate of the piece to its right; at t = 1 it is
    that of the piece to its left. The rate of gamma_t is 0 where alpha_t is constant, and inf where alpha_t leaves 0
    and, at t = 1, where it reaches 1.

    Args:
        counts: (K,), at least 0 each, not all 0.

    Raises:
        InputError: a count is negative or no integer, or all counts are 0.
    """

    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            counts = tuple(operator.index(count) for count in self.counts)
        except TypeError:
            raise InputError(f"Counts must be integers, one for each step, not {shown(self.counts)}.") from None
        if min(counts, default=0) < 0 or not any(counts):
            raise InputError(f"Counts must be 0 or more, at least one of them positive, not {shown(counts)}.")
        object.__setattr__(self, "counts", counts)

    @property
    def name(self) -> str:
        return "counts:" + ",".join(map(str, self.counts))

    def dual(self) -> Counts:
        return Counts(self.counts[::-1])

    def _values_at(self, t: Array) -> CurveValues:
        revealed, hidden = (np.cumsum([0.0, *counts]) / sum(counts) for counts in (self.counts, self.counts[::-1]))
        return _polyline(t, revealed, hidden, np.array(self.counts) / sum(self.counts))


@final
@dataclass(frozen=True)
class Alphas(Schedule):
    """The piecewise linear alpha_t through (i/K, alphas[i]), for i = 0..K. The rates follow the rules of ``Counts``.

    Args:
        alphas: (K + 1,), from 0 to 1, never decreasing.

    Raises:
        InputError: the alphas do not start at 0 and end at 1, or they decrease.
    """

    alphas: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            alphas = tuple(map(float, self.alphas))
        except (TypeError, ValueError):
            raise InputError(f"Alphas must be numbers from 0 up to 1, not {shown(self.alphas)}.") from None
        if len(alphas) < 2 or alphas[0] != 0 or alphas[-1] != 1 or not all(a <= b for a, b in pairwise(alphas)):
            raise InputError(f"Alphas must go from 0 up to 1 and never down, not {shown(alphas)}.")
        object.__setattr__(self, "alphas", alphas)

    @property
    def name(self) -> str:
        return "alphas:" + ",".join(map(repr, self.alphas))

    def dual(self) -> Alphas:
        return Alphas(tuple(1 - alpha for alpha in reversed(self.alphas)))

    def _values_at(self, t: Array) -> CurveValues:
        return _polyline(t, np.array(self.alphas), np.array(self.dual().alphas), np.diff(self.alphas))


def check_schedule(schedule: object) -> None:
    """Raise InputError if an argument is no schedule."""
    if not isinstance(schedule, Schedule):
        hint = " Use parse_schedule." if isinstance(schedule, str) else ""
        raise InputError(f"A schedule must be a mask schedule, not {shown(schedule)}.{hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _polyline(t: Array, revealed: Array, hidden: Array, shares: Array) -> CurveValues:
    """The values of a piecewise linear alpha_t with equally spaced knots.

    Args:
        t: times (n,).
        revealed: alpha at the knots (K + 1,), from t = 0 to t = 1.
        hidden: 1 - alpha at the knots (K + 1,), from t = 1 to t = 0.
        shares: the increase of alpha on each piece (K,).
    """
    steps = len(shares)
    knots = np.arange(steps + 1) / steps
    piece = np.minimum(np.searchsorted(knots, t, side="right") - 1, steps - 1)
    return _with_gamma(np.interp(t, knots, revealed), np.interp(1 - t, knots, hidden), steps * shares[piece])


def _with_gamma(alpha: Array, remaining: Array, d_alpha: Array) -> CurveValues:
    """The values with gamma_t = (2/pi) arcsin(sqrt(alpha_t)); the arctangent is accurate at both ends."""
    root_alpha, root_remaining = np.sqrt(alpha), np.sqrt(remaining)
    d_gamma = np.where(d_alpha == 0, 0.0, d_alpha / (math.pi * root_alpha * root_remaining))
    return CurveValues(
        alpha=alpha, d_alpha=d_alpha, gamma=np.arctan2(root_alpha, root_remaining) / HALF_PI, d_gamma=d_gamma
    )


WITHOUT_NUMBERS: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        *(Linear(), Sine(), SquaredSine(), MaskgitCosine()),
        *(Linear("llada"), Linear("dream"), Linear("dllm")),
    )
}
WITH_NUMBERS = ("beta", "shift", "counts", "alphas")


def begins_with_schedule_name(text: str) -> bool:
    """Whether a text begins like the name of a schedule; its numbers may be invalid."""
    name, colon, _ = text.strip().partition(":")
    return name in (WITH_NUMBERS if colon else WITHOUT_NUMBERS)


def parse_schedule(text: str) -> Schedule:
    """The schedule that a text such as ``linear``, ``beta:0.9,0.3`` or ``counts:3,5,9,15`` names.

    Raises:
        InputError: the name is unknown or its numbers are invalid.
    """
    if not isinstance(text, str):
        raise InputError(f"A schedule is named by a text, not {shown(text)}. It is one of: {FORMS}.")
    if text.strip() in WITHOUT_NUMBERS:
        return WITHOUT_NUMBERS[text.strip()]
    name, _, numbers = text.strip().partition(":")
    try:
        if name == "beta":
            return Beta(*decimals(numbers, 2))
        if name == "shift":
            return Shift(*decimals(numbers, 1))
        if name == "counts":
            return Counts(wholes(numbers, LONGEST))
        if name == "alphas":
            return Alphas(decimals(numbers, None, LONGEST + 1))
    except ValueError as error:
        raise InputError(
            f"Invalid numbers in the schedule {shown(text)}: {error}. A schedule is one of: {FORMS}."
        ) from None
    close = difflib.get_close_matches(name.lower()[:100], [*WITHOUT_NUMBERS, *WITH_NUMBERS], n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"Unknown schedule {shown(text)}.{hint} A schedule is one of: {FORMS}.")
