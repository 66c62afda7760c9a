"""What a search can reach at a budget: the distinct counts of the box, and the steps of each block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mdm_tune.blocks import Shares
from mdm_tune.config.file import SearchConfig
from mdm_tune.evaluation import Evaluator
from mdm_tune.search.proposals import reachable_counts

__all__ = ["Reach", "reach_of"]


@dataclass(frozen=True)
class Reach:
    """One budget in one kind of blocks, before its search.

    block_length: None for one block. steps_of_blocks: None for ancestral reveal, and where a profile that is not
    measured yet will say. counts: distinct count vectors that a scan of the box meets; None likewise.
    """

    steps: int
    block_length: int | None
    steps_of_blocks: Shares | None
    counts: int | None
    ancestral: bool = False


def reach_of(
    evaluator: Evaluator, budgets: Sequence[int], search: SearchConfig, *, known: bool = True
) -> Iterator[Reach]:
    """Every budget in every kind of blocks that is compared. known: whether it is known how blocks share the steps."""
    for steps in budgets:
        for size in evaluator.block_lengths:
            here = evaluator.at(size)
            if evaluator.sampler.bernoulli or not (known or size is None):
                yield Reach(
                    steps=steps,
                    block_length=size,
                    steps_of_blocks=None,
                    counts=None,
                    ancestral=evaluator.sampler.bernoulli,
                )
                continue
            yield Reach(
                steps=steps,
                block_length=size,
                steps_of_blocks=here.steps_of_blocks(steps),
                counts=len(reachable_counts(here, steps, search)),
            )
