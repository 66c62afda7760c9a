"""The box of Beta(a, b) that a search explores: its starting points, grid and Sobol points, and distinct counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mdm_tune.config.file import SearchConfig, SpaceConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Scores
from mdm_tune.evaluation.settings import Key, Setting
from mdm_tune.schedules.blocks import Shares
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.search.improvement import sobol

__all__ = [
    "FILLING",
    "START",
    "BudgetOutlook",
    "Guide",
    "given_points",
    "outlook_of",
    "reachable_counts",
    "same_counts",
]

START = (Beta(0.5, 0.5), Beta(1.0, 1.0))  # linear and squared-sine, always trials 0 and 1
GRID = tuple(i / 10 for i in range(1, 11))  # the paper's grid, for a and for b
SCANS = (48, 96, 192)  # points per axis of the scans for reachable counts, finer if few were found
FILLING = 6  # trials that cover the box, with the starting points, before a sampler proposes


@dataclass(frozen=True)
class Guide:
    """What an information profile contributes to the search of one budget.

    Attributes:
        points: Proposals after linear and squared-sine; unused by the strategy ``grid``.
        price: A trial's value without a denoiser call; None if the profile does not price the objective.
        choose: A finalist's scores on the choose split without a denoiser call; None likewise.
        optimum: The schedule of the baseline ``optimum``; None if there is none.
    """

    points: tuple[Beta, ...] = ()
    price: Callable[[Setting], float] | None = None
    choose: Callable[[Setting], Scores] | None = None
    optimum: Schedule | None = None


@dataclass(frozen=True)
class BudgetOutlook:
    """What is known about a budget in one block length before its search.

    Attributes:
        steps: The step budget.
        block_length: Positions per block.
        steps_of_blocks: Steps of each block; None for ancestral reveal, and if a profile will decide it.
        counts: The number of distinct count vectors that a scan of the box finds; None likewise.
        ancestral: Whether reveal is ancestral.
    """

    steps: int
    block_length: int
    steps_of_blocks: Shares | None
    counts: int | None
    ancestral: bool = False


def outlook_of(
    evaluator: Evaluator, budgets: Sequence[int], search: SearchConfig, *, known: bool = True
) -> Iterator[BudgetOutlook]:
    """Yield what is known about every budget in every block length before the search.

    Args:
        evaluator: The evaluator.
        budgets: The step budgets.
        search: The search section of the config.
        known: Whether the division of steps among blocks is known.
    """
    for steps in budgets:
        for size in evaluator.block_lengths:
            in_blocks = evaluator.in_blocks(size)
            if evaluator.sampler.bernoulli or not (known or in_blocks.one_block):
                yield BudgetOutlook(
                    steps=steps,
                    block_length=size,
                    steps_of_blocks=None,
                    counts=None,
                    ancestral=evaluator.sampler.bernoulli,
                )
                continue
            yield BudgetOutlook(
                steps=steps,
                block_length=size,
                steps_of_blocks=in_blocks.steps_of_blocks(steps),
                counts=len(reachable_counts(in_blocks, steps, search)),
            )


def given_points(search: SearchConfig, seed: int, steps: int, points: Sequence[Beta] = ()) -> list[Beta]:
    """The proposals that need no sampler, in order.

    Args:
        search: The search section of the config.
        seed: Seed of the run.
        steps: The step budget.
        points: Proposals of a guide; unused by the strategy ``grid``.

    Returns:
        Linear and squared-sine; then the grid in random order, or the guide's points and a Sobol sequence.
    """
    if search.strategy == "grid":
        grid = [beta for a in GRID for b in GRID if (beta := Beta(a, b)) in search.space]
        shuffled = np.random.default_rng(derive_seed(seed, "grid", steps)).permutation(len(grid))
        return [*START, *(grid[i] for i in shuffled if grid[i] not in START)]
    first_points = [*START, *points]
    count = search.trials if search.strategy == "qmc" else FILLING
    return [*first_points, *_sobol(search.space, seed, steps, count)[: max(0, count - len(first_points))]]


def reachable_counts(evaluator: Evaluator, steps: int, search: SearchConfig) -> set[Key]:
    """The keys of the distinct counts that a scan of the box finds, and of the starting points.

    If there are fewer keys than trials, all of them could be scored. The scan is then refined until it finds no more,
    up to 192 points per axis. Otherwise the keys are some of those in the box.

    Args:
        evaluator: The evaluator for the block length.
        steps: The step budget.
        search: The search section of the config.
    """
    keys = {evaluator.setting(schedule, steps).key for schedule in START}
    if same_counts(evaluator, steps):
        return keys
    for points in SCANS:
        before = len(keys)
        axes = (np.geomspace(*ends, points) for ends in search.space.ranges.values())
        a, b = (axis.ravel() for axis in np.meshgrid(*axes))
        keys |= evaluator.beta_keys(a, b, steps)
        if len(keys) > search.trials or (points > SCANS[0] and len(keys) == before):
            break
    return keys


def same_counts(evaluator: Evaluator, steps: int) -> bool:
    """Whether every schedule reveals each block at once, or one token per step, so that there is nothing to tune.

    Args:
        evaluator: The evaluator for the block length.
        steps: The step budget.
    """
    if evaluator.sampler.bernoulli:
        return steps == 1
    most = evaluator.block_length if evaluator.sampler.section.counts == "one-per-step" else None
    return all(share == 1 or (most is not None and share >= most) for share in evaluator.steps_of_blocks(steps))


def _sobol(space: SpaceConfig, seed: int, steps: int, count: int) -> list[Beta]:
    """Points of a scrambled Sobol sequence, uniform in log a and log b."""
    unit = sobol(count, 2, np.random.default_rng(derive_seed(seed, "qmc", steps)))
    low, high = np.log([space.a, space.b]).T
    return [Beta(float(a), float(b)) for a, b in np.exp(low + unit * (high - low))]
