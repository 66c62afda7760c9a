"""How many positions a step reveals: fixed counts, ancestral reveal, or as many as the predictions allow.

A plan is data, one entry per row. A ``StepRule`` is the plan at work, called before and after each prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.sampling.drawing import Drawing, Order, confidence, in_rows, top

__all__ = [
    "AdaptivePlan",
    "CapPlan",
    "CountPlan",
    "EntropyBoundPlan",
    "Found",
    "KlassPlan",
    "Plan",
    "QuotaPlan",
    "RevealPlan",
    "StepRule",
    "ThresholdPlan",
    "check_plan",
    "step_rule_of",
]

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROUNDING = 1e-9  # a sum of entropies this close to its bound keeps to it
LAST = np.iinfo(np.int64).max  # above every block


@dataclass(frozen=True)
class CountPlan:
    """Fixed counts: step i of block b reveals ``counts[row, b, i]`` positions of that block.

    counts (rows, blocks, steps) int64, each at least 0; every block's counts sum to its masked positions.
    """

    counts: Tensor


@dataclass(frozen=True)
class RevealPlan:
    """Ancestral (bernoulli) reveal on a grid of the mask schedule.

    alphas (rows, steps + 1) float64, from 0 up to 1; a masked position is revealed at step i with probability
    (alpha_{i+1} - alpha_i) / (1 - alpha_i), independently of all others.
    """

    alphas: Tensor


@dataclass(frozen=True)
class ThresholdPlan:
    """Every candidate whose confidence is at least the threshold, and the best one in any case, until a row is full.

    threshold (rows,) at least 0, which reveals a block at once; above 1 it is one position per step. Confidence is the
    probability of the drawn token, the largest probability or the margin, by the order.
    Source: arXiv:2505.22618 (Fast-dLLM).
    """

    threshold: Tensor


@dataclass(frozen=True)
class EntropyBoundPlan:
    """The most candidates of least entropy whose entropies but for the largest sum to at most the bound; order entropy.

    bound (rows,) in nats, at least 0, where one position per step is revealed and all that are certain.
    Source: arXiv:2505.24857 (EB-Sampler): sum H - max H <= bound, which bounds their mutual information.
    """

    bound: Tensor


@dataclass(frozen=True)
class QuotaPlan:
    """At least the counts, more where confident, and a block that is full early leaves its other steps out.

    A step reveals all candidates above the threshold where these are at least its count, else as many of the best.
    counts (rows, blocks, steps) int64 as in ``CountPlan``, whose counts of 0 are no steps. threshold (rows,) as in
    ``ThresholdPlan``, but to be exceeded, so that 1 gives ``CountPlan``. Source: ``BlockRefinementScheduler`` of
    Hugging Face diffusers, which samples LLaDA2.
    """

    counts: Tensor
    threshold: Tensor


@dataclass(frozen=True)
class CapPlan:
    """At most the counts, fewer where the model is not confident, and at least one; a row goes on until it is full.

    A step reveals the candidates above the threshold, and of these as many of the best as its count; where none is
    above, the best one. The last count of a block holds for all further steps in it. counts (rows, blocks, steps) int64
    as in ``CountPlan``, whose counts of 0 are no steps. threshold (rows,) as in ``QuotaPlan``: 1 is one position per
    step. A threshold of 0 holds nothing back, which gives ``CountPlan``. Source: mlx-vlm's sampler of LLaDA2
    (``max_transfer_per_step``), whose count is the same at each step.
    """

    counts: Tensor
    threshold: Tensor


@dataclass(frozen=True)
class KlassPlan:
    """Every candidate above the threshold whose prediction is stable; where there is none, the best one.

    A prediction is stable if KL(p_i || p_{i-1}) and KL(p_{i-1} || p_{i-2}) are both below ``kl``, p_i being the
    prediction of the position at the row's call i. So the first two calls of a row reveal one position each, and so
    does the first call in each block; the last call in the block before counts as a call before it. p is the softmax of
    the logits, at temperature 1 and top_p 1, without tokens that are never drawn. The order has the meaning that it has
    for ``ThresholdPlan``, and the threshold is to be exceeded: 1 is one position per step.

    To compare across blocks, the next block is predicted too, and the last prediction of each of these positions is
    kept (``sampling.stability``). threshold (rows,) at least 0. kl (rows,) in nats, at least 0, which is never stable.
    Source: arXiv:2511.05664 (KLASS) and its code for LLaDA, with a history of 2.
    """

    threshold: Tensor
    kl: Tensor


AdaptivePlan = ThresholdPlan | EntropyBoundPlan | QuotaPlan | CapPlan | KlassPlan
Plan = CountPlan | RevealPlan | AdaptivePlan


class Found(NamedTuple):
    """What was predicted at the n wanted positions of a step, row by row.

    Attributes:
        row: (n,) int64, their rows, ascending.
        column: (n,) int64, their positions, ascending within a row.
        tokens: (n,) int64, a token for each.
        scores: (n,) float64, what ranks them, larger first; empty in random order.
        unscattered: (n,) float64, the same at a confidence temperature of 0.
        log_prob: (n,) float64, the log probability of the reference; empty without one.
        changes: (n,) float64, how much their predictions have changed, for a ``KlassPlan``; else empty.
    """

    row: Integers
    column: Integers
    tokens: Integers
    scores: Floats
    unscattered: Floats
    log_prob: Floats
    changes: Floats


class StepRule(Protocol):
    """A plan at work on rows of one call: which positions to predict, and which of them to reveal."""

    def wanted(self, hidden: Booleans) -> Booleans | None:
        """Positions (rows, length) to predict at the next step, all of them hidden; None after the last step."""
        ...

    def chosen(self, found: Found) -> Integers | slice:
        """Which of the wanted positions to reveal, by their number. At least one position was wanted."""
        ...


def step_rule_of(
    plan: Plan, drawing: Drawing, hidden: Booleans, blocks: Tensor | None, once: Callable[[], Floats]
) -> StepRule:
    """Return the rule of a plan that ``check_plan`` has passed.

    Args:
        plan: The plan.
        drawing: How positions are ranked.
        hidden: (rows, length) bool, the positions to fill.
        blocks: (rows, length) int64, as for ``unmask``.
        once: Returns (rows, length) float64, one uniform per position, for random order and ancestral reveal.
    """
    block_of = None if blocks is None else blocks.numpy()
    if isinstance(plan, RevealPlan):
        return _RandomRule(_steps_of_reveal(plan, hidden, once()), plan.alphas.shape[1] - 1)
    if isinstance(plan, KlassPlan):
        return _KlassRule(plan, drawing.order, block_of, hidden)
    if not isinstance(plan, CountPlan):
        return _AdaptiveRule(plan, drawing.order, block_of, hidden)
    if drawing.order == "random":
        return _RandomRule(
            _steps_of_counts(plan, hidden, block_of, once()), plan.counts.shape[1] * plan.counts.shape[2]
        )
    return _RankedRule(plan, block_of)


def _steps_of_reveal(plan: RevealPlan, hidden: Booleans, once: Floats) -> Integers:
    """The step (rows, length) that reveals each hidden position, -1 elsewhere.

    One uniform per position, revealed at the first step whose alpha exceeds it, is the ancestral law exactly.
    """
    passed = torch.searchsorted(plan.alphas[:, 1:].contiguous(), torch.from_numpy(once), right=True)
    return np.where(hidden, passed.numpy(), -1)


def _steps_of_counts(plan: CountPlan, hidden: Booleans, blocks: Integers | None, once: Floats) -> Integers:
    """The step (rows, length) that reveals each hidden position, -1 elsewhere; ``once`` orders those of a block."""
    counts, step_of = plan.counts.numpy(), np.full(hidden.shape, -1)
    rows, steps = counts.shape[0], counts.shape[2]
    for block in range(counts.shape[1]):
        inside = hidden if blocks is None else hidden & (blocks == block)
        order = np.where(inside, once, np.inf).argsort(axis=1, kind="stable")
        first = np.arange(order.shape[1]) < inside.sum(axis=1)[:, None]  # the places of these positions in the order
        numbers = np.tile(np.arange(steps) + block * steps, rows)
        step_of[first.nonzero()[0], order[first]] = numbers.repeat(counts[:, block].ravel())
    return step_of


class _RandomRule:
    """Positions whose steps are known in advance, so that only what a step reveals is predicted."""

    def __init__(self, step_of: Integers, steps: int) -> None:
        self.step_of, self.steps, self.step = step_of, steps, -1

    def wanted(self, hidden: Booleans) -> Booleans | None:
        self.step += 1
        return None if self.step == self.steps else hidden & (self.step_of == self.step)

    def chosen(self, found: Found) -> Integers | slice:
        return slice(None)


class _RankedRule:
    """Counts that are known in advance, of positions that the predictions rank."""

    def __init__(self, plan: CountPlan, blocks: Integers | None) -> None:
        counts = plan.counts.numpy()
        self.counts = counts.reshape(len(counts), counts.shape[1] * counts.shape[2]).T  # (all steps, rows)
        busy = self.counts > 0
        self.busy, self.all_busy = busy[..., None], np.logical_and.reduce(busy, axis=1)
        self.blocks, self.per_block, self.step = blocks, counts.shape[2], -1

    def wanted(self, hidden: Booleans) -> Booleans | None:
        self.step += 1
        if self.step == len(self.counts):
            return None
        inside = hidden if self.blocks is None else hidden & (self.blocks == self.step // self.per_block)
        return inside if self.all_busy[self.step] else np.asarray(inside & self.busy[self.step])

    def chosen(self, found: Found) -> Integers:
        return top(found.scores, found.row, self.counts[self.step])


class _AdaptiveRule:
    """Each row in its own lowest block that is not full, until none is left."""

    def __init__(self, plan: AdaptivePlan, order: Order, blocks: Integers | None, hidden: Booleans) -> None:
        self.plan, self.order = plan, order
        self.blocks = np.zeros(hidden.shape, dtype=np.int64) if blocks is None else blocks
        self.block = self.step = np.full(len(hidden), -1)  # of each row; step within it
        if isinstance(plan, QuotaPlan | CapPlan):  # its counts above 0, moved to the front
            counts = plan.counts.numpy()
            self.counts = np.take_along_axis(counts, (counts == 0).argsort(axis=2, kind="stable"), axis=2)

    def wanted(self, hidden: Booleans) -> Booleans | None:
        if not hidden.any():
            return None
        block = np.where(hidden, self.blocks, LAST).min(axis=1)
        self.step = np.where(block == self.block, self.step + 1, 0)
        self.block = block
        return np.asarray(hidden & (self.blocks == block[:, None]))

    def chosen(self, found: Found) -> Integers:
        return top(found.scores, found.row, self._sure(found).clip(min=1))

    def _sure(self, found: Found) -> Integers:
        """How many of the best positions (rows,) the plan allows; the best one is revealed in any case."""
        if isinstance(self.plan, EntropyBoundPlan):
            return _within(self.plan.bound.numpy(), found)
        sure = confidence(self.order, torch.from_numpy(found.scores)).numpy()
        threshold = self.plan.threshold.numpy()
        least = threshold[found.row]
        if isinstance(self.plan, ThresholdPlan):
            return self._in_rows(found, sure >= least)
        if isinstance(self.plan, CapPlan):
            return np.minimum(self._in_rows(found, (sure > least) | (least == 0)), self._count(last=True))
        return np.maximum(self._in_rows(found, sure > least), self._count(last=False))

    def _in_rows(self, found: Found, which: Booleans) -> Integers:
        """How many of these positions (n,) each row has."""
        return np.bincount(found.row[which], minlength=len(self.step))

    def _count(self, *, last: bool) -> Integers:
        """The count (rows,) of each row's step; after the last step of its block 0, or the last count again."""
        rows, blocks, steps = self.counts.shape  # a row that is full has no block, and nothing wanted
        counts = self.counts[np.arange(rows), self.block.clip(max=blocks - 1)]
        most = (counts > 0).sum(axis=1) - 1 if last else steps - 1
        return np.asarray(counts[np.arange(rows), np.minimum(self.step, most).clip(min=0)])


class _KlassRule:
    """As ``_AdaptiveRule``, by confidence and stability; the next block is predicted too."""

    def __init__(self, plan: KlassPlan, order: Order, blocks: Integers | None, hidden: Booleans) -> None:
        self.within = _AdaptiveRule(plan, order, blocks, hidden)
        self.threshold, self.kl, self.order = plan.threshold.numpy(), plan.kl.numpy(), order
        self.candidates = hidden
        self.stable = np.zeros_like(hidden)  # whether the last change was below the bound

    def wanted(self, hidden: Booleans) -> Booleans | None:
        candidates = self.within.wanted(hidden)
        if candidates is None:
            return None
        self.candidates = candidates
        later = hidden & ~candidates
        following = np.where(later, self.within.blocks, LAST).min(axis=1)
        return np.asarray(candidates | later & (self.within.blocks == following[:, None]))

    def chosen(self, found: Found) -> Integers:
        row, column = found.row, found.column
        sure = confidence(self.order, torch.from_numpy(found.scores)).numpy()
        stable, before = found.changes < self.kl[row], self.stable[row, column]
        self.stable = np.zeros_like(self.stable)
        self.stable[row, column] = stable
        now = self.candidates[row, column]  # not those of the next block
        ready = now & (sure > self.threshold[row]) & stable & before & (self.within.step[row] > 0)
        missing = np.bincount(row[ready], minlength=len(self.kl)) == 0  # rows where no position is ready
        numbers = now.nonzero()[0]
        best = numbers[top(found.scores[numbers], row[numbers], missing.astype(np.int64))]
        return np.concatenate([ready.nonzero()[0], best])


def _within(bound: Floats, found: Found) -> Integers:
    """How many positions (rows,) of least entropy (-score): each whose predecessors sum to at most the bound."""
    entropy, _ = in_rows(-found.scores, found.row, len(bound))
    entropy.sort(axis=1)
    before = np.zeros_like(entropy)
    np.cumsum(entropy[:, :-1], axis=1, out=before[:, 1:])
    return np.asarray(((before <= bound[:, None] + ROUNDING) & np.isfinite(entropy)).sum(axis=1))


def check_plan(plan: Plan, drawing: Drawing, hidden: Tensor, blocks: Tensor | None) -> None:
    """Raise InputError where the plan fits neither the hidden positions (rows, length) and blocks nor the drawing."""
    if isinstance(plan, RevealPlan):
        _check_alphas(plan.alphas, drawing, len(hidden), blocks)
    if isinstance(plan, CountPlan | QuotaPlan | CapPlan):
        _check_counts(plan.counts, hidden, blocks)
    if isinstance(plan, AdaptivePlan):
        _check_adaptive(plan, drawing, len(hidden))


def _check_alphas(alphas: Tensor, drawing: Drawing, rows: int, blocks: Tensor | None) -> None:
    if drawing.order != "random" or blocks is not None:
        raise InputError(
            f"ancestral reveal picks its own positions: order must be 'random' without blocks, got {drawing.order!r}"
        )
    good = alphas.ndim == 2 and alphas.shape[0] == rows and alphas.shape[1] >= 2
    if not good or bool((alphas[:, 0] != 0).any() | (alphas[:, -1] != 1).any() | ~(alphas.diff(dim=1) >= 0).all()):
        raise InputError(f"alphas must be (rows, steps + 1) and increase from 0 to 1 in every row, got {alphas}")


def _check_counts(counts: Tensor, hidden: Tensor, blocks: Tensor | None) -> None:
    rows = len(hidden)
    whole = counts.ndim == 3 and counts.dtype == torch.int64 and counts.shape[0] == rows and counts.shape[1] > 0
    if not whole or np.minimum.reduce(counts.numpy(), axis=None, initial=0) < 0:
        raise InputError(
            f"counts must be (rows, blocks, steps) int64 and not negative, got {tuple(counts.shape)} {counts.dtype} "
            f"for {quantity(rows, 'row')}"
        )
    numbers, shown = counts.numpy(), hidden.numpy()  # numpy, and then lists, are faster where there are few numbers
    total, in_row = (np.add.reduce(each, axis=-1, dtype=np.int64).tolist() for each in (numbers, shown))
    masked = [[count] for count in in_row]
    if blocks is not None:
        places = blocks.numpy()
        inside = [(shown & (places == block)).sum(axis=1) for block in range(numbers.shape[1])]
        masked = np.stack(inside, axis=1).tolist()
    if total == masked and (blocks is None or [sum(row) for row in masked] == in_row):
        return
    for row, (found, wanted, count) in enumerate(zip(total, masked, in_row, strict=True)):
        if found != wanted or sum(wanted) != count:
            raise InputError(
                f"the counts of each block must sum to its masked positions, got {found} for {wanted} in row {row} "
                f"with {count} masked positions"
            )


def _check_adaptive(plan: AdaptivePlan, drawing: Drawing, rows: int) -> None:
    name = "bound" if isinstance(plan, EntropyBoundPlan) else "threshold"
    numbers = {name: getattr(plan, name)} | ({"kl": plan.kl} if isinstance(plan, KlassPlan) else {})
    for what, values in numbers.items():
        if values.shape != (rows,) or not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
            raise InputError(f"{what} must be ({rows},), one number per row, finite and at least 0, got {values}")
    orders = ("entropy",) if name == "bound" else ("confidence", "top-probability", "margin")
    if drawing.order not in orders:
        raise InputError(
            f"a plan with a {name} needs the order {' or '.join(map(repr, orders))}, got {drawing.order!r}; set it"
        )
    if drawing.confidence_temperature > 0:
        raise InputError(
            f"a plan with a {name} reveals by confidence alone: confidence_temperature must be 0, got "
            f"{drawing.confidence_temperature}; leave it out"
        )
