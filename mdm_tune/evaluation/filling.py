"""What fills rows: the unmasking loop, in pieces that a pool deals out, or generate code of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.settings import Sampler, Setting, plan_of
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.external import ExternalSampler
from mdm_tune.sampling.pieces import DividedCall, LocalPool, Pool, UnmaskArguments, divide_unmask, results_of
from mdm_tune.sampling.unmasking import Plan, Step, Unmasked

__all__ = ["CodeFiller", "Filler", "PoolFiller", "Rows"]


@dataclass(frozen=True)
class Rows:
    """Rows to be filled: every row of start (rows, length) by the first setting, then by the next, in common batches.

    All settings have the same blocks. reference: as ``unmask`` has it, of each row of start. plan, drawing: in place of
    those of the settings, which then say the blocks.
    """

    settings: Sequence[Setting]
    start: Tensor
    seeds: NDArray[np.uint64]
    reference: Tensor | None = None
    plan: Plan | None = None
    drawing: Drawing | None = None

    def arguments(self, sampler: Sampler, mask_id: int) -> UnmaskArguments:
        """What ``sampling.unmask`` is called with, the rows of one setting after the other."""
        setting, copies = self.settings[0], len(self.settings)
        hidden, blocks = self.start == mask_id, None
        if not setting.one_block:
            blocks = ((hidden.cumsum(1) - 1) // setting.block_length).repeat(copies, 1)
        return UnmaskArguments(
            tokens=self.start.repeat(copies, 1),
            plan=self.plan or plan_of(self.settings, hidden.sum(1), sampler),
            seeds=np.tile(self.seeds, copies),
            drawing=self.drawing or sampler.drawing,
            blocks=blocks,
            batch=sampler.section.batch,
            reference=None if self.reference is None else self.reference.repeat(copies, 1),
        )


class Filler(Protocol):
    """What fills rows.

    pool: what is asked for predictions, as for a profile. shows_steps: whether ``on_step`` is shown anything.
    """

    @property
    def pool(self) -> Pool: ...

    @property
    def shows_steps(self) -> bool: ...

    def fill_each(
        self, wanted: Iterable[Rows], sampler: Sampler, on_step: Callable[[Step], None] | None = None
    ) -> Iterator[Unmasked]:
        """The results in this order, each as soon as it is there; the next are filled where devices are free.

        on_step: shown the steps of the first rows.
        """
        ...


@dataclass(frozen=True)
class PoolFiller:
    """The unmasking loop in pieces that a pool deals out.

    shown_by: the denoiser that fills rows in this process where their steps are shown and the pool is elsewhere.
    """

    pool: Pool
    shown_by: Denoiser | None = None
    shows_steps = True

    def fill_each(
        self, wanted: Iterable[Rows], sampler: Sampler, on_step: Callable[[Step], None] | None = None
    ) -> Iterator[Unmasked]:
        pool = self.pool if on_step is None or self.shown_by is None else LocalPool(self.shown_by)
        yield from results_of(pool, (_call(pool, rows, sampler, on_step) for rows in wanted))


@dataclass(frozen=True)
class CodeFiller:
    """Generate code of the user's own, in this process. pool: see ``Filler``; the code itself predicts nothing."""

    code: ExternalSampler
    pool: Pool
    shows_steps = False

    def fill_each(
        self, wanted: Iterable[Rows], sampler: Sampler, on_step: Callable[[Step], None] | None = None
    ) -> Iterator[Unmasked]:
        for rows in wanted:
            given = rows.arguments(sampler, self.pool.mask_id)
            yield self.code.unmask(
                given.tokens, given.plan, seeds=given.seeds, batch=given.batch, reference=given.reference
            )


def _call(pool: Pool, rows: Rows, sampler: Sampler, on_step: Callable[[Step], None] | None) -> DividedCall[Unmasked]:
    """The rows in pieces. Those of one example are in one, where identical ones, as at first, are computed once."""
    given = rows.arguments(sampler, pool.mask_id)
    mixed = torch.arange(len(given.tokens)).view(-1, len(rows.start)).T.flatten()
    found = divide_unmask(pool, given.reordered(mixed), on_step)
    back = mixed.argsort()
    return DividedCall(found.tasks, lambda answers: _ordered(found.join(answers), back))


def _ordered(result: Unmasked, order: Tensor) -> Unmasked:
    """The result with its rows in this order."""
    nll, bad = (None if each is None else each[order] for each in (result.nll, result.impossible))
    return Unmasked(
        tokens=result.tokens[order],
        nll=nll,
        nfe=result.nfe[order],
        denoiser_rows=result.denoiser_rows,
        denoiser_tokens=result.denoiser_tokens,
        impossible=bad,
    )
