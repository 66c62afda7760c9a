"""The NELBO of a mask schedule on an information profile, and the schedules with the lowest NELBO.

The curve of a profile is c(m), m = 0 .. length - 1, in nats per token: the cross-entropy of a uniform hidden position
when m uniform random positions are visible. It gives the exact NELBO of random order and of ancestral reveal at
temperature 1. It says nothing about orders that depend on predictions.

Blocks are filled from left to right. Entry m = b * block_length + k is for block b with all earlier blocks and k of its
own positions visible. Counts must not cross the end of a block.

Source: arXiv:2510.25544 and arXiv:2511.04647.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity

__all__ = [
    "AncestralCurve",
    "Optima",
    "ancestral_nelbo",
    "ancestral_order_kl",
    "ancestral_weights",
    "checked_alphas",
    "checked_counts",
    "count_weights",
    "nelbo",
    "optima",
    "order_kl",
    "price_counts",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ROUND_OFF = 1e-9  # nats; a KL divergence that is less negative than this is 0 up to rounding
RESOLUTION = 1024  # values of alpha on which the best ancestral grid is searched, before it is refined
NODES = 64  # interpolation nodes per sqrt(length): over u a binomial mean changes within about 1/sqrt(length)


def nelbo(curve: ArrayLike, counts: ArrayLike) -> float:
    """NELBO of fixed counts in random order: the sum of s_i c(s_1 + .. + s_{i-1}) over the counts s_i.

    Args:
        curve: c(m), (length,), nats per token.
        counts: (steps,), each at least 0, with sum length.

    Returns:
        Nats per sequence.

    Raises:
        InputError: curve or counts are invalid.
    """
    cost = checked_curve(curve)
    return float(count_weights(counts, len(cost)) @ cost)


def ancestral_nelbo(curve: ArrayLike, alphas: ArrayLike) -> float:
    """NELBO of ancestral reveal on a grid of the mask schedule.

    It is length * sum_i (alpha_{i+1} - alpha_i) c~(alpha_i) with c~(a) = E c(M), M binomial(length - 1, a).

    Args:
        curve: c(m), (length,), nats per token.
        alphas: (steps + 1,), from 0 to 1, never decreasing.

    Returns:
        Nats per sequence.

    Raises:
        InputError: curve or alphas are invalid.
    """
    cost = checked_curve(curve)
    return float(ancestral_weights(alphas, len(cost)) @ cost)


def count_weights(counts: ArrayLike, length: int) -> Floats:
    """The weights of the curve's entries in ``nelbo``: the number of tokens that are revealed there, (length,).

    Args:
        counts: (steps,), each at least 0, with sum length.
        length: tokens of a sequence.

    Raises:
        InputError: the counts are invalid.
    """
    size = checked_counts(counts, length)
    before = np.cumsum(size) - size
    return np.bincount(before[size > 0], size[size > 0], minlength=length).astype(np.float64)


def ancestral_weights(alphas: ArrayLike, length: int) -> Floats:
    """The weights of the curve's entries in ``ancestral_nelbo``: the expected number of tokens, (length,).

    Args:
        alphas: (steps + 1,), from 0 to 1, never decreasing.
        length: tokens of a sequence.

    Raises:
        InputError: the alphas are invalid.
    """
    from scipy.stats import binom  # slow to import, and not needed for fixed counts

    grid = checked_alphas(alphas)
    visible = binom.pmf(np.arange(length), length - 1, grid[:-1, None])
    return np.asarray(length * (np.diff(grid) @ visible))


def price_counts(curve: Floats, counts: Integers) -> Floats:
    """``nelbo`` of many counts (n, steps) at once, (n,). The arguments are not checked."""
    before = np.cumsum(counts, axis=1) - counts
    return np.asarray((counts * curve[np.minimum(before, len(curve) - 1)]).sum(axis=1))


def order_kl(curve: ArrayLike, entropy: float, counts: ArrayLike) -> float:
    """E_order KL(p || q_order) of fixed counts in random order: the NELBO minus the entropy of the law.

    It is an upper bound of the KL divergence of the sampler, whose order is random. A clearly negative value means that
    curve and entropy belong to different laws; it is returned as it is.

    Args:
        curve: c(m), (length,), nats per token.
        entropy: of the law, nats per sequence.
        counts: (steps,), each at least 0, with sum length.

    Returns:
        Nats per sequence.

    Raises:
        InputError: curve or counts are invalid.
    """
    return _kl_divergence(nelbo(curve, counts), entropy)


def ancestral_order_kl(curve: ArrayLike, entropy: float, alphas: ArrayLike) -> float:
    """``order_kl`` of ancestral reveal: the mean over the sets of positions that the steps reveal.

    Args:
        curve: c(m), (length,), nats per token.
        entropy: of the law, nats per sequence.
        alphas: (steps + 1,), from 0 to 1, never decreasing.

    Returns:
        Nats per sequence.

    Raises:
        InputError: curve or alphas are invalid.
    """
    return _kl_divergence(ancestral_nelbo(curve, alphas), entropy)


@dataclass(frozen=True)
class Optima:
    """The lowest NELBO over all counts of at least 1, for each number of steps.

    Attributes:
        nelbo: at 1 .. most steps, (most,), nats per sequence; inf for fewer steps than ``fewest``.
        choice: (most, length): entry [k - 1, j - 1] is the number of tokens before the last of k steps, if there are j
            tokens after it.
        fewest: the number of blocks, each of which needs a step.
    """

    nelbo: Floats
    choice: Integers
    fewest: int

    def counts(self, steps: int) -> tuple[int, ...]:
        """The best counts (steps,); (length,) ones if there are more steps than tokens.

        Raises:
            InputError: there are fewer steps than blocks, or more steps than were computed.
        """
        length = int(self.choice.shape[1])
        if 1 <= length < steps:
            return (1,) * length
        if not self.fewest <= steps <= len(self.nelbo):
            raise InputError(
                f"an optimum needs at least {quantity(self.fewest, 'step')} and was computed for at most "
                f"{len(self.nelbo)}, got {steps}; give a number in this range"
            )
        revealed = [length]
        for step in reversed(range(steps)):
            revealed.append(int(self.choice[step, revealed[-1] - 1]))
        return tuple(after - before for before, after in itertools.pairwise(reversed(revealed)))


def optima(curve: ArrayLike, most: int, block_length: int | None = None) -> Optima:
    """The best counts for every number of steps, by dynamic programming over the number of revealed tokens.

    D[k, j] = min_i D[k-1, i] + (j - i) c(i), in O(most * length^2). The curve may rise, as measured ones do. No step
    crosses the end of a block, so the result also shares the steps among the blocks in the best way.

    Args:
        curve: c(m), (length,), nats per token.
        most: the largest number of steps, at least 1; the result ends at ``length`` steps.
        block_length: tokens of a block, a divisor of length; None for one block.

    Raises:
        InputError: an argument is invalid.
    """
    cost = checked_curve(curve)
    length = len(cost)
    size = length if block_length is None else block_length
    if most < 1 or size < 1 or length % size:
        raise InputError(
            f"optima need at least 1 step and a block length that divides {length}, got {most} and {size}; change them"
        )
    before, after = np.arange(length)[:, None], np.arange(1, length + 1)
    allowed = (after > before) & ((after - 1) // size == before // size)
    # Entry [j - 1, i] is the cost of a step from i to j tokens; the minimum over i runs along contiguous memory.
    step_cost = np.ascontiguousarray(np.where(allowed, (after - before) * cost[:, None], np.inf).T)
    best = step_cost[:, 0]
    values, choice = [best[-1]], [np.zeros(length, dtype=np.int64)]
    rows = np.arange(length)
    for _ in range(1, min(most, length)):
        total = step_cost + np.concatenate([[np.inf], best[:-1]])
        choice.append(total.argmin(axis=1))
        best = total[rows, choice[-1]]
        values.append(best[-1])
    return Optima(np.array(values), np.stack(choice), length // size)


class AncestralCurve:
    """A spline of c~(a) = E c(M), M binomial(length - 1, a), for computing the NELBO of many grids at once.

    It interpolates exact values over u, where a = sin^2(pi/2 u), which resolves both ends. Its error is below 1e-6 of
    the largest entry of the curve.
    """

    def __init__(self, curve: ArrayLike) -> None:
        from scipy.interpolate import CubicSpline
        from scipy.stats import binom

        cost = checked_curve(curve)
        self.length = len(cost)
        nodes = np.linspace(0, 1, NODES * (math.isqrt(self.length) + 1) + 1)
        mean = binom.pmf(np.arange(self.length), self.length - 1, np.sin(np.pi / 2 * nodes)[:, None] ** 2) @ cost
        self._spline = CubicSpline(nodes, mean, bc_type=((1, 0.0), (1, 0.0)))

    def __call__(self, alphas: Floats) -> Floats:
        """c~ at alphas in [0, 1], of any shape, in nats per token."""
        return np.asarray(self._spline(_to_u(alphas)))

    def price(self, grids: Floats) -> Floats:
        """``ancestral_nelbo`` of many grids (n, steps + 1) at once, (n,). The grids are not checked."""
        return np.asarray(self.length * (np.diff(grids, axis=1) * self(grids[:, :-1])).sum(axis=1))

    def price_and_slope(self, inner: Floats) -> tuple[float, Floats]:
        """The NELBO of a grid and its derivatives, with alpha = sin^2(pi/2 u).

        Args:
            inner: u of the grid without its ends 0 and 1, (steps - 1,).
        """
        u = np.concatenate([[0.0], inner, [1.0]])
        alphas = np.sin(np.pi / 2 * u) ** 2
        mean, slope = self._spline(u[:-1]), self._spline(u[1:-1], 1)
        by_alpha = mean[:-1] - mean[1:]
        rate = np.pi / 2 * np.sin(np.pi * inner)
        gradient = by_alpha * rate + np.diff(alphas)[1:] * slope
        return float(self.length * (np.diff(alphas) @ mean)), np.asarray(self.length * gradient)

    def optimal_alphas(self, steps: int) -> Floats:
        """The best grid (steps + 1,), by dynamic programming over 1024 values of alpha, refined by L-BFGS-B."""
        from scipy.optimize import minimize

        knots = np.sin(np.pi / 2 * np.linspace(0, 1, RESOLUTION + 1)) ** 2  # dense at both ends, where c~ bends most
        chosen = _cheapest_knots(self.length * self(knots[:-1]), knots, min(steps, RESOLUTION))
        start = np.array([*knots[chosen], *[1.0] * (steps + 1 - len(chosen))])
        if steps == 1:
            return start
        bounds = [(0.0, 1.0)] * (steps - 1)
        inner = minimize(self.price_and_slope, _to_u(start[1:-1]), jac=True, method="L-BFGS-B", bounds=bounds).x
        refined = np.concatenate([[0.0], np.sin(np.pi / 2 * np.sort(inner)) ** 2, [1.0]])
        return refined if self.price(refined[None])[0] < self.price(start[None])[0] else start


def _cheapest_knots(rate: Floats, knots: Floats, steps: int) -> list[int]:
    """The knots of the cheapest grid of at most ``steps`` steps, by the dynamic programming of ``optima``.

    Args:
        rate: the cost per unit of alpha from each knot on, (n,).
        knots: values of alpha, (n + 1,); their distances may differ.
        steps: at least 1.

    Returns:
        Indices into ``knots``.
    """
    cost = np.ascontiguousarray(np.triu((knots[1:] - knots[:-1, None]) * rate[:, None]).T)
    cost[np.triu_indices(len(rate), 1)] = np.inf
    best, rows, choice = cost[:, 0], np.arange(len(rate)), []
    for _ in range(1, steps):
        total = cost + np.concatenate([[0.0], best[:-1]])  # 0.0 at the first knot: a step may reveal nothing
        choice.append(total.argmin(axis=1))
        best = total[rows, choice[-1]]
    indices = [len(rate)]
    for before in reversed(choice):
        if indices[-1] == 0:
            break
        indices.append(int(before[indices[-1] - 1]))
    return indices[::-1] if indices[-1] == 0 else [0, *indices[::-1]]


def checked_curve(curve: ArrayLike) -> Floats:
    """The curve as a float64 array; raises InputError unless it is a finite vector with at least one entry."""
    cost = np.asarray(curve, dtype=np.float64)
    if cost.ndim != 1 or cost.size == 0 or not np.isfinite(cost).all():
        raise InputError(f"a profile needs one finite number per revealed position, got {cost.tolist()}")
    return cost


def checked_counts(counts: ArrayLike, length: int) -> Integers:
    """The counts as an int64 array; raises InputError unless they are whole, at least 0, and have sum ``length``."""
    size = np.asarray(counts, dtype=np.float64)
    if size.ndim != 1 or not (size == np.floor(size)).all() or (size < 0).any() or size.sum() != length:
        raise InputError(
            f"counts must be whole numbers, at least 0, that sum to the {length} masked positions, got {size.tolist()}"
        )
    return size.astype(np.int64)


def checked_alphas(alphas: ArrayLike) -> Floats:
    """The grid as a float64 array; raises InputError unless it goes from 0 to 1 and never decreases."""
    grid = np.asarray(alphas, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or grid[0] != 0 or grid[-1] != 1 or not (np.diff(grid) >= 0).all():
        raise InputError(f"alphas must increase from 0 to 1 and have at least 2 entries, got {grid.tolist()}")
    return grid


def _to_u(alphas: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt(alphas)) * (2 / np.pi))


def _kl_divergence(value: float, entropy: float) -> float:
    """NELBO minus entropy; 0 if it is negative by rounding only."""
    difference = value - entropy
    return 0.0 if -ROUND_OFF * max(1.0, entropy) <= difference < 0 else difference
