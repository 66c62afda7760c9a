"""The information profile prices a mask schedule without sampling.

profile (length,): c(m), nats per token, the cross-entropy of a uniform hidden position when m uniform random positions
are visible. It prices random order and ancestral reveal at temperature 1 exactly; for the orders that look at
predictions it prices nothing.

Source: arXiv:2510.25544 and arXiv:2511.04647.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.errors import InputError

__all__ = [
    "ancestral_nelbo",
    "ancestral_order_kl",
    "checked_alphas",
    "checked_counts",
    "nelbo",
    "optimum",
    "order_kl",
]

Floats = NDArray[np.float64]
ROUND_OFF = 1e-9  # nats below zero that a KL divergence may reach by rounding and no further


def nelbo(profile: ArrayLike, counts: ArrayLike) -> float:
    """NELBO of fixed counts in random order, nats per sequence: the sum of s_i c(s_1 + .. + s_{i-1}).

    counts (steps,): each at least 0, sum length. Raises InputError otherwise.
    """
    cost = checked_profile(profile)
    size = checked_counts(counts, len(cost))
    before = np.cumsum(size) - size
    return float(size[size > 0] @ cost[before[size > 0]])


def ancestral_nelbo(profile: ArrayLike, alphas: ArrayLike) -> float:
    """NELBO of ancestral reveal on a grid of the mask schedule, nats per sequence.

    It is length * sum_i (alpha_{i+1} - alpha_i) c~(alpha_i) with c~(a) = E c(M), M binomial(length - 1, a).
    alphas (steps + 1,): from 0 up to 1. Raises InputError otherwise.
    """
    from scipy.stats import binom  # slow to import, and fixed counts do without

    cost = checked_profile(profile)
    grid = checked_alphas(alphas)
    visible = np.arange(len(cost))
    mean = binom.pmf(visible, len(cost) - 1, grid[:-1, None]) @ cost
    return float(len(cost) * (np.diff(grid) @ mean))


def order_kl(profile: ArrayLike, entropy: float, counts: ArrayLike) -> float:
    """E_order KL(p || q_order) of fixed counts in random order, in nats: the NELBO less the entropy of the law.

    It bounds from above the KL divergence of the sampler with its order averaged out. Not clipped but for round-off:
    a clearly negative value says that profile and entropy do not belong together.
    """
    return _kl(nelbo(profile, counts), entropy)


def ancestral_order_kl(profile: ArrayLike, entropy: float, alphas: ArrayLike) -> float:
    """As ``order_kl``, for ancestral reveal: the mean over which positions each step reveals."""
    return _kl(ancestral_nelbo(profile, alphas), entropy)


def optimum(profile: ArrayLike, steps: int) -> tuple[int, ...]:
    """The counts (steps,) of least NELBO among all with every count at least 1; ``length`` ones if that is fewer.

    Dynamic programming over the revealed number: D[k, j] = min_i D[k-1, i] + (j - i) c(i), O(steps * length^2). The
    profile may rise somewhere, as a measured one does. Raises InputError if steps is below 1.
    """
    cost = checked_profile(profile)
    length = len(cost)
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    if steps > length:
        return (1,) * length
    before, after = np.arange(length)[:, None], np.arange(1, length + 1)
    step_cost = np.where(after > before, (after - before) * cost[:, None], np.inf)
    best = step_cost[0]
    choice = np.zeros((steps, length), dtype=np.int64)  # entry [k, j - 1]: revealed before step k, if j are after it
    for step in range(1, steps):
        total = np.concatenate([[np.inf], best[:-1]])[:, None] + step_cost
        choice[step] = total.argmin(axis=0)
        best = total.min(axis=0)
    revealed = [length]
    for step in reversed(range(steps)):
        revealed.append(int(choice[step, revealed[-1] - 1]))
    return tuple(int(count) for count in -np.diff(revealed)[::-1])


def checked_profile(profile: ArrayLike) -> Floats:
    """The profile as a float64 array; raises InputError unless it is finite and has one axis with an entry."""
    cost = np.asarray(profile, dtype=np.float64)
    if cost.ndim != 1 or cost.size == 0 or not np.isfinite(cost).all():
        raise InputError(f"a profile needs one finite number per revealed position, got {cost.tolist()}")
    return cost


def checked_counts(counts: ArrayLike, length: int) -> NDArray[np.int64]:
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


def _kl(value: float, entropy: float) -> float:
    difference = value - entropy
    return 0.0 if -ROUND_OFF * max(1.0, entropy) <= difference < 0 else difference
