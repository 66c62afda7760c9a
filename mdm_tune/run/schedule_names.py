"""Policies by their names on the command line: curves, counts, ``optimum``, schedule files, adaptive policies."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mdm_tune.config.validators import OPTIMUM
from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, listed, quantity, shown
from mdm_tune.evaluation.adaptive import base_setting, check_sampler
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.adaptive_names import AdaptiveName, parse_adaptive
from mdm_tune.schedules.curves import Counts, Schedule, begins_with_schedule_name
from mdm_tune.schedules.derived import check_shares, kept_counts, nearest_budget
from mdm_tune.schedules.policy_names import FILES, parse_policy
from mdm_tune.schedules.schedule_file import ScheduleBudget, ScheduleFile, check_schedule_names, load_schedule

__all__ = ["Optimum", "check_names", "check_value", "holds_policies", "names_a_file", "own_steps", "settings_of"]

Optimum = Callable[[int, int], Schedule]  # of a block length and a number of steps


def settings_of(
    evaluator: Evaluator,
    names: Sequence[str],
    steps: Sequence[int],
    own: Sequence[str] = (),
    optimum: Optimum | None = None,
) -> Iterator[Setting]:
    """Yield the settings of named schedules, at every budget and block length.

    Explicit counts and schedule files have budgets of their own. The counts of a file have a block length of their own.
    An adaptive policy is named with its value. A budget of a file may hold one.

    Args:
        evaluator: The evaluator.
        names: Names of schedules or of adaptive policies, or paths of schedule files or run folders.
        steps: The budgets.
        own: Schedule files that the user did not name. They may have none of the budgets.
        optimum: Returns the schedule ``optimum`` for a block length and a budget.

    Raises:
        InputError: If a name is neither a schedule nor a readable file, if a named schedule fits no budget, if the
            sampler cannot follow an adaptive policy or the policy has no value, or if a budget is repeated.
    """
    if len(set(steps)) < len(steps):
        raise InputError(f"steps must not repeat, got {shown(list(steps))}; give each budget once")
    for budget in steps:
        for name in (*names, *own):
            yield from _settings(evaluator, name, budget, optimum)
    for name in names:
        available = own_steps(name)
        if available is not None and not names_a_file(name):  # raises if the counts are for another length
            list(_settings(evaluator, name, available[0], None))
        if available is not None and not set(available) & set(steps):
            budgets = quantity(listed(available), "step")
            raise InputError(
                f"schedule {cut(name)} is for {budgets}, got {listed(steps, separator=' and ')}; "
                f"give --steps {listed(available, separator=' or ')}, or a curve such as linear or beta:0.9,0.3"
            )


def check_names(names: Iterable[str]) -> None:
    """Check what can be known of named schedules and policies without a model, so that a mistake costs no loading.

    Args:
        names: As for ``settings_of``. An adaptive policy may have no value.

    Raises:
        InputError: If a name is neither a schedule, an adaptive policy nor a readable file.
    """
    for name in names:
        if names_a_file(name):
            load_schedule(name)
        elif (plan := parse_adaptive(name)) is not None:
            check_names(() if plan.schedule is None else (plan.schedule,))
        elif name.strip() != OPTIMUM:
            _named_schedule(name)


def check_value(plan: AdaptiveName | None) -> None:
    """Raise InputError if an adaptive policy has no value; None is not one."""
    if plan is not None and plan.value is None:
        raise InputError(
            f"{plan.name} has no value of its own: mdm-tune evaluate finds the one that costs a budget and prints it; "
            f"give that, as in {plan.name}{plan.separator}0.9"
        )


def own_steps(name: str) -> list[int] | None:
    """The budgets for which a schedule is made; None for what takes any, such as a curve."""
    if names_a_file(name):
        file = load_schedule(name)
        return None if file.shared is not None else sorted(file.budgets)
    if name.strip() == OPTIMUM:
        return None
    if (plan := parse_adaptive(name)) is not None:
        return None if plan.schedule is None or plan.counts_steps is not None else own_steps(plan.schedule)
    schedule = _named_schedule(name)
    return [len(schedule.counts)] if isinstance(schedule, Counts) else None


def holds_policies(name: str) -> bool:
    """Whether a name is a schedule file with an adaptive policy in one of its budgets."""
    return names_a_file(name) and any(budget.policy is not None for budget in load_schedule(name).budgets.values())


def names_a_file(name: str) -> bool:
    """Whether ``name`` is a schedule file, or a run folder with one.

    The name of a schedule never means a folder. A folder called ``linear`` is given as ``./linear``.
    """
    if name.endswith((".yaml", ".yml")):
        return name.partition(":")[0].strip().lower() not in ("quota", "cap")  # policies that follow its counts
    if (
        not name.strip()
        or name.strip() == OPTIMUM
        or begins_with_schedule_name(name)
        or parse_adaptive(name) is not None
    ):
        return False  # the disk is not read, because explicit counts can be longer than any path
    try:
        return (Path(name).expanduser() / "schedule.yaml").is_file()
    except OSError as error:  # a folder that cannot be entered: reading its file then reports the reason
        return error.errno != errno.ENAMETOOLONG
    except RuntimeError:  # ~user of an unknown user
        return False


def _named_schedule(name: str) -> Schedule:
    """The schedule of a name. The error message also lists the names that only commands have."""
    schedule = parse_policy(name, f"{OPTIMUM}, the best of all on the profile, {FILES}")
    assert isinstance(schedule, Schedule)  # adaptive ones are recognised before, or refused
    return schedule


def _settings(evaluator: Evaluator, name: str, steps: int, optimum: Optimum | None) -> Iterator[Setting]:
    """Yield the settings of one name at one budget; none if it has another budget."""
    if names_a_file(name):
        yield from _file_settings(evaluator, name, steps)
        return
    if (plan := parse_adaptive(name)) is not None:
        yield from _adaptive_settings(evaluator, plan, steps, optimum)
        return
    for size in evaluator.block_lengths:
        is_optimum = name.strip() == OPTIMUM
        schedule = optimum(size, steps) if is_optimum and optimum is not None else _named_schedule(name)
        if isinstance(schedule, Counts) and not is_optimum and len(schedule.counts) != steps:
            return
        yield evaluator.in_blocks(size).setting(schedule, steps, name)


def _adaptive_settings(
    evaluator: Evaluator, plan: AdaptiveName, steps: int, optimum: Optimum | None
) -> Iterator[Setting]:
    """Yield the settings of an adaptive policy with its value, in every block length."""
    check_value(plan)
    check_sampler(evaluator, plan)
    for size in evaluator.block_lengths:
        here = evaluator.in_blocks(size)

        def setting_at(schedule: str, number: int, here: Evaluator = here) -> Setting:
            return next(settings_of(here, [schedule], [number], optimum=optimum))

        yield here.adaptive_setting(plan, steps, base_setting(plan, steps, setting_at))


def _file_settings(evaluator: Evaluator, name: str, steps: int) -> Iterator[Setting]:
    """Yield the setting of a file's budget, at the block length of the file or else of the sampler."""
    file = load_schedule(name)
    if steps not in file.budgets and file.shared is None:
        return
    check_schedule_names(file, name)
    budget = nearest_budget(file, steps)
    if budget.policy is not None:
        yield _policy_setting(evaluator, name, file, budget, budget.policy)
        return
    if (budget.alphas is not None) != evaluator.sampler.bernoulli:
        kind = "fixed counts" if budget.alphas is None else "ancestral (bernoulli) reveal"
        raise InputError(f"{name} was tuned for {kind}; set sampler.reveal to match, or search again")
    size = budget.block_length or (file.length if evaluator.one_block else evaluator.block_length)
    if steps not in file.budgets and file.shared is not None:
        at_size = evaluator.in_blocks(evaluator.length if size == file.length else size)
        if not at_size.one_block and at_size.block_length not in evaluator.shares:
            check_shares(file, steps)
        yield replace(at_size.setting(file.shared, steps, name), says_blocks=evaluator.several)
    elif budget.counts is not None and file.length != evaluator.length:
        yield _at_other_length(evaluator, name, file.length, budget, size)
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


def _policy_setting(
    evaluator: Evaluator, name: str, file: ScheduleFile, budget: ScheduleBudget, policy: AdaptiveName
) -> Setting:
    """The setting of a file's budget that holds an adaptive policy, at its block length or else at the evaluator's.

    Args:
        evaluator: The evaluator.
        name: Path of the file.
        file: The file.
        budget: The budget of the file.
        policy: The policy that it holds.

    Raises:
        InputError: If the sampler cannot follow the policy, or if its blocks do not divide the length.
    """
    try:
        check_sampler(evaluator, policy)
    except InputError as error:
        raise InputError(f"{cut(name)} holds an adaptive policy at {quantity(budget.steps, 'step')}: {error}") from None
    length, size = evaluator.length, budget.block_length or evaluator.block_length
    size = length if size == file.length else size
    if length % size:
        raise InputError(
            f"{cut(name)} was tuned in blocks of {quantity(size, 'token')}, {file.length} in all, and they do not "
            f"divide the {length} here; set dataset.generation_length to {file.length}, or search again"
        )
    here = evaluator.in_blocks(size)

    def setting_at(schedule: str, number: int) -> Setting:
        kept = kept_counts(file, replace(budget, block_length=size if length == file.length else budget.block_length))
        if length != file.length:
            return _at_other_length(here, name, file.length, kept.budget(number), budget.block_length or file.length)
        counts = kept.budget(number).counts
        return Setting(name=schedule, steps=number, length=length, counts=counts, block_length=size).checked()

    setting = here.adaptive_setting(policy, budget.steps, base_setting(policy, budget.steps, setting_at))
    return replace(setting, name=name, says_blocks=evaluator.several)


def _at_other_length(evaluator: Evaluator, name: str, tuned_length: int, budget: ScheduleBudget, size: int) -> Setting:
    """The setting of a file's budget at the evaluator's length, with the counts that are closest to the same curve.

    Args:
        evaluator: The evaluator.
        name: Path of the file.
        tuned_length: Tokens to fill for which the file was tuned.
        budget: The budget of the file.
        size: Block length of the file; a single block has the length of the rows.

    Raises:
        InputError: If the blocks do not divide the length, or if blocks have explicit counts, which have no curve.
    """
    length, one_block = evaluator.length, size == tuned_length
    block_length = length if one_block else size
    label = evaluator.labelled(name, block_length)
    remedy = f"set dataset.generation_length to {tuned_length}, give a curve with --schedule, or search again"
    if length % block_length:
        raise InputError(
            f"{label} was tuned in blocks of {quantity(size, 'token')}, {tuned_length} in all, and they do not divide "
            f"the {length} here; {remedy}"
        )
    if not isinstance(budget.schedule, Counts):
        share = evaluator.shares.get(block_length)
        try:
            setting = Setting.of(budget.curve, budget.steps, length, evaluator.sampler, name, share, block_length)
        except InputError as error:
            raise InputError(
                f"{label}, tuned for {quantity(tuned_length, 'token')}, does not fit the {length} here: {error}"
            ) from None
        return replace(setting, says_blocks=evaluator.several)
    if not one_block:
        raise InputError(
            f"{label} holds explicit counts for {quantity(tuned_length, 'token')} in blocks of {size}, which have no "
            f"curve to stretch to the {length} here; {remedy}"
        )
    tuned = Setting(
        name=name, steps=budget.steps, length=tuned_length, counts=budget.counts, says_blocks=evaluator.several
    )
    counts = tuned.counts_for(length, evaluator.sampler.section.counts)
    return replace(tuned, length=length, counts=counts, block_length=length)
