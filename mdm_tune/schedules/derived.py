"""The counts or alphas of a schedule at any length, number of steps and block length, with notes on what is derived."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, quantity
from mdm_tune.schedules.blocks import ShareRule, equal_shares, even_shares
from mdm_tune.schedules.counts import CountRule, alpha_grid, to_counts
from mdm_tune.schedules.curves import Alphas, Counts, Linear, Schedule
from mdm_tune.schedules.schedule_file import ScheduleBudget, ScheduleFile

__all__ = [
    "Blocks",
    "Derived",
    "budget_at",
    "by_block",
    "check_shares",
    "derived_of_file",
    "derived_of_schedule",
    "kept_counts",
    "nearest_budget",
    "policy_notes",
]

Blocks = tuple[tuple[int, ...], ...]  # tokens per step of each block, from left to right


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What a schedule reveals at a length and a number of steps. Either ``counts`` or ``alphas`` is set.

    Attributes:
        schedule: the mask schedule.
        length: tokens to fill.
        steps: of all blocks together, as many as there are counts: at most ``length`` where each reveals a token.
        block_length: tokens of a block; ``length`` for one block.
        counts: tokens per step, one tuple per block; None for ancestral reveal.
        alphas: (steps + 1,), from 0 to 1, for ancestral reveal; None for counts.
        notes: what was not tuned, and steps that are not made, in sentences; empty if there are none.
    """

    schedule: Schedule
    length: int
    steps: int
    block_length: int
    counts: Blocks | None = None
    alphas: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


def by_block(counts: Sequence[int], size: int) -> Blocks:
    """The counts of each block.

    A step without tokens belongs to the block that is filled next; the last such steps belong to the last block.

    Args:
        counts: (steps,), with a sum that ``size`` divides.
        size: tokens of a block.

    Raises:
        InputError: a step reveals tokens of two blocks.
    """
    blocks: list[list[int]] = [[] for _ in range(max(1, sum(counts) // size))]
    before = 0
    for count in counts:
        block = min(before // size, len(blocks) - 1)
        before += count
        if before > (block + 1) * size:
            raise InputError(
                f"a step reveals tokens of two blocks: with blocks of {size} a step must end after "
                f"{(block + 1) * size} tokens, got one of {quantity(count, 'token')} that ends after {before}; split it"
            )
        blocks[block].append(count)
    return tuple(map(tuple, blocks))


def derived_of_schedule(
    schedule: Schedule,
    steps: int,
    length: int,
    block_length: int | None = None,
    *,
    rule: CountRule = "one-per-step",
    share: ShareRule = equal_shares,
    ancestral: bool = False,
) -> Derived:
    """What a schedule reveals.

    Args:
        schedule: the mask schedule; explicit counts must have the sum ``length`` and as many entries as ``steps``.
        steps: of all blocks together.
        length: tokens to fill.
        block_length: tokens of a block, a divisor of ``length``; None for one block.
        rule: how a schedule is rounded to counts.
        share: how the steps are shared among the blocks.
        ancestral: whether alphas are derived, and not counts.

    Raises:
        InputError: the numbers do not fit each other.
    """
    size = block_length or length
    if size < 1 or length % size:
        raise InputError(f"the block length must divide the length {length}, got {size}; give a divisor")
    if ancestral:
        if isinstance(schedule, Linear) and schedule.counts_of != "ours":
            raise InputError(f"{schedule.name} means counts, and ancestral reveal has none; use linear")
        if size != length:
            raise InputError(f"ancestral reveal has no blocks, got blocks of {size}; leave the block length out")
        alphas = tuple(alpha_grid(schedule, steps).tolist())
        return Derived(schedule=schedule, length=length, steps=steps, block_length=length, alphas=alphas)
    if isinstance(schedule, Counts):
        counts = by_block(to_counts(schedule, steps, length, rule), size)
    else:
        counts = tuple(to_counts(schedule, part, size, rule) for part in share(steps, length, size))
    return _of_counts(schedule, steps, length, counts)


def _of_counts(schedule: Schedule, steps: int, length: int, counts: Blocks) -> Derived:
    """Counts with the number of their steps, and a note if more were asked for than there are tokens."""
    made, notes = sum(map(len, counts)), tuple[str, ...]()
    if made < steps:
        notes = (
            f"{quantity(steps, 'step')} are more than the {quantity(length, 'token')} to fill: "
            f"{quantity(made, 'step')} are made, one for each token.",
        )
    return Derived(
        schedule=schedule, length=length, steps=made, block_length=length // len(counts), counts=counts, notes=notes
    )


def nearest_budget(file: ScheduleFile, steps: int) -> ScheduleBudget:
    """The budget whose number of steps has the smallest ratio to ``steps``; of two, the one with fewer steps."""
    return min(file.budgets.values(), key=lambda budget: (abs(math.log(budget.steps / steps)), budget.steps))


def budget_at(file: ScheduleFile, steps: int | None) -> ScheduleBudget:
    """The budget of a file that applies to a number of steps: its own, or the nearest if that has a curve.

    Args:
        file: the schedule file.
        steps: of all blocks together; None for the file's only budget.

    Raises:
        InputError: the file has several budgets and ``steps`` is None, or the nearest budget holds a policy.
    """
    if steps is None:
        if len(file.budgets) > 1:
            raise InputError(
                f"the schedule file has budgets of {listed(sorted(file.budgets))} steps, got no number of steps; "
                "choose one with --steps"
            )
        (steps,) = file.budgets
    if steps in file.budgets:
        return file.budgets[steps]
    nearest = nearest_budget(file, steps)
    if nearest.policy is not None:
        raise InputError(
            f"the schedule file has budgets of {listed(sorted(file.budgets))} steps, got {steps}; the nearest holds "
            f"the adaptive policy {cut(nearest.policy.name)}, which is not tuned for other numbers of calls; give one "
            "of them, or search again"
        )
    return nearest


def derived_of_file(
    file: ScheduleFile, steps: int | None = None, length: int | None = None, block_length: int | None = None
) -> Derived:
    """What the schedule of a file reveals, also at lengths, steps and block lengths that were not tuned.

    Where a number was not tuned, the counts follow from the curve of the budget with the nearest number of steps.

    Args:
        file: the schedule file.
        steps: of all blocks together; None for the file's only budget.
        length: tokens to fill; None for the file's.
        block_length: tokens of a block; None for the budget's, or for one block if the budget has one.

    Raises:
        InputError: the file has several budgets and ``steps`` is None, the budget holds a policy, or the numbers do not
            fit the schedule.
    """
    budget = budget_at(file, steps)
    steps = steps or budget.steps
    if budget.policy is not None:
        raise InputError(
            f"the budget of {quantity(steps, 'step')} holds the adaptive policy {cut(budget.policy.name)}, which has "
            "no counts in advance; give the file or this name to mdm-tune sample or export, or with transformers to "
            "mdm_tune.generate"
        )
    length = length or file.length
    one_block = budget.block_length in (None, file.length)
    size = block_length or (length if one_block else budget.block_length or length)
    tuned = file.length if one_block else budget.block_length or file.length
    notes = _notes(file, budget, steps, length, size if size != length else None)
    if budget.alphas is not None:
        curve: Schedule = budget.curve
        if isinstance(curve, Counts):
            curve = Alphas(budget.alphas)
        derived = derived_of_schedule(curve, steps, length, block_length, ancestral=True)
        if steps == budget.steps:
            derived = replace(derived, alphas=budget.alphas)
        return replace(derived, notes=notes)
    assert budget.counts is not None  # a budget has either
    if (steps, length, size) == (budget.steps, file.length, tuned):
        derived = _of_counts(budget.curve, steps, length, by_block(budget.counts, size))
        return replace(derived, notes=notes + derived.notes)
    rule, share = _rules(file)
    if share is even_shares and size < length:
        check_shares(file, steps)
        notes += ("The blocks share the steps evenly, as the profile's shares are known only for what was tuned.",)
    curve = budget.curve
    if isinstance(curve, Counts):
        if not one_block:
            raise InputError(
                f"the schedule file holds explicit counts for {quantity(file.length, 'token')} in blocks of {tuned}, "
                f"which have no curve for {quantity(length, 'token')} in {quantity(steps, 'step')} with blocks of "
                f"{size}; export what was tuned, or give a curve such as beta:0.9,0.3"
            )
        curve = stretched(curve)
    if length % size:
        raise InputError(
            f"the schedule was tuned in blocks of {quantity(size, 'token')}, which do not divide the length {length}; "
            f"give another length, or another block length with --block-length"
        )
    derived = derived_of_schedule(curve, steps, length, size, rule=rule, share=share)
    return replace(derived, notes=notes + derived.notes)


def check_shares(file: ScheduleFile, steps: int) -> None:
    """Raise InputError if a profile shares the steps of a schedule for all budgets, and the file lacks these steps."""
    if file.shared is not None and _rules(file)[1] is even_shares and steps not in file.budgets:
        raise InputError(
            "the blocks of the schedule share the steps as a profile gave them (block_steps: tuned), and the file has "
            f"these shares for {listed(sorted(file.budgets))} steps, got {steps}; give one of them, or search again"
        )


def kept_counts(file: ScheduleFile, budget: ScheduleBudget) -> ScheduleFile:
    """The counts that the policy of a budget keeps, as the only budget of a file.

    Raises:
        InputError: the file does not have the counts, and its blocks share the steps as a profile gave them.
    """
    assert budget.policy is not None
    steps, counts = budget.policy.steps_of_counts(budget.steps), budget.kept_counts
    if counts is None:
        rule, share = _rules(file)
        if share is even_shares and budget.block_length not in (None, file.length):
            raise InputError(
                f"the schedule file holds {cut(budget.policy.name)} at {quantity(budget.steps, 'step')}, whose blocks "
                "share the steps as a profile gave them (block_steps: tuned), and has no kept_counts, which say them; "
                "search again"
            )
        derived = derived_of_schedule(budget.curve, steps, file.length, budget.block_length, rule=rule, share=share)
        counts = tuple(count for block in derived.counts or () for count in block)
    kept = ScheduleBudget(
        steps=steps, schedule=budget.schedule, counts=counts, alphas=None, block_length=budget.block_length
    )
    return ScheduleFile(file.length, {steps: kept}, file.record)


def _rules(file: ScheduleFile) -> tuple[CountRule, ShareRule]:
    """How a file's schedules are rounded to counts, and how steps are shared among blocks."""
    sampler = file.record.get("sampler") or {}
    rule: CountRule = "cumulative" if sampler.get("counts") == "cumulative" else "one-per-step"
    return rule, even_shares if sampler.get("block_steps") == "tuned" else equal_shares


def stretched(counts: Counts) -> Schedule:
    """Counts as a curve for any length and number of steps; linear if all counts are 1, which has no shape."""
    if set(counts.counts) == {1}:
        return Linear()
    shares = np.cumsum((0, *counts.counts)) / sum(counts.counts)
    return Alphas(tuple(shares.tolist()))


def _notes(
    file: ScheduleFile, budget: ScheduleBudget, steps: int, length: int, block_length: int | None
) -> tuple[str, ...]:
    """Sentences on what differs from what was tuned."""
    found = []
    what = "alphas" if budget.alphas is not None else "counts"
    curve = cut(budget.curve.name)
    if steps != budget.steps and file.shared is None:
        found.append(
            f"{quantity(steps, 'step')} were not tuned: the {what} follow from {curve}, which was tuned for "
            f"{quantity(budget.steps, 'step')}."
        )
    if length != file.length and budget.alphas is None:
        found.append(
            f"A length of {quantity(length, 'token')} was not tuned: the {what} follow from {curve}, which was tuned "
            f"for {file.length}."
        )
    found += _mean_length(file, length)
    own = budget.block_length if budget.block_length not in (None, file.length) else None
    if block_length != own and budget.alphas is None:
        found.append(_other_blocks("schedule", own, block_length))
    return tuple(found)


def policy_notes(file: ScheduleFile, budget: ScheduleBudget, length: int, block_length: int) -> tuple[str, ...]:
    """Sentences on what differs from what a policy was tuned for.

    Args:
        file: the schedule file.
        budget: the budget, which holds a policy.
        length: tokens to fill.
        block_length: tokens of a block; ``length`` for one block.
    """
    found = _mean_length(file, length)
    if length != file.length:
        found.append(
            f"A length of {quantity(length, 'token')} was not tuned: the policy was tuned for {file.length}, and the "
            "number of calls may differ."
        )
    own = budget.block_length if budget.block_length not in (None, file.length) else None
    here = block_length if block_length != length else None
    if own != here:
        found.append(_other_blocks("policy", own, here))
    return tuple(found)


def _mean_length(file: ScheduleFile, length: int) -> list[str]:
    """A sentence if the file's length is a mean of several; otherwise none."""
    lengths = file.record.get("lengths") or {}
    if length == file.length and isinstance(lengths, dict) and lengths.get("fixed") is False:
        return [f"The length {length} is the mean of the lengths that the schedule was tuned for."]
    return []


def _other_blocks(what: str, own: int | None, used: int | None) -> str:
    """A sentence on the blocks that it was tuned for and is used for; None for one block."""
    there, here = ("one block" if size is None else f"blocks of {size}" for size in (own, used))
    return f"The {what} was tuned for {there}, and is used for {here}."
