"""The table of one schedule for all budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdm_tune.core.messages import quantity
from mdm_tune.terminal.layout import Grid

if TYPE_CHECKING:  # it loads torch
    from mdm_tune.run.shared_records import SharedRecord

__all__ = ["SHARED_FILE", "shared_lines", "shared_table"]

SHARED_FILE = "the schedule file holds this schedule, for any number of steps; below are its counts at each budget"


def shared_table(shared: SharedRecord) -> Grid:
    """The shared schedule at each budget, and what it loses against the budget's own best schedule."""
    exact = shared.mean.exact
    corrected = "" if exact else " (corrected)"
    headings = ("steps", "value", f"gain over linear{corrected}", "own best", f"loss against it{corrected}")
    table = Grid(f"one schedule for all budgets: {shared.schedule.text}", headings, ("own best",))
    for budget in sorted(shared.budgets, key=lambda each: each.steps):
        table.row(
            str(budget.steps),
            budget.estimate.text,
            budget.gain_over_linear.corrected_text,
            budget.own.text,
            budget.loss.corrected_text,
        )
    return table


def shared_lines(shared: SharedRecord) -> list[str]:
    """What may stand in for the shared schedule at each budget."""
    return [
        f"in place of the shared schedule at {quantity(budget.steps, 'step')}: {budget.stand_ins.text}"
        for budget in sorted(shared.budgets, key=lambda each: each.steps)
        if budget.stand_ins is not None and budget.stand_ins.text
    ]
