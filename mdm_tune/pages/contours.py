"""The outlines of the parts of a grid on which its values reach a level, by marching squares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.pages.svg import Point

__all__ = ["outlines"]

Floats = NDArray[np.float64]
Edge = tuple[int, int, int]  # the node where it begins, and 0 if it leads along x, 1 if along y
CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))  # of a cell, in the order in which they are visited
FLAT = 0.06  # pixels: a point that lies so near to the line between its neighbours is left out


def outlines(x: ArrayLike, y: ArrayLike, values: ArrayLike, level: float) -> list[list[Point]]:
    """Closed outlines of where the values are at least ``level``. Between nodes they are interpolated linearly.

    Filled by the even-odd rule the outlines give that part of the grid; along the border they follow it.

    Args:
        x: (X,) places of the nodes in pixels; X is at least 2.
        y: (Y,) places of the nodes; Y is at least 2.
        values: (X, Y); NaN lies below every level.
        level: finite.

    Returns:
        The corners of each outline. Those within 0.06 pixels of a straight line are left out.
    """
    across, down = (np.pad(np.asarray(each, dtype=np.float64), 1, mode="edge") for each in (x, y))
    grid = np.asarray(values, dtype=np.float64)
    padded = np.pad(np.where(np.isnan(grid), -np.inf, grid), 1, constant_values=-np.inf)
    segments = _segments(padded, level)
    found = []
    while segments:
        first, edge = segments.popitem()
        edges = [first]
        while edge != first:
            edges.append(edge)
            edge = segments.pop(edge)
        points = [_crossing(each, across, down, padded, level) for each in edges]
        if len(kept := _without_flat(points)) > 2:
            found.append(kept)
    return found[::-1]


def _segments(grid: Floats, level: float) -> dict[Edge, Edge]:
    """The outline as steps from one edge of the grid to the next one; the part lies on the same side of all steps."""
    inside = grid >= level
    sums = sum(inside[i : i + len(grid) - 1, j : j + grid.shape[1] - 1].astype(int) for i, j in CORNERS)
    found: dict[Edge, Edge] = {}
    for i, j in np.argwhere((sums > 0) & (sums < 4)).tolist():
        corners = [(i + right, j + up) for right, up in CORNERS]
        marks = [bool(inside[each]) for each in corners]
        edges: tuple[Edge, ...] = ((i, j, 0), (i + 1, j, 1), (i, j + 1, 0), (i, j, 1))
        leaving = [side for side in range(4) if marks[side] and not marks[(side + 1) % 4]]
        entering = [side for side in range(4) if not marks[side] and marks[(side + 1) % 4]]
        if len(leaving) == 1:
            found[edges[leaving[0]]] = edges[entering[0]]
            continue
        middle = np.mean([grid[each] for each in corners])  # a saddle: joined if its middle belongs to the part
        for side in leaving:
            found[edges[side]] = edges[(side + (1 if middle >= level else -1)) % 4]
    return found


def _crossing(edge: Edge, x: Floats, y: Floats, grid: Floats, level: float) -> Point:
    """Where the values pass the level between the two nodes of an edge."""
    i, j, along = edge
    k, m = (i + 1, j) if along == 0 else (i, j + 1)
    first, second = grid[i, j], grid[k, m]
    if np.isfinite(first) and np.isfinite(second):
        share = float((level - first) / (second - first))
    else:
        share = 0.0 if np.isfinite(first) else 1.0  # beside what has no value
    return float(x[i] + share * (x[k] - x[i])), float(y[j] + share * (y[m] - y[j]))


def _without_flat(points: list[Point]) -> list[Point]:
    """The outline without the points that lie within ``FLAT`` of a line between others."""
    ring = np.array([*points, points[0]])
    kept, start = [0], 0
    for end in range(2, len(ring)):
        between, (x, y) = ring[start + 1 : end] - ring[start], ring[end] - ring[start]
        length = np.hypot(x, y)
        away = np.abs(between[:, 0] * y - between[:, 1] * x) / length if length > 0 else np.hypot(*between.T)
        along = (between[:, 0] * x + between[:, 1] * y) / length if length > 0 else away
        if (away > FLAT).any() or (along < -FLAT).any() or (along > length + FLAT).any():
            start = end - 1
            kept.append(start)
    return [points[each] for each in kept]
