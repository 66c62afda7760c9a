"""A schedule file as an object for a sampling loop: counts for any length and number of steps. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.numerals import given_whole
from mdm_tune.schedules.derived import Blocks, Derived, budget_at, derived_of_file, kept_counts, policy_notes
from mdm_tune.schedules.schedule_file import ScheduleFile, check_schedule_names
from mdm_tune.schedules.schedule_file import load_schedule as read_schedule

__all__ = ["LoadedSchedule", "SchedulePlan", "load_schedule"]


@dataclass(frozen=True, kw_only=True)
class SchedulePlan:
    """The counts of a schedule at one length and number of steps. Iteration gives (step, count), with steps from 0.

    Attributes:
        schedule: name of the mask schedule.
        length: tokens to fill.
        steps: of all blocks together.
        block_length: tokens of a block, ``length`` for one block. Blocks are filled from left to right.
        blocks: tokens per step, one tuple per block.
        notes: what was not tuned, in sentences; empty if these counts were tuned.
    """

    schedule: str
    length: int
    steps: int
    block_length: int
    blocks: Blocks
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens per step (steps,), those of all blocks one after the other, with sum ``length``."""
        return tuple(count for block in self.blocks for count in block)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(enumerate(self.counts))

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class LoadedSchedule(ScheduleFile):
    """A schedule file with the counts that it gives, also for lengths and steps that were not tuned.

    A number of steps that was not tuned follows the curve of the budget with the nearest number of steps. Nothing is
    printed; what was not tuned is in the ``notes`` of a plan. A budget that holds an adaptive policy has a ``policy``
    in place of counts.
    """

    @property
    def sampler(self) -> Mapping[str, Any]:
        """The sampler settings that the schedule was tuned for, by their names in a config; empty if unknown."""
        settings = self.record.get("sampler")
        return settings if isinstance(settings, dict) else {}

    def policy(self, steps: int | None = None) -> str | None:
        """The adaptive policy of a budget by its name, such as ``threshold:0.873``; None if the budget has counts.

        The name can be given to ``mdm_tune.generate`` and to the commands. So can the file itself, which also has the
        block length and the sampler settings.

        Args:
            steps: the budget; None for the only budget of the file.

        Raises:
            InputError: the file has several budgets and ``steps`` is None, or it has no such budget.
        """
        steps = self._given(steps)
        budget = budget_at(self, steps)
        return None if budget.policy is None else budget.policy.name

    def plan(
        self, length: int | None = None, steps: int | None = None, *, block_length: int | None = None
    ) -> SchedulePlan:
        """The counts at a length and a number of steps.

        Args:
            length: tokens to fill; None for the length of the file.
            steps: of all blocks together; None for the only budget of the file.
            block_length: tokens of a block; None for that of the budget, or for one block if the budget has one.

        Raises:
            InputError: a number is below 1 or does not fit, the file has several budgets and ``steps`` is None, the
                budget has a ``policy``, or the file is for ancestral reveal, which has ``alphas``.
        """
        derived = self._derived(length, steps, block_length)
        if derived.counts is None:
            raise InputError(
                "the schedule was tuned for ancestral reveal, which has no counts; use alphas(steps), the expected "
                "revealed shares"
            )
        return SchedulePlan(
            schedule=derived.schedule.name,
            length=derived.length,
            steps=derived.steps,
            block_length=derived.block_length,
            blocks=derived.counts,
            notes=derived.notes,
        )

    def counts(
        self, length: int | None = None, steps: int | None = None, *, block_length: int | None = None
    ) -> tuple[int, ...]:
        """Tokens per step (steps,), with sum ``length``. Arguments and errors are those of ``plan``."""
        return self.plan(length, steps, block_length=block_length).counts

    def alphas(self, steps: int | None = None) -> tuple[float, ...]:
        """The expected revealed shares (steps + 1,) for ancestral reveal, from 0 to 1.

        Args:
            steps: the number of steps; None for the only budget of the file.

        Raises:
            InputError: as ``plan``, or if the file is for fixed counts.
        """
        derived = self._derived(None, steps, None)
        if derived.alphas is None:
            raise InputError("the schedule was tuned for fixed counts, not for ancestral reveal; use counts or plan")
        return derived.alphas

    def notes(
        self, length: int | None = None, steps: int | None = None, *, block_length: int | None = None
    ) -> tuple[str, ...]:
        """Sentences on what was not tuned; empty if all was. Arguments and errors are those of ``plan``.

        A budget that holds a policy has notes too.
        """
        budget = budget_at(self, self._given(steps))
        if budget.policy is None:
            return self._derived(length, steps, block_length).notes
        if budget.policy.schedule is not None:
            kept = kept_counts(self, budget)
            return LoadedSchedule(kept.length, kept.budgets, kept.record).notes(length, block_length=block_length)
        length = self.length if length is None else given_whole("length", length)
        own = budget.block_length if budget.block_length != self.length else None
        size = own if block_length is None else given_whole("block_length", block_length)
        if size is not None and length % size:
            raise InputError(f"block_length must divide the length {length}, got {size}; give a divisor")
        return policy_notes(self, budget, length, size or length)

    def _given(self, steps: int | None) -> int:
        """The number of steps, by default that of the only budget. Raises InputError if there are several budgets."""
        if steps is None and len(self.budgets) > 1:
            raise InputError(
                f"the schedule file has budgets of {listed(sorted(self.budgets))} steps, got no number of steps; give "
                "steps"
            )
        return next(iter(self.budgets)) if steps is None else given_whole("steps", steps)

    def _derived(self, length: int | None, steps: int | None, block_length: int | None) -> Derived:
        length = self.length if length is None else given_whole("length", length)
        size = None if block_length is None else given_whole("block_length", block_length)
        steps = self._given(steps)
        budget = budget_at(self, steps)
        if budget.policy is not None:
            return derived_of_file(self, steps)  # it raises the error
        tuned = (steps, length) == (budget.steps, self.length)
        if budget.alphas is None and steps > length and not tuned:
            raise InputError(
                f"steps must be at most the length, {quantity(length, 'token')}, because each step reveals at least "
                f"one token, got {steps}; give fewer steps"
            )
        own = budget.block_length if budget.block_length != self.length else None
        if size is None and own is not None and length % own:
            raise InputError(
                f"the schedule was tuned in blocks of {quantity(own, 'token')}, which do not divide the length "
                f"{length}; give another length, or another block_length"
            )
        if size is not None and length % size:
            raise InputError(f"block_length must divide the length {length}, got {size}; give a divisor")
        return derived_of_file(self, steps, length, size)


def load_schedule(path: str | Path) -> LoadedSchedule:
    """Read a schedule file. Needs no torch.

    Args:
        path: the file, or a run folder that holds ``schedule.yaml``.

    Raises:
        InputError: the file cannot be read, is no schedule file, is of another version, or is damaged.
    """
    file = read_schedule(path)
    check_schedule_names(file, str(path))
    return LoadedSchedule(file.length, file.budgets, file.record)
