"""The box of (a, b): places in it, the hand-made schedules among them, trials on it, and rounder places near one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mdm_tune.schedules.surface import Surface, fit

__all__ = [
    "DETAIL",
    "EXACTLY_NAMED",
    "NAMED",
    "USUAL",
    "Box",
    "LogGrid",
    "Pair",
    "Tried",
    "distance_to_named",
    "rounded",
    "rounder_pairs",
    "surface_of",
    "unit_square",
]

Floats = NDArray[np.float64]
Box = tuple[tuple[float, float], tuple[float, float]]  # the smallest and the largest a, and the same of b
Pair = tuple[float, float]
USUAL: Box = ((0.1, 10.0), (0.1, 10.0))
DETAIL = 40  # points per axis
EXACTLY_NAMED: dict[str, Pair] = {"linear": (0.5, 0.5), "squared-sine": (1.0, 1.0)}
# The other two hand-made schedules are not in the family. alpha of these Beta(a, b) differs by at most 0.006 from them.
NAMED: dict[str, Pair] = {**EXACTLY_NAMED, "sine": (0.5533, 0.8667), "maskgit-cosine": (0.8667, 0.5533)}


@dataclass(frozen=True)
class LogGrid:
    """Values of a (A,) and of b (B,), evenly spread in log scale."""

    a: Floats
    b: Floats

    @classmethod
    def over(cls, box: Box, points: int = DETAIL) -> LogGrid:
        """A grid over a box with so many points along each axis."""
        return cls(*(np.geomspace(low, high, points) for low, high in box))

    @property
    def pairs(self) -> Floats:
        """(A * B, 2), b running faster."""
        return np.stack(np.meshgrid(self.a, self.b, indexing="ij"), axis=-1).reshape(-1, 2)

    def shaped(self, values: Floats) -> Floats:
        """Values (A * B,) of the pairs as (A, B)."""
        return values.reshape(len(self.a), len(self.b))


@dataclass(frozen=True)
class Tried:
    """A trial: a, b, its value, and the examples that were scored for it; None if exact, or if scored before."""

    a: float
    b: float
    value: float
    examples: int | None


def unit_square(pairs: Floats, box: Box) -> Floats:
    """Pairs of a and b (n, 2) as points of the unit square, in log scale."""
    low, high = np.log(np.array(box)).T
    return np.asarray((np.log(pairs) - low) / (high - low))


@lru_cache(maxsize=32)  # the pages of one run need the same one
def surface_of(tried: tuple[Tried, ...], box: Box, exact: bool) -> Surface | None:
    """The Gaussian process on trials, on the unit square; None if there are too few of them.

    Args:
        tried: the trials. One without examples has the examples of an earlier one with the same value.
        box: the box.
        exact: whether values have no noise.
    """
    examples = [trial.examples for trial in tried if trial.examples]
    most = max(examples, default=1)
    first = {trial.value: trial.examples for trial in tried if trial.examples}
    scales = [most / (trial.examples or first.get(trial.value) or most) for trial in tried]
    pairs = np.array([[trial.a, trial.b] for trial in tried])
    return fit(unit_square(pairs, box), [trial.value for trial in tried], scales, exact=exact)


def rounder_pairs(pair: Pair, box: Box, digits: int) -> list[Pair]:
    """The pairs with at most so many significant digits whose a and b are next to those of a pair.

    Args:
        pair: a and b, above 0.
        box: the box.
        digits: at least 1.

    Returns:
        Up to four pairs of the box, the nearest in log scale first. The pair itself is one if it is as round.
    """
    axes = [sorted({rounded(value, digits, up=up) for up in (False, True)}) for value in pair]
    found = [(a, b) for a, b in itertools.product(*axes) if _holds(box, (a, b))]
    return sorted(found, key=lambda other: _distance(other, pair))


def rounded(value: float, digits: int, *, up: bool) -> float:
    """A value above 0, rounded up or down to so many significant digits."""
    exact = Decimal(repr(value))
    unit = Decimal((0, (1,), exact.adjusted() + 1 - digits))
    return float(exact.quantize(unit, rounding=ROUND_CEILING if up else ROUND_FLOOR))


def distance_to_named(pair: Pair) -> float:
    """The distance of a and b to the nearest hand-made schedule of ``NAMED``, in log scale."""
    return min(_distance(pair, place) for place in NAMED.values())


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    return math.dist(np.log(first), np.log(second))


def _holds(box: Box, pair: Pair) -> bool:
    return all(low <= value <= high for value, (low, high) in zip(pair, box, strict=True))
