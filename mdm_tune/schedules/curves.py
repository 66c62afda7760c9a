"""Mask schedules alpha_t, their interpolation schedules gamma_t and rates.

Time runs from 0 (every token masked) to 1 (data); alpha_t is the probability that a token is revealed at t. Every
schedule here is optimal for its own gamma_t: alpha_t = sin^2(pi/2 gamma_t).
Source: arXiv:2509.13866, Condition 3.4 and Proposition 3.7.
"""

from __future__ import annotations

import difflib
import math
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.numerals import decimals, wholes

__all__ = [
    "Alphas",
    "Beta",
    "Counts",
    "Linear",
    "MaskgitCosine",
    "Point",
    "Schedule",
    "Sine",
    "SquaredSine",
    "is_named",
    "parse_schedule",
]

Array = NDArray[np.float64]

HALF_PI = math.pi / 2
SMALLEST, LARGEST = 1e-6, 1e6  # of a and b: beyond them the rates of a Beta schedule are rounding noise
LONGEST = 65_536  # tokens of a sequence, and so steps that a schedule can have
FORMS = (
    "linear, sine, squared-sine, maskgit-cosine, llada, dream, dllm, two numbers as in beta:0.9,0.3, integers as in "
    "counts:3,5,9,15, shares as in alphas:0,0.2,1"
)


@dataclass(frozen=True)
class Point:
    """A schedule and its rates at the times t: four float64 arrays of the shape of t.

    At t = 0 and t = 1 a rate is its limit from inside, which may be 0 or inf.
    """

    alpha: Array
    d_alpha: Array
    gamma: Array
    d_gamma: Array


@dataclass(frozen=True)
class Schedule(ABC):
    """A mask schedule alpha_t, increasing from 0 to 1, with the gamma_t it is optimal for."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The string that ``parse_schedule`` turns back into this schedule."""

    @abstractmethod
    def dual(self) -> Schedule:
        """The schedule run backwards: t -> 1 - alpha_{1-t}. Exact, and of the same kind."""

    @abstractmethod
    def _point(self, t: Array) -> Point:
        """``at`` for a checked vector t, with floating-point warnings off."""

    def at(self, t: ArrayLike) -> Point:
        """alpha_t, gamma_t and their rates at t in [0, 1], any shape.

        At the ends the rates are their limits from inside. Raises InputError if a t is outside [0, 1] or NaN.
        """
        times = np.array(t, dtype=np.float64)
        outside = ~((times >= 0) & (times <= 1))
        if outside.any():
            raise InputError(f"A time must lie in [0, 1], from all masked to data, not {times[outside].flat[0]}.")
        with np.errstate(all="ignore"):
            point = self._point(times.ravel())
        return Point(**{name: value.reshape(times.shape) for name, value in vars(point).items()})

    def alpha(self, t: ArrayLike) -> Array:
        """The probability that a token is revealed at t in [0, 1], in the shape of t."""
        return self.at(t).alpha

    def remaining(self, u: ArrayLike) -> Array:
        """1 - alpha at t = 1 - u, for u in [0, 1], in the shape of u: as accurate near u = 0 as alpha is near t = 0."""
        return self.dual().alpha(u)


@final
@dataclass(frozen=True)
class Beta(Schedule):
    """gamma_t = I_t(a, b), the distribution function of the Beta(a, b) law; 1e-6 <= a, b <= 1e6.

    Near 0 alpha_t ~ t^(2a), near 1 1 - alpha_t ~ (1-t)^(2b). Raises InputError if a or b is not such a number.
    Source: arXiv:2509.13866, Condition 3.4.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        for key, value in (("a", self.a), ("b", self.b)):
            if not SMALLEST <= value <= LARGEST:
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

    def _point(self, t: Array) -> Point:
        from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

        gamma = betainc(self.a, self.b, t)
        root_alpha = np.sin(HALF_PI * gamma)
        root_remaining = np.sin(HALF_PI * betaincc(self.a, self.b, t))
        log_norm = betaln(self.a, self.b)
        d_gamma = np.exp(xlogy(self.a - 1, t) + xlog1py(self.b - 1, -t) - log_norm)
        d_alpha = math.pi * root_alpha * root_remaining * d_gamma
        for end, exponent in ((0.0, self.a), (1.0, self.b)):  # here the product above is 0 times inf
            limit = np.exp(2 * (math.log(math.pi) - log_norm)) if exponent == 0.5 else np.inf if exponent < 0.5 else 0.0
            d_alpha = np.where(t == end, limit, d_alpha)
        return Point(alpha=root_alpha**2, d_alpha=d_alpha, gamma=gamma, d_gamma=d_gamma)


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """alpha_t = t, which is Beta(1/2, 1/2). Source: arXiv:2509.13866, Proposition 3.7.

    counts_of: whose integer counts a number of steps has, see ``counts.to_counts``.
    """

    counts_of: Literal["ours", "llada", "dream", "dllm"] = "ours"

    @property
    def name(self) -> str:
        return "linear" if self.counts_of == "ours" else self.counts_of

    def dual(self) -> Linear:
        return self

    def _point(self, t: Array) -> Point:
        return _with_gamma(t, 1 - t, np.ones_like(t))


@final
@dataclass(frozen=True)
class Sine(Schedule):
    """alpha_t = sin(pi t/2). The gamma rate is inf at 0 and 1/sqrt(2) at 1. A baseline of arXiv:2509.13866."""

    name: ClassVar[str] = "sine"

    def dual(self) -> MaskgitCosine:
        return MaskgitCosine()

    def _point(self, t: Array) -> Point:
        alpha = np.sin(HALF_PI * t)
        remaining = 2 * np.sin(HALF_PI / 2 * (1 - t)) ** 2
        point = _with_gamma(alpha, remaining, HALF_PI * np.sin(HALF_PI * (1 - t)))
        return Point(alpha=alpha, d_alpha=point.d_alpha, gamma=point.gamma, d_gamma=np.sqrt((1 + alpha) / alpha) / 2)


@final
@dataclass(frozen=True)
class SquaredSine(Schedule):
    """alpha_t = sin^2(pi t/2), which is Beta(1, 1): gamma_t = t. Source: arXiv:2509.13866, Proposition 3.7."""

    name: ClassVar[str] = "squared-sine"

    def dual(self) -> SquaredSine:
        return self

    def _point(self, t: Array) -> Point:
        d_alpha = HALF_PI * np.sin(math.pi * np.minimum(t, 1 - t))  # the minimum makes the rate at 1 exactly 0
        return Point(alpha=np.sin(HALF_PI * t) ** 2, d_alpha=d_alpha, gamma=t, d_gamma=np.ones_like(t))


@final
@dataclass(frozen=True)
class MaskgitCosine(Schedule):
    """alpha_t = 1 - cos(pi t/2). The gamma rate is 1/sqrt(2) at 0 and inf at 1. Source: arXiv:2202.04200."""

    name: ClassVar[str] = "maskgit-cosine"

    def dual(self) -> Sine:
        return Sine()

    def _point(self, t: Array) -> Point:
        remaining = np.sin(HALF_PI * (1 - t))
        alpha = np.where(t < 0.5, 2 * np.sin(HALF_PI / 2 * t) ** 2, 1 - remaining)
        point = _with_gamma(alpha, remaining, HALF_PI * np.sin(HALF_PI * t))
        return Point(
            alpha=alpha, d_alpha=point.d_alpha, gamma=point.gamma, d_gamma=np.sqrt((1 + remaining) / remaining) / 2
        )


@final
@dataclass(frozen=True)
class Counts(Schedule):
    """The piecewise linear alpha_t through (i/K, N_i/L), where step i of K reveals counts[i-1] of the L tokens.

    A rate at a knot is that of the piece to its right (at t = 1, to its left); the gamma rate is 0 where alpha_t
    stands still, and inf where it leaves 0 and, at t = 1, where it reaches 1. Raises InputError if a count is
    negative or no integer, or if all are 0.
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

    def _point(self, t: Array) -> Point:
        revealed, hidden = (np.cumsum([0.0, *counts]) / sum(counts) for counts in (self.counts, self.counts[::-1]))
        return _polyline(t, revealed, hidden, np.array(self.counts) / sum(self.counts))


@final
@dataclass(frozen=True)
class Alphas(Schedule):
    """The piecewise linear alpha_t through (i/K, alphas[i]), for i = 0..K.

    The rates are those of ``Counts``. Raises InputError unless the alphas go from 0 up to 1 and never down.
    """

    alphas: tuple[float, ...]

    def __post_init__(self) -> None:
        alphas = tuple(map(float, self.alphas))
        if len(alphas) < 2 or alphas[0] != 0 or alphas[-1] != 1 or not all(a <= b for a, b in pairwise(alphas)):
            raise InputError(f"Alphas must go from 0 up to 1 and never down, not {shown(alphas)}.")
        object.__setattr__(self, "alphas", alphas)

    @property
    def name(self) -> str:
        return "alphas:" + ",".join(map(repr, self.alphas))

    def dual(self) -> Alphas:
        return Alphas(tuple(1 - alpha for alpha in reversed(self.alphas)))

    def _point(self, t: Array) -> Point:
        return _polyline(t, np.array(self.alphas), np.array(self.dual().alphas), np.diff(self.alphas))


def _polyline(t: Array, revealed: Array, hidden: Array, shares: Array) -> Point:
    """The curve through equally spaced knots: revealed from t = 0 on, hidden from t = 1 back, shares between knots."""
    steps = len(shares)
    knots = np.arange(steps + 1) / steps
    piece = np.minimum(np.searchsorted(knots, t, side="right") - 1, steps - 1)
    return _with_gamma(np.interp(t, knots, revealed), np.interp(1 - t, knots, hidden), steps * shares[piece])


def _with_gamma(alpha: Array, remaining: Array, d_alpha: Array) -> Point:
    """The point with gamma_t = (2/pi) arcsin(sqrt(alpha_t)), by the arctangent, which is accurate at both ends."""
    root_alpha, root_remaining = np.sqrt(alpha), np.sqrt(remaining)
    d_gamma = np.where(d_alpha == 0, 0.0, d_alpha / (math.pi * root_alpha * root_remaining))
    return Point(alpha=alpha, d_alpha=d_alpha, gamma=np.arctan2(root_alpha, root_remaining) / HALF_PI, d_gamma=d_gamma)


PLAIN: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        *(Linear(), Sine(), SquaredSine(), MaskgitCosine()),
        *(Linear("llada"), Linear("dream"), Linear("dllm")),
    )
}
WITH_NUMBERS = ("beta", "counts", "alphas")


def is_named(text: str) -> bool:
    """Whether a string begins as the name of a schedule does, whatever follows."""
    name, colon, _ = text.strip().partition(":")
    return name in (WITH_NUMBERS if colon else PLAIN)


def parse_schedule(text: str) -> Schedule:
    """The schedule that a string such as ``linear``, ``beta:0.9,0.3`` or ``counts:3,5,9,15`` names.

    Raises InputError if the name is unknown or the numbers cannot be used.
    """
    if text.strip() in PLAIN:
        return PLAIN[text.strip()]
    name, _, numbers = text.strip().partition(":")
    try:
        if name == "beta":
            return Beta(*decimals(numbers, 2))
        if name == "counts":
            return Counts(wholes(numbers, LONGEST))
        if name == "alphas":
            return Alphas(decimals(numbers, None, LONGEST + 1))
    except ValueError as error:
        said = f"No such numbers for a schedule as in {shown(text)}: {error}."
        raise InputError(f"{said} A schedule is one of: {FORMS}.") from None
    close = difflib.get_close_matches(name.lower()[:100], [*PLAIN, *WITH_NUMBERS], n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"Unknown schedule {shown(text)}.{hint} A schedule is one of: {FORMS}.")
