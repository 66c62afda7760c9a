"""The table of the policies that a search tuned at one budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdm_tune.core.messages import listed
from mdm_tune.terminal.layout import Grid
from mdm_tune.terminal.tables import short_names

if TYPE_CHECKING:  # it loads torch
    from mdm_tune.run.search_records import BudgetRecord

__all__ = ["kinds_table", "policy_notes"]


def kinds_table(budget: BudgetRecord) -> Grid | None:
    """The best of each kind of policy at one budget; None if one kind was tuned."""
    if not budget.policies:
        return None
    headings = ("policy", "value", "calls", "gain over linear (corrected)")
    table = Grid("the best of each policy, set to the calls of linear", headings, ("policy",))
    short = short_names([record.policy for record in budget.policies if record.policy is not None])
    for record in budget.policies:
        if record.policy is None or record.value is None or record.calls is None or record.gain_over_linear is None:
            table.row(record.kind, "none", "", "")
        else:
            name, value = short[record.policy], record.value.text.split(" ")[0]
            name = f"counts: {name}" if record.kind == "counts" else name
            table.row(name, value, record.calls.text, record.gain_over_linear.corrected_text)
    return table


def policy_notes(budget: BudgetRecord) -> list[str]:
    """Lines on policies that are missing from the table, made more calls than linear, or are less diverse."""
    lines = []
    for record in budget.policies:
        if record.why is not None:
            lines.append(f"{record.kind}: {record.why}")
        elif record.more_calls:
            ratio = f"{record.calls_of_linear:.3g} times linear's calls"
            lines.append(f"{record.kind} made {ratio}: a gain of it is no gain at equal cost")
        elif any(loss.blocks for loss in record.losses):
            losses = sorted({loss.figure.replace("_", " ") for loss in record.losses if loss.blocks})
            lines.append(f"{record.kind} is less diverse in {listed(losses)}: a gain of it is not counted")
    return lines
