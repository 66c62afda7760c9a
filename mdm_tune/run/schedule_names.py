"""Schedules by the names that a user gives them: curves, counts, the optimum, and schedule files."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, quantity, shown
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.adaptive_names import FORMS, parse_adaptive
from mdm_tune.schedules.curves import Counts, Schedule, begins_with_schedule_name, parse_schedule
from mdm_tune.schedules.schedule_file import ScheduleBudget, check_schedule_names, load_schedule

__all__ = ["names_a_file", "own_steps", "settings_of"]

Optimum = Callable[[int, int], Schedule]  # of a block length and a number of steps


def settings_of(
    evaluator: Evaluator,
    names: Sequence[str],
    steps: Sequence[int],
    own: Sequence[str] = (),
    optimum: Optimum | None = None,
) -> Iterator[Setting]:
    """Every named schedule at every budget that it has, in all blocks that are compared.

    Explicit counts and schedule files have their own budgets only, and a file's counts their own blocks. own: schedule
    files that nobody named, so that they may have none of the budgets. optimum: what that name stands for.

    Raises InputError for a name that is neither a schedule nor a readable file, for one that fits no budget, and for a
    repeated budget.
    """
    if len(set(steps)) < len(steps):
        raise InputError(f"steps must not repeat, got {shown(list(steps))}; give each budget once")
    for budget in steps:
        for name in (*names, *own):
            yield from _settings(evaluator, name, budget, optimum)
    for name in names:
        has = own_steps(name)
        if has is not None and not names_a_file(name):  # counts for another length fit no budget: say that first
            list(_settings(evaluator, name, has[0], None))
        if has is not None and not set(has) & set(steps):
            raise InputError(
                f"schedule {cut(name)} is for {quantity(listed(has), 'step')}, got {listed(steps, separator=' and ')}; "
                f"give --steps {has[0]}, or a curve such as linear or beta:0.9,0.3"
            )


def own_steps(name: str) -> list[int] | None:
    """The budgets that a schedule brings along; None where it is a curve and takes any."""
    if names_a_file(name):
        return sorted(load_schedule(name).budgets)
    if name.strip() == OPTIMUM:
        return None
    schedule = _parsed(name)
    return [len(schedule.counts)] if isinstance(schedule, Counts) else None


def names_a_file(name: str) -> bool:
    """Whether the name of a schedule means a schedule file, or a run folder that holds one.

    A name that a schedule has is never a folder's: ``./linear`` is how to give a folder of that name.
    """
    if name.endswith((".yaml", ".yml")):
        return True
    if (
        not name.strip()
        or name.strip() == OPTIMUM
        or begins_with_schedule_name(name)
        or parse_adaptive(name) is not None
    ):
        return False  # no question to the disk: explicit counts are longer than a path may be
    try:
        return (Path(name).expanduser() / "schedule.yaml").is_file()
    except OSError as error:  # a folder that may not be entered is a file to read, which then says why
        return error.errno != errno.ENAMETOOLONG
    except RuntimeError:  # the home of a user that there is not
        return False


def _parsed(name: str) -> Schedule:
    """``parse_schedule``, whose message then also names what only a command knows."""
    if not name.strip():
        raise InputError("the schedule's name is empty; give a name such as linear")
    try:
        return parse_schedule(name)
    except InputError as error:
        if ":" in name or name.strip() == OPTIMUM:
            raise
        raise InputError(
            f"{error} Or optimum, the best of all on the profile, a file that ends in .yaml, or a run folder with a "
            f"schedule.yaml in it; and, for evaluate only, {FORMS}."
        ) from None


def _settings(evaluator: Evaluator, name: str, steps: int, optimum: Optimum | None) -> Iterator[Setting]:
    if names_a_file(name):
        yield from _of_file(evaluator, name, steps)
        return
    for size in evaluator.block_lengths:
        best = name.strip() == OPTIMUM
        schedule = optimum(size, steps) if best and optimum is not None else _parsed(name)
        if isinstance(schedule, Counts) and not best and len(schedule.counts) != steps:
            return
        yield evaluator.in_blocks(size).setting(schedule, steps, name)


def _of_file(evaluator: Evaluator, name: str, steps: int) -> Iterator[Setting]:
    """The budget of a file in the blocks that it says, else in those of the sampler."""
    file = load_schedule(name)
    if steps not in file.budgets:
        return
    check_schedule_names(file, name)
    budget = file.budget(steps)
    if (budget.alphas is not None) != evaluator.sampler.bernoulli:
        kind = "fixed counts" if budget.alphas is None else "ancestral (bernoulli) reveal"
        raise InputError(f"{name} was tuned for {kind}; set sampler.reveal to match, or search again")
    size = budget.block_length or (file.length if evaluator.one_block else evaluator.block_length)
    if budget.counts is not None and file.length != evaluator.length:
        yield _stretched(evaluator, name, file.length, budget, size)
    else:
        yield Setting(
            name=name,
            steps=steps,
            length=evaluator.length,
            counts=budget.counts,
            alphas=budget.alphas,
            block_length=evaluator.length if size == file.length else size,
            says_blocks=evaluator.several,
        ).checked()


def _stretched(evaluator: Evaluator, name: str, tuned: int, budget: ScheduleBudget, size: int) -> Setting:
    """The counts of a file's budget for another length than it was ``tuned`` for: those closest to the same curve.

    size: the block length of the file; one block is as long here as the rows are.

    Raises InputError where its blocks do not divide the length, and for explicit counts of blocks, which no curve says.
    """
    length, one_block = evaluator.length, size == tuned
    here = length if one_block else size
    label = evaluator.labelled(name, here)
    remedy = f"set dataset.generation_length to {tuned}, give a curve with --schedule, or search again"
    if length % here:
        raise InputError(
            f"{label} was tuned in blocks of {quantity(size, 'token')}, {tuned} in all, and they do not divide "
            f"the {length} here; {remedy}"
        )
    if not isinstance(budget.schedule, Counts):
        share = evaluator.shares.get(here)
        try:
            found = Setting.of(budget.schedule, budget.steps, length, evaluator.sampler, name, share, here)
        except InputError as error:
            raise InputError(
                f"{label}, tuned for {quantity(tuned, 'token')}, does not fit the {length} here: {error}"
            ) from None
        return replace(found, says_blocks=evaluator.several)
    if not one_block:
        raise InputError(
            f"{label} holds explicit counts for {quantity(tuned, 'token')} in blocks of {size}, which have no curve "
            f"to stretch to the {length} here; {remedy}"
        )
    known = Setting(name=name, steps=budget.steps, length=tuned, counts=budget.counts, says_blocks=evaluator.several)
    counts = known.counts_for(length, evaluator.sampler.section.counts)
    return replace(known, length=length, counts=counts, block_length=length)
