"""The box of Beta(a, b) that a search explores: starting points, proposals without a sampler, and the counts in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mdm_tune.config.file import SearchConfig, SpaceConfig
from mdm_tune.core.seeding import derive_seed
from mdm_tune.evaluation.evaluator import Evaluator, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.blocks import Shares
from mdm_tune.schedules.curves import Beta, Schedule

__all__ = ["FILLING", "START", "BudgetOutlook", "Guide", "given_points", "outlook_of", "reachable_counts"]

START = (Beta(0.5, 0.5), Beta(1.0, 1.0))  # linear and squared-sine, always trials 0 and 1
GRID = tuple(i / 10 for i in range(1, 11))  # the paper's, for a and for b
SCANS = (48, 96, 192)  # points per axis when looking for reachable counts, finer where few were found
FILLING = 6  # trials that spread over the box, the starting points among them, before a sampler is asked


@dataclass(frozen=True)
class Guide:
    """What an information profile tells the study of one budget.

    points: proposals that follow linear and squared-sine, in every strategy but the grid, whose points are its own.
    price: a trial's value without a denoiser call, where the profile prices the objective itself, and choose a
    finalist's on the choose split. optimum: what the baseline of that name stands for.
    """

    points: tuple[Beta, ...] = ()
    price: Callable[[Setting], float] | None = None
    choose: Callable[[Setting], Scores] | None = None
    optimum: Schedule | None = None


@dataclass(frozen=True)
class BudgetOutlook:
    """One budget in one kind of blocks, before its search.

    steps_of_blocks: None for ancestral reveal, and where a profile that is not measured yet will say. counts: distinct
    count vectors that a scan of the box meets; None likewise.
    """

    steps: int
    block_length: int
    steps_of_blocks: Shares | None
    counts: int | None
    ancestral: bool = False


def outlook_of(
    evaluator: Evaluator, budgets: Sequence[int], search: SearchConfig, *, known: bool = True
) -> Iterator[BudgetOutlook]:
    """Every budget in every kind of blocks that is compared. known: whether it is known how blocks share the steps."""
    for steps in budgets:
        for size in evaluator.block_lengths:
            here = evaluator.in_blocks(size)
            if evaluator.sampler.bernoulli or not (known or here.one_block):
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
                steps_of_blocks=here.steps_of_blocks(steps),
                counts=len(reachable_counts(here, steps, search)),
            )


def given_points(search: SearchConfig, seed: int, steps: int, points: Sequence[Beta] = ()) -> list[Beta]:
    """The proposals that need no sampler: the starting points, those of a guide, then the grid or a Sobol sequence."""
    if search.strategy == "grid":
        grid = [beta for a in GRID for b in GRID if (beta := Beta(a, b)) in search.space]
        shuffled = np.random.default_rng(derive_seed(seed, "grid", steps)).permutation(len(grid))
        return [*START, *(grid[i] for i in shuffled if grid[i] not in START)]
    start = [*START, *points]
    wanted = search.trials if search.strategy == "qmc" else FILLING
    return [*start, *_sobol(search.space, seed, steps, wanted)[: max(0, wanted - len(start))]]


def reachable_counts(evaluator: Evaluator, steps: int, search: SearchConfig) -> set[tuple[float, ...]]:
    """The distinct counts that a scan of the box meets, and those of the starting points.

    Where there are fewer than trials, so that all of them could be scored, the scan is refined until it finds no more,
    up to 192 points an axis; elsewhere points between those of the coarse scan reach more.
    """
    found = {evaluator.setting(schedule, steps).key for schedule in START}
    if evaluator.sampler.section.counts == "one-per-step":
        size = evaluator.block_length
        if all(share == 1 or share >= size for share in evaluator.steps_of_blocks(steps)):
            return found  # a block at once or one token a step, whatever the curve
    for points in SCANS:
        before = len(found)
        axes = (np.geomspace(*ends, points) for ends in search.space.ranges.values())
        a, b = (axis.ravel() for axis in np.meshgrid(*axes))
        found |= evaluator.beta_keys(a, b, steps)
        if len(found) > search.trials or (points > SCANS[0] and len(found) == before):
            break
    return found


def _sobol(space: SpaceConfig, seed: int, steps: int, count: int) -> list[Beta]:
    from scipy.stats import qmc

    bits = max(1, int(count).bit_length())
    unit = qmc.Sobol(d=2, rng=np.random.default_rng(derive_seed(seed, "qmc", steps))).random_base2(bits)
    low, high = np.log([space.a, space.b]).T
    return [Beta(float(a), float(b)) for a, b in np.exp(low + unit * (high - low))]
