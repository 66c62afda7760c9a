"""The two-parameter family on an information profile: many Beta(a, b) priced at once, the best and the nearly best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mdm_tune.schedules.blocks import Share, equal_shares
from mdm_tune.schedules.counts import CountRule, beta_grids, counts_of_grids
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.pricing import AncestralCurve, Optima, optima, price_counts

__all__ = ["Pricer"]

Floats = NDArray[np.float64]
Ranges = Mapping[str, tuple[float, float]]  # of a and of b
PARAMETERS = ("a", "b")
SCAN = 128  # points per axis of the first scan, in log scale
CELLS = 16  # cells per axis, the best point of each of which may be refined: prices have many valleys
ROUNDS, KEPT, LOCAL = 5, 24, 9  # then so often around so many of the best ones, with so many points per axis
SHRINK = 2.5
APART = 1e-9  # squared distance in log scale below which two points are one
SLACK = 0.25  # a nearly best point loses at most a quarter more than the best one


@dataclass(frozen=True)
class Pricer:
    """Prices schedules on one curve (length,), nats per token, as one sampler would use them.

    bernoulli: ancestral reveal; else fixed counts by ``rule``. block_length: equal to length without blocks. share: how
    the steps are shared out among the blocks.
    """

    curve: Floats
    block_length: int
    bernoulli: bool
    rule: CountRule
    share: Share = equal_shares

    @property
    def blocks(self) -> int:
        """How many blocks a sequence has."""
        return len(self.curve) // self.block_length

    @property
    def floor(self) -> float:
        """NELBO of one token per step, nats per sequence: on a curve that never rises no schedule goes below it."""
        return float(self.curve.sum())

    @cached_property
    def _ancestral(self) -> AncestralCurve:
        return AncestralCurve(self.curve)

    def betas(self, points: Floats, steps: int) -> Floats:
        """NELBO (n,), nats per sequence, at ``steps`` steps in all of the schedules Beta(a, b); points (n, 2): a and b.

        Raises InputError where the blocks cannot share the steps.
        """
        a, b = points.T
        if self.bernoulli:
            return self._ancestral.price(beta_grids(a, b, steps))
        shares = self.share(steps, len(self.curve), self.block_length)
        if self.rule == "one-per-step" and steps >= len(self.curve):
            return np.full(len(points), self.floor)  # one token a step
        inside = {each: counts_of_grids(beta_grids(a, b, each), self.block_length, self.rule) for each in set(shares)}
        return price_counts(self.curve, np.concatenate([inside[each] for each in shares], axis=1))

    def best_beta(self, steps: int, ranges: Ranges) -> Beta:
        """The Beta(a, b) of least price in a box, by a scan in log scale, refined where its cells are cheapest.

        Integer counts make the price a step function: of the points that tie, the one nearest their centre is taken.

        Args:
            steps: the budget.
            ranges: the least and the largest value of ``a`` and of ``b``, above 0.

        Raises:
            InputError: the blocks cannot share the steps.
        """
        box = np.log([ranges[name] for name in PARAMETERS])
        width = np.diff(box)[:, 0] / (SCAN - 1)
        points = _scan(ranges)
        values = self.betas(np.exp(points), steps)
        by_cell = values.reshape(CELLS, SCAN // CELLS, CELLS, SCAN // CELLS).swapaxes(1, 2).reshape(CELLS**2, -1)
        number = np.arange(SCAN**2).reshape(CELLS, SCAN // CELLS, CELLS, SCAN // CELLS).swapaxes(1, 2)
        best = number.reshape(CELLS**2, -1)[np.arange(CELLS**2), by_cell.argmin(axis=1)]
        centres = points[best[np.argsort(values[best], kind="stable")[:KEPT]]]
        offsets = np.linspace(-1, 1, LOCAL)
        for _ in range(ROUNDS):
            around = centres[:, None] + _mesh(offsets * width[0], offsets * width[1])
            fresh = np.clip(around.reshape(-1, 2), box[:, 0], box[:, 1])
            points = np.concatenate([points, fresh])
            values = np.concatenate([values, self.betas(np.exp(fresh), steps)])
            _, first = np.unique(values, return_index=True)  # one point of each price, the cheapest first
            centres = points[first[:KEPT]]
            width = width / SHRINK
        cheapest = np.flatnonzero(values <= values.min() + 1e-12 * abs(values.min()))
        scanned = cheapest[cheapest < SCAN**2]  # evenly spread, as those of the refinement are not
        tied = points[scanned if len(scanned) else cheapest]
        middle = tied[np.argmin(((tied - tied.mean(axis=0)) ** 2).sum(axis=1))]
        return _inside(middle, ranges)

    def near_best(self, steps: int, ranges: Ranges, number: int) -> list[Beta]:
        """``best_beta`` and points of the box that lose little more than it, each far from all before it in log scale.

        A point qualifies if its price lies above ``floor`` by at most a quarter more than the best one's.

        Args:
            steps: the budget.
            ranges: as in ``best_beta``.
            number: points at most, the best one among them.

        Raises:
            InputError: the blocks cannot share the steps.
        """
        best = self.best_beta(steps, ranges)
        chosen = [best]
        points = _scan(ranges)
        values = self.betas(np.exp(points), steps)
        least = float(self.betas(np.array([[best.a, best.b]]), steps)[0])
        good = points[values <= least + SLACK * max(least - self.floor, 0.0)]
        while len(chosen) < number and len(good):
            known = np.log([[beta.a, beta.b] for beta in chosen])
            apart = ((good[:, None] - known) ** 2).sum(axis=2).min(axis=1)
            if apart.max() < APART:
                break
            chosen.append(_inside(good[apart.argmax()], ranges))
        return chosen

    def optimum_counts(self, most: int) -> Optima:
        """The best counts for 1 .. most steps in one sweep, the steps shared out among the blocks as is best."""
        return optima(self.curve, most, self.block_length)

    def counts_of(self, sweep: Optima, steps: int) -> tuple[int, ...]:
        """The best counts (steps,) of a sweep; where the rule allows steps without tokens, of at most ``steps``."""
        if self.rule == "one-per-step":
            return sweep.counts(steps)
        fewer = sweep.fewest + int(np.argmin(sweep.nelbo[sweep.fewest - 1 : steps]))
        return sweep.counts(fewer) + (0,) * (steps - fewer)

    def optimum_alphas(self, steps: int) -> Floats:
        """The best ancestral grid (steps + 1,)."""
        return self._ancestral.optimal_alphas(steps)


def _inside(point: Floats, ranges: Ranges) -> Beta:
    """The schedule at a point in log scale; the exponential of a logarithm may lie outside the box by its rounding."""
    low, high = np.array([ranges[name] for name in PARAMETERS]).T
    return Beta(*np.clip(np.exp(point), low, high).tolist())


def _scan(ranges: Ranges) -> Floats:
    """The logarithms of a and b (n, 2) on a grid over the box."""
    axes = [np.linspace(math.log(low), math.log(high), SCAN) for low, high in (ranges[name] for name in PARAMETERS)]
    return _mesh(*axes)


def _mesh(first: Floats, second: Floats) -> Floats:
    """All pairs (n, 2)."""
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
