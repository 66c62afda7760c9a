"""The flat part of the box of (a, b): the schedules that cannot be told apart from the winner.

A schedule is in the flat part if the 95 % interval of its value minus the winner's reaches 0 or lies on the better
side. The interval is that of each schedule by itself. It comes from a Gaussian process on the trials (``surface``), or
from the examples of an information profile where a profile prices the trials. Both see the tune split only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mdm_tune.schedules.surface import Surface, fit

__all__ = [
    "DETAIL",
    "EXACTLY_NAMED",
    "NAMED",
    "USUAL",
    "Box",
    "FlatPart",
    "LogGrid",
    "Tried",
    "distance_to_named",
    "flat_part",
    "surface_of",
    "unit_square",
    "upper_of_trials",
]

Floats = NDArray[np.float64]
Box = tuple[tuple[float, float], tuple[float, float]]  # the smallest and the largest a, and the same of b
Pair = tuple[float, float]
Source = Literal["trials", "profile"]
Upper = Callable[[Floats], Floats]  # of pairs (n, 2): the upper ends (n,) of their gain over the winner
USUAL: Box = ((0.1, 10.0), (0.1, 10.0))
QUANTILE = 1.959964  # of the normal distribution: an interval of 95 %
DETAIL = 40  # points per axis
NEGLIGIBLE = 0.01  # a share of the box
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


@dataclass(frozen=True, kw_only=True)
class FlatPart:
    """The flat part of a box.

    Attributes:
        source: what tells schedules apart.
        reference: a and b that all others are compared with.
        of_winner: whether that is the winner; otherwise it is the best trial, or the best Beta(a, b) by the profile,
            because the winner is not in the family.
        box: the box.
        share: the share of the box that is flat, by area in log scale.
        a, b: the smallest and the largest value in the flat part.
        any_a, any_b: the largest rectangle whose points of the grid are all flat; None if there is only a line.
        named: the hand-made schedules in it, those of ``NAMED`` at their places.
        nearest: the hand-made schedule that is nearest to the flat part, and the flat point nearest to it. Among
            several in the flat part, it is the one nearest to the reference.
        at_edge: whether the flat part reaches the edge of the box.
        grid: the grid.
        inside: (A, B) whether each point of the grid is flat.
    """

    source: Source
    reference: Pair
    of_winner: bool
    box: Box
    share: float
    a: Pair
    b: Pair
    any_a: Pair | None
    any_b: Pair | None
    named: tuple[str, ...]
    nearest: tuple[str, Pair]
    at_edge: bool
    grid: LogGrid
    inside: NDArray[np.bool_]

    @property
    def text(self) -> str:
        """The flat part in words: what cannot be told apart from the winner, and the hand-made schedules in it."""
        best = "the best trial" if self.source == "trials" else "the best Beta(a, b)"
        of = "the winner" if self.of_winner else best
        by = "these trials" if self.source == "trials" else "this profile"
        if self.share > 1 - NEGLIGIBLE:
            return f"No (a, b) of the box can be told apart from {of} by {by}."
        share = "Less than 1 %" if self.share < NEGLIGIBLE else f"{100 * self.share:.0f} %"
        text = f"{share} of the box cannot be told apart from {of} by {by}"
        if self.any_a is not None and self.any_b is not None:
            text += f", such as any a from {_inwards(self.any_a)} with any b from {_inwards(self.any_b)}"
        return f"{text}. {self._advice}"

    @property
    def _advice(self) -> str:
        """The hand-made schedules in the flat part, or the point nearest to one."""
        if self.named:
            names = [name if name in EXACTLY_NAMED else f"{name} (nearly)" for name in self.named]
            listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
            return f"{listed[0].upper()}{listed[1:]} {'is' if len(names) == 1 else 'are'} in this part."
        name, (a, b) = self.nearest
        return f"No hand-made schedule is in this part. Its point nearest to {name} is ({a:.2g}, {b:.2g})."


def unit_square(pairs: Floats, box: Box) -> Floats:
    """Pairs of a and b (n, 2) as points of the unit square, in log scale."""
    low, high = np.log(np.array(box)).T
    return np.asarray((np.log(pairs) - low) / (high - low))


@lru_cache(maxsize=32)  # the result, the schedule file and the page need the same one
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


def upper_of_trials(surface: Surface, box: Box, reference: Pair, sign: int) -> Upper:
    """The upper ends of the 95 % intervals of the gain over a reference, as a function of pairs.

    Args:
        surface: the process on the trials.
        box: the box.
        reference: a and b.
        sign: 1 if larger values are better, otherwise -1.
    """
    middle = unit_square(np.array([reference]), box)[0]

    def upper(pairs: Floats) -> Floats:
        difference, deviation = surface.difference(unit_square(pairs, box), middle)
        return sign * difference + QUANTILE * deviation

    return upper


def flat_part(
    upper: Upper, box: Box, reference: Pair, *, source: Source, of_winner: bool = True, points: int = DETAIL
) -> FlatPart:
    """The flat part of a box.

    Args:
        upper: the upper ends of the gain over the reference; a pair is flat if its end is at least 0.
        box: the box.
        reference: a and b.
        source: what ``upper`` rests on.
        of_winner: whether the reference is the winner.
        points: of the grid along each axis.
    """
    grid = LogGrid.over(box, points)
    inside: NDArray[np.bool_] = np.greater_equal(grid.shaped(upper(grid.pairs)), 0.0)
    flat = np.concatenate([grid.pairs[inside.ravel()], [reference]])
    places = {name: pair for name, pair in NAMED.items() if _holds(box, pair)}
    ends = upper(np.array([*places.values()])) if places else np.zeros(0)
    named = [name for name, end in zip(places, ends.tolist(), strict=True) if end >= 0 or places[name] == reference]
    rectangle = _rectangle(grid, inside)
    return FlatPart(
        source=source,
        reference=reference,
        of_winner=of_winner,
        box=box,
        share=float(inside.mean()),
        a=(float(flat[:, 0].min()), float(flat[:, 0].max())),
        b=(float(flat[:, 1].min()), float(flat[:, 1].max())),
        any_a=None if rectangle is None else rectangle[0],
        any_b=None if rectangle is None else rectangle[1],
        named=tuple(named),
        nearest=_nearest(named, flat, reference),
        at_edge=bool(inside[[0, -1]].any() or inside[:, [0, -1]].any()),
        grid=grid,
        inside=inside,
    )


def distance_to_named(pair: Pair) -> float:
    """The distance of a and b to the nearest hand-made schedule of ``NAMED``, in log scale."""
    return min(_distance(pair, place) for place in NAMED.values())


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    return math.dist(np.log(first), np.log(second))


def _holds(box: Box, pair: Pair) -> bool:
    return all(low <= value <= high for value, (low, high) in zip(pair, box, strict=True))


def _nearest(named: Iterable[str], flat: Floats, reference: Pair) -> tuple[str, Pair]:
    """See ``FlatPart.nearest``; ``flat`` (n, 2) are the points of the flat part, with the reference."""
    inside = sorted(named, key=lambda name: _distance(NAMED[name], reference))
    if inside:
        return inside[0], NAMED[inside[0]]
    distances = {name: np.linalg.norm(np.log(flat) - np.log(place), axis=1) for name, place in NAMED.items()}
    name = min(distances, key=lambda each: float(distances[each].min()))
    a, b = flat[distances[name].argmin()].tolist()
    return name, (a, b)


def _rectangle(grid: LogGrid, inside: NDArray[np.bool_]) -> tuple[Pair, Pair] | None:
    """The largest rectangle of flat points, by area in log scale: the ends of a and those of b.

    Returns:
        None if each such rectangle is only a line.
    """
    best, ends = 0, None
    for first in range(len(grid.a)):
        columns = np.ones(len(grid.b), dtype=np.bool_)
        for last in range(first, len(grid.a)):
            columns = columns & inside[last]
            if not columns.any():
                break
            start, stop = _longest(columns)
            if (last - first) * (stop - 1 - start) > best:
                best, ends = (last - first) * (stop - 1 - start), (first, last, start, stop - 1)
    if ends is None:
        return None
    first, last, left, right = ends
    return (float(grid.a[first]), float(grid.a[last])), (float(grid.b[left]), float(grid.b[right]))


def _longest(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Where the longest run of flags that are set starts and stops; the first of several."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    place = int(np.argmax(stops - starts))
    return int(starts[place]), int(stops[place])


def _inwards(ends: Pair) -> str:
    """Two ends in two digits, or more where they are close, rounded so that they stay inside."""
    for digits in (2, 3, 4):
        low, high = (_rounded(end, digits, up=up) for end, up in zip(ends, (True, False), strict=True))
        if low < high:
            break
    return f"{low:g} to {high:g}"


def _rounded(value: float, digits: int, *, up: bool) -> float:
    """A value above 0, rounded up or down to so many digits; what is equal but for rounding errors stays."""
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    count = value / unit
    return unit * (math.ceil(count - 1e-6) if up else math.floor(count + 1e-6))
