"""How rows are filled: by the unmasking loop, in pieces that a pool computes, or by the user's own generate code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.settings import Sampler, Setting, drawing_of, plan_of
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.external import ExternalSampler
from mdm_tune.sampling.pieces import (
    CountedPool,
    DividedCall,
    LocalPool,
    Pool,
    UnmaskArguments,
    divide_unmask,
    longest_first,
    results_of,
)
from mdm_tune.sampling.unmasking import Step, Unmasked

__all__ = ["CodeFiller", "Filler", "PoolFiller", "Rows", "rows_of_result"]


@dataclass(frozen=True)
class Rows:
    """Rows to fill: every start row with the first setting, then every start row with the next, in common batches.

    Attributes:
        settings: The settings, all with the same block length and ``form``.
        start: (rows, length) int64, the rows before the first step.
        seeds: (rows,) uint64, the seed of each row.
        reference: (rows, length) int64, as in ``unmask``; None if no reference is priced.
        drawing: Replaces the drawing of the settings; None for their own.
        most_calls: The rows may be left unfinished once they make more calls than this in all. The calls of the result
            are then at least those that were made.
    """

    settings: Sequence[Setting]
    start: Tensor
    seeds: NDArray[np.uint64]
    reference: Tensor | None = None
    drawing: Drawing | None = None
    most_calls: float = math.inf

    def arguments(self, sampler: Sampler, mask_id: int) -> UnmaskArguments:
        """The arguments of ``sampling.unmask``, with the rows of one setting after those of another."""
        setting, copies = self.settings[0], len(self.settings)
        hidden, blocks = self.start == mask_id, None
        if not setting.one_block:
            blocks = ((hidden.cumsum(1) - 1) // setting.block_length).repeat(copies, 1)
        return UnmaskArguments(
            tokens=self.start.repeat(copies, 1),
            plan=plan_of(self.settings, hidden.sum(1), sampler),
            seeds=np.tile(self.seeds, copies),
            drawing=self.drawing or drawing_of(setting, sampler),
            blocks=blocks,
            batch=sampler.section.batch,
            reference=None if self.reference is None else self.reference.repeat(copies, 1),
            most_calls=self.most_calls,
        )


class Filler(Protocol):
    """Fills rows.

    Attributes:
        pool: Computes predictions, for example for a profile.
        shows_steps: Whether ``on_step`` is called.
    """

    @property
    def pool(self) -> Pool: ...

    @property
    def shows_steps(self) -> bool: ...

    def fill_each(
        self, wanted: Iterable[Rows], sampler: Sampler, on_step: Callable[[Step], None] | None = None
    ) -> Iterator[Unmasked]:
        """Yield the results in order, each as soon as it is ready. Free devices already fill the next rows.

        Args:
            wanted: The rows to fill; read lazily.
            sampler: How tokens are revealed.
            on_step: Called with each step of the first rows.
        """
        ...

    def counted(self, count: Callable[[int], None]) -> Filler:
        """The same filler. It calls ``count`` with the denoiser rows of each piece of work, predictions included."""
        ...


@dataclass(frozen=True)
class PoolFiller:
    """Fills rows by the unmasking loop, in pieces that a pool computes.

    Attributes:
        pool: Computes the pieces.
        shown_by: The denoiser that fills rows in this process if steps are shown and the pool is elsewhere.
    """

    pool: Pool
    shown_by: Denoiser | None = None
    shows_steps = True

    def fill_each(
        self, wanted: Iterable[Rows], sampler: Sampler, on_step: Callable[[Step], None] | None = None
    ) -> Iterator[Unmasked]:
        pool = self.pool if on_step is None or self.shown_by is None else LocalPool(self.shown_by)
        yield from results_of(pool, (_divided_call(pool, rows, sampler, on_step) for rows in wanted))

    def counted(self, count: Callable[[int], None]) -> PoolFiller:
        return replace(self, pool=CountedPool(self.pool, count))


@dataclass(frozen=True)
class CodeFiller:
    """Fills rows by the user's own generate code, in this process.

    Attributes:
        code: The code.
        pool: See ``Filler``; the code itself computes no predictions.
        count: Called with the denoiser rows of each call of the code.
    """

    code: ExternalSampler
    pool: Pool
    count: Callable[[int], None] = lambda rows: None
    shows_steps = False

    def fill_each(
        self, wanted: Iterable[Rows], sampler: Sampler, on_step: Callable[[Step], None] | None = None
    ) -> Iterator[Unmasked]:
        for rows in wanted:
            call = rows.arguments(sampler, self.pool.mask_id)
            result = self.code.unmask(
                call.tokens, call.plan, seeds=call.seeds, batch=call.batch, reference=call.reference
            )
            self.count(result.denoiser_rows)
            yield result

    def counted(self, count: Callable[[int], None]) -> CodeFiller:
        return replace(self, count=count, pool=CountedPool(self.pool, count))


def _divided_call(
    pool: Pool, rows: Rows, sampler: Sampler, on_step: Callable[[Step], None] | None
) -> DividedCall[Unmasked]:
    """The call that fills the rows, in pieces. All rows of one example are in one piece.

    These rows are identical before the first step, and a piece computes identical rows once. Examples are sorted by
    length, so that a piece has little padding. The longest come first: replicas then end at about the same time, and
    a batch that does not fit in memory fails at once. Steps that are shown are those of the first examples.
    """
    arguments = rows.arguments(sampler, pool.mask_id)
    by_example = torch.arange(len(arguments.tokens)).view(-1, len(rows.start)).T
    if on_step is None:
        by_example = by_example[longest_first(rows.start)]
    by_example = by_example.flatten()
    call = divide_unmask(pool, arguments.reordered(by_example), on_step)
    original_order = by_example.argsort()
    return DividedCall(call.tasks, lambda answers: _reordered(call.join(answers), original_order))


def _reordered(result: Unmasked, order: Tensor) -> Unmasked:
    """The result with its rows in this order."""
    return Unmasked(
        tokens=result.tokens[order],
        nll=None if result.nll is None else result.nll[order],
        nfe=result.nfe[order],
        denoiser_rows=result.denoiser_rows,
        denoiser_tokens=result.denoiser_tokens,
        impossible=None if result.impossible is None else result.impossible[order],
        revealed=None if result.revealed is None else result.revealed[order],
    )


def rows_of_result(result: Unmasked, first: int, count: int) -> Unmasked:
    """``count`` rows of a result from row ``first`` on. Their cost is 0, since it is counted for the whole."""
    rows = slice(first, first + count)
    return Unmasked(
        tokens=result.tokens[rows],
        nll=None if result.nll is None else result.nll[rows],
        nfe=result.nfe[rows],
        denoiser_rows=0,
        denoiser_tokens=0,
        impossible=None if result.impossible is None else result.impossible[rows],
        revealed=None if result.revealed is None else result.revealed[rows],
    )
