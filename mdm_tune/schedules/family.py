"""The two-parameter family on an information profile: the NELBO of many Beta(a, b) at once, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mdm_tune.schedules.blocks import ShareRule, equal_shares
from mdm_tune.schedules.counts import CountRule, beta_grids, counts_of_grids
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.pricing import AncestralCurve, Optima, optima, price_counts

__all__ = ["Pricer"]

Floats = NDArray[np.float64]
Ranges = Mapping[str, tuple[float, float]]  # the smallest and the largest value of "a" and of "b"
PARAMETERS = ("a", "b")
SCAN = 128  # points per axis of the first grid, in log scale
CELLS = 16  # cells per axis; the best point of each cell may be refined, because the NELBO has many local minima
ROUNDS, CENTRES, LOCAL = 5, 24, 9  # rounds of refinement, points that are refined, and grid points per axis around each
SHRINK = 2.5  # how much finer the grid is in each round
SAME = 1e-9  # squared distance in log scale below which two points count as one
SLACK = 0.25  # a nearly best point lies above the floor by at most a quarter more than the best point


@dataclass(frozen=True)
class Pricer:
    """Computes the NELBO of schedules on one curve, for one sampler.

    Attributes:
        curve: c(m) in nats per token, (length,).
        block_length: tokens of a block; the whole length without blocks.
        bernoulli: whether the sampler reveals by ancestral sampling; else it reveals fixed counts.
        rule: how a schedule is rounded to counts.
        share: how the steps are shared among the blocks.
    """

    curve: Floats
    block_length: int
    bernoulli: bool
    rule: CountRule
    share: ShareRule = equal_shares

    @property
    def blocks(self) -> int:
        """The number of blocks of a sequence."""
        return len(self.curve) // self.block_length

    @property
    def floor(self) -> float:
        """NELBO of one token per step, nats per sequence. If the curve never rises, no schedule has a lower one."""
        return float(self.curve.sum())

    @cached_property
    def _ancestral(self) -> AncestralCurve:
        return AncestralCurve(self.curve)

    def beta_nelbos(self, points: Floats, steps: int) -> Floats:
        """The NELBO of many schedules Beta(a, b).

        Args:
            points: a and b, (n, 2).
            steps: of the whole sequence, at least 1.

        Returns:
            (n,), nats per sequence.

        Raises:
            InputError: the blocks cannot share the steps.
        """
        a, b = points.T
        if self.bernoulli:
            return self._ancestral.price(beta_grids(a, b, steps))
        shares = self.share(steps, len(self.curve), self.block_length)
        if self.rule == "one-per-step" and steps >= len(self.curve):
            return np.full(len(points), self.floor)  # one token a step
        by_share = {
            share: counts_of_grids(beta_grids(a, b, share), self.block_length, self.rule) for share in set(shares)
        }
        return price_counts(self.curve, np.concatenate([by_share[share] for share in shares], axis=1))

    def best_beta(self, steps: int, ranges: Ranges) -> Beta:
        """The Beta(a, b) with the lowest NELBO in a box: a grid in log scale, refined around its best points.

        Integer counts make the NELBO piecewise constant. Of several points that tie, the one nearest to their mean is
        taken.

        Args:
            steps: of the whole sequence, at least 1.
            ranges: the smallest and the largest value of ``a`` and of ``b``, above 0.

        Raises:
            InputError: the blocks cannot share the steps.
        """
        box = np.log([ranges[name] for name in PARAMETERS])
        width = np.diff(box)[:, 0] / (SCAN - 1)
        points = _log_grid(ranges)
        values = self.beta_nelbos(np.exp(points), steps)
        by_cell = values.reshape(CELLS, SCAN // CELLS, CELLS, SCAN // CELLS).swapaxes(1, 2).reshape(CELLS**2, -1)
        number = np.arange(SCAN**2).reshape(CELLS, SCAN // CELLS, CELLS, SCAN // CELLS).swapaxes(1, 2)
        best = number.reshape(CELLS**2, -1)[np.arange(CELLS**2), by_cell.argmin(axis=1)]
        centres = points[best[np.argsort(values[best], kind="stable")[:CENTRES]]]
        offsets = np.linspace(-1, 1, LOCAL)
        for _ in range(ROUNDS):
            around = centres[:, None] + _all_pairs(offsets * width[0], offsets * width[1])
            fresh = np.clip(around.reshape(-1, 2), box[:, 0], box[:, 1])
            points = np.concatenate([points, fresh])
            values = np.concatenate([values, self.beta_nelbos(np.exp(fresh), steps)])
            _, first = np.unique(values, return_index=True)  # one point of each NELBO, the lowest first
            centres = points[first[:CENTRES]]
            width = width / SHRINK
        cheapest = np.flatnonzero(values <= values.min() + 1e-12 * abs(values.min()))
        scanned = cheapest[cheapest < SCAN**2]  # points of the first grid are evenly spread, refined ones are not
        tied = points[scanned if len(scanned) else cheapest]
        middle = tied[np.argmin(((tied - tied.mean(axis=0)) ** 2).sum(axis=1))]
        return _beta_at(middle, ranges)

    def near_best(self, steps: int, ranges: Ranges, number: int) -> list[Beta]:
        """``best_beta`` and further good points, each as far as possible from those before it, in log scale.

        A point is good if its NELBO exceeds ``floor`` by at most a quarter more than the NELBO of the best point.

        Args:
            steps: of the whole sequence, at least 1.
            ranges: the smallest and the largest value of ``a`` and of ``b``, above 0.
            number: points at most, the best one included.

        Raises:
            InputError: the blocks cannot share the steps.
        """
        best = self.best_beta(steps, ranges)
        chosen = [best]
        points = _log_grid(ranges)
        values = self.beta_nelbos(np.exp(points), steps)
        least = float(self.beta_nelbos(np.array([[best.a, best.b]]), steps)[0])
        good = points[values <= least + SLACK * max(least - self.floor, 0.0)]
        while len(chosen) < number and len(good):
            logs = np.log([[beta.a, beta.b] for beta in chosen])
            distances = ((good[:, None] - logs) ** 2).sum(axis=2).min(axis=1)
            if distances.max() < SAME:
                break
            chosen.append(_beta_at(good[distances.argmax()], ranges))
        return chosen

    def optimum_counts(self, most: int) -> Optima:
        """The best counts for 1 .. ``most`` steps; the steps are shared among the blocks in the best way."""
        return optima(self.curve, most, self.block_length)

    def counts_at(self, sweep: Optima, steps: int) -> tuple[int, ...]:
        """The best counts (steps,) of a result of ``optimum_counts``.

        If the rule allows counts of 0, fewer steps may be better on a measured curve; the rest of the counts are 0.
        """
        if self.rule == "one-per-step":
            return sweep.counts(steps)
        fewer = sweep.fewest + int(np.argmin(sweep.nelbo[sweep.fewest - 1 : steps]))
        return sweep.counts(fewer) + (0,) * (steps - fewer)

    def optimum_alphas(self, steps: int) -> Floats:
        """The best alphas of ancestral reveal, (steps + 1,)."""
        return self._ancestral.optimal_alphas(steps)


def _beta_at(point: Floats, ranges: Ranges) -> Beta:
    """The schedule at a point in log scale; rounding of the exponential may leave the box, so it is clipped."""
    low, high = np.array([ranges[name] for name in PARAMETERS]).T
    return Beta(*np.clip(np.exp(point), low, high).tolist())


def _log_grid(ranges: Ranges) -> Floats:
    """log a and log b (n, 2) on a grid over the box."""
    axes = [np.linspace(math.log(low), math.log(high), SCAN) for low, high in (ranges[name] for name in PARAMETERS)]
    return _all_pairs(*axes)


def _all_pairs(first: Floats, second: Floats) -> Floats:
    """All pairs (n, 2) of the entries of two vectors."""
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
