"""What a mask schedule costs on an information profile, and which schedules cost least.

curve (length,): c(m), nats per token, the cross-entropy of a uniform hidden position when m uniform random positions
are visible. It prices random order and ancestral reveal at temperature 1 exactly; for the orders that look at
predictions it prices nothing. With blocks, filled from left to right, entry m = b * block_length + k holds for block b
with all earlier blocks and k of its own positions visible, and counts must not cross the end of a block.

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
ROUND_OFF = 1e-9  # nats below zero that a KL divergence may reach by rounding and no further
RESOLUTION = 1024  # shares of tokens among which the best ancestral grid is looked for before it is polished
NODES = 64  # interpolation nodes per root of the length: over u a binomial mean bends within about 1/sqrt(length)


def nelbo(curve: ArrayLike, counts: ArrayLike) -> float:
    """NELBO of fixed counts in random order, nats per sequence: the sum of s_i c(s_1 + .. + s_{i-1}).

    counts (steps,): each at least 0, sum length. Raises InputError otherwise.
    """
    cost = checked_curve(curve)
    return float(count_weights(counts, len(cost)) @ cost)


def ancestral_nelbo(curve: ArrayLike, alphas: ArrayLike) -> float:
    """NELBO of ancestral reveal on a grid of the mask schedule, nats per sequence.

    It is length * sum_i (alpha_{i+1} - alpha_i) c~(alpha_i) with c~(a) = E c(M), M binomial(length - 1, a).
    alphas (steps + 1,): from 0 up to 1. Raises InputError otherwise.
    """
    cost = checked_curve(curve)
    return float(ancestral_weights(alphas, len(cost)) @ cost)


def count_weights(counts: ArrayLike, length: int) -> Floats:
    """How many tokens (length,) are priced at each entry of the curve; raises InputError as ``nelbo`` does."""
    size = checked_counts(counts, length)
    before = np.cumsum(size) - size
    return np.bincount(before[size > 0], size[size > 0], minlength=length).astype(np.float64)


def ancestral_weights(alphas: ArrayLike, length: int) -> Floats:
    """The expected number of tokens (length,) priced at each entry; raises InputError as ``ancestral_nelbo`` does."""
    from scipy.stats import binom  # slow to import, and fixed counts do without

    grid = checked_alphas(alphas)
    seen = binom.pmf(np.arange(length), length - 1, grid[:-1, None])
    return np.asarray(length * (np.diff(grid) @ seen))


def price_counts(curve: Floats, counts: Integers) -> Floats:
    """``nelbo`` of many counts (n, steps) at once, (n,); neither is checked."""
    before = np.cumsum(counts, axis=1) - counts
    return np.asarray((counts * curve[np.minimum(before, len(curve) - 1)]).sum(axis=1))


def order_kl(curve: ArrayLike, entropy: float, counts: ArrayLike) -> float:
    """E_order KL(p || q_order) of fixed counts in random order, in nats: the NELBO less the entropy of the law.

    It bounds from above the KL divergence of the sampler with its order averaged out. Not clipped but for round-off:
    a clearly negative value says that curve and entropy do not belong together.
    """
    return _kl(nelbo(curve, counts), entropy)


def ancestral_order_kl(curve: ArrayLike, entropy: float, alphas: ArrayLike) -> float:
    """As ``order_kl``, for ancestral reveal: the mean over which positions each step reveals."""
    return _kl(ancestral_nelbo(curve, alphas), entropy)


@dataclass(frozen=True)
class Optima:
    """The least NELBO over all counts with every count at least 1, for each number of steps.

    nelbo (most,): nats per sequence at 1 .. most steps, inf for fewer than ``fewest``, one for each block. choice
    (most, length): entry [k - 1, j - 1] is how many tokens are revealed before the last of k steps, if j are after it.
    """

    nelbo: Floats
    choice: Integers
    fewest: int

    def counts(self, steps: int) -> tuple[int, ...]:
        """The best counts (steps,); (length,) ones where there are more steps than tokens.

        Raises InputError if the steps are fewer than 1 or than the blocks, or more than were asked for.
        """
        length = int(self.choice.shape[1])
        if 1 <= length < steps:
            return (1,) * length
        if not self.fewest <= steps <= len(self.nelbo):
            raise InputError(
                f"an optimum needs at least {quantity(self.fewest, 'step')} and was looked for up to "
                f"{len(self.nelbo)}, got {steps}; give a number in this range"
            )
        revealed = [length]
        for step in reversed(range(steps)):
            revealed.append(int(self.choice[step, revealed[-1] - 1]))
        return tuple(after - before for before, after in itertools.pairwise(reversed(revealed)))


def optima(curve: ArrayLike, most: int, block_length: int | None = None) -> Optima:
    """The best counts for every number of steps up to ``most`` (at most length) in one sweep.

    Dynamic programming over the revealed number: D[k, j] = min_i D[k-1, i] + (j - i) c(i), O(most * length^2). The
    curve may rise somewhere, as a measured one does. With blocks no step crosses the end of a block, so that the same
    sweep shares the steps out among the blocks. Raises InputError if most is below 1 or block_length no divisor.
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
    # Transposed, so that the minimum runs along memory: entry [j - 1, i] is the cost of revealing from i up to j.
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
    """c~(a) = E c(M), M binomial(length - 1, a), by a spline through its exact values: for pricing many grids at once.

    The spline runs over u with a = sin^2(pi/2 u), which resolves both ends; its error is below 1e-6 of the largest
    entry of the curve.
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
        """c~ at alphas in [0, 1], any shape."""
        return np.asarray(self._spline(_to_u(alphas)))

    def price(self, grids: Floats) -> Floats:
        """``ancestral_nelbo`` of grids (n, steps + 1), (n,); they are not checked."""
        return np.asarray(self.length * (np.diff(grids, axis=1) * self(grids[:, :-1])).sum(axis=1))

    def price_and_slope(self, inner: Floats) -> tuple[float, Floats]:
        """Price of the grid 0, inner.., 1 and its derivative by each inner u, where alpha = sin^2(pi/2 u)."""
        u = np.concatenate([[0.0], inner, [1.0]])
        alphas = np.sin(np.pi / 2 * u) ** 2
        mean, slope = self._spline(u[:-1]), self._spline(u[1:-1], 1)
        by_alpha = mean[:-1] - mean[1:]
        rate = np.pi / 2 * np.sin(np.pi * inner)
        gradient = by_alpha * rate + np.diff(alphas)[1:] * slope
        return float(self.length * (np.diff(alphas) @ mean)), np.asarray(self.length * gradient)

    def optimal_alphas(self, steps: int) -> Floats:
        """The best grid (steps + 1,): by dynamic programming over 1024 shares, then polished by L-BFGS-B."""
        from scipy.optimize import minimize

        knots = np.sin(np.pi / 2 * np.linspace(0, 1, RESOLUTION + 1)) ** 2  # dense at both ends, where c~ bends most
        found = _coarse(self.length * self(knots[:-1]), knots, min(steps, RESOLUTION))
        start = np.array([*knots[found], *[1.0] * (steps + 1 - len(found))])
        if steps == 1:
            return start
        bounds = [(0.0, 1.0)] * (steps - 1)
        inner = minimize(self.price_and_slope, _to_u(start[1:-1]), jac=True, method="L-BFGS-B", bounds=bounds).x
        polished = np.concatenate([[0.0], np.sin(np.pi / 2 * np.sort(inner)) ** 2, [1.0]])
        return polished if self.price(polished[None])[0] < self.price(start[None])[0] else start


def _coarse(rate: Floats, knots: Floats, steps: int) -> list[int]:
    """Indices into knots (n + 1,) of the cheapest grid of at most ``steps`` steps; rate (n,): cost per share.

    The dynamic programme of ``optima``, over knots that need not be equally far apart.
    """
    cost = np.ascontiguousarray(np.triu((knots[1:] - knots[:-1, None]) * rate[:, None]).T)
    cost[np.triu_indices(len(rate), 1)] = np.inf
    best, rows, choice = cost[:, 0], np.arange(len(rate)), []
    for _ in range(1, steps):
        total = cost + np.concatenate([[0.0], best[:-1]])  # from the first knot on: a step may be left without tokens
        choice.append(total.argmin(axis=1))
        best = total[rows, choice[-1]]
    found = [len(rate)]
    for chosen in reversed(choice):
        if found[-1] == 0:
            break
        found.append(int(chosen[found[-1] - 1]))
    return found[::-1] if found[-1] == 0 else [0, *found[::-1]]


def checked_curve(curve: ArrayLike) -> Floats:
    """The curve as a float64 array; raises InputError unless it is finite and has one axis with an entry."""
    cost = np.asarray(curve, dtype=np.float64)
    if cost.ndim != 1 or cost.size == 0 or not np.isfinite(cost).all():
        raise InputError(f"a profile needs one finite number per revealed position, got {cost.tolist()}")
    return cost


def checked_counts(counts: ArrayLike, length: int) -> Integers:
    """The counts as an int64 array; raises InputError unless they are whole, at least 0 and sum to length."""
    size = np.asarray(counts, dtype=np.float64)
    if size.ndim != 1 or not (size == np.floor(size)).all() or (size < 0).any() or size.sum() != length:
        raise InputError(
            f"counts must be whole numbers, at least 0, that sum to the {length} masked positions, got {size.tolist()}"
        )
    return size.astype(np.int64)


def checked_alphas(alphas: ArrayLike) -> Floats:
    """The grid as a float64 array; raises InputError unless it goes from 0 up to 1 and never down."""
    grid = np.asarray(alphas, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or grid[0] != 0 or grid[-1] != 1 or not (np.diff(grid) >= 0).all():
        raise InputError(f"alphas must increase from 0 to 1 and have at least 2 entries, got {grid.tolist()}")
    return grid


def _to_u(alphas: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt(alphas)) * (2 / np.pi))


def _kl(value: float, entropy: float) -> float:
    difference = value - entropy
    return 0.0 if -ROUND_OFF * max(1.0, entropy) <= difference < 0 else difference
