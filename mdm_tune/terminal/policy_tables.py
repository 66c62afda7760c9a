"""The table of the policies that a search tuned at one budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mdm_tune.core.messages import listed
from mdm_tune.pages.names import figure_name
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.terminal.layout import Grid
from mdm_tune.terminal.tables import paste, short_names

if TYPE_CHECKING:  # it loads torch
    from mdm_tune.run.search_records import BudgetRecord, SearchResult

__all__ = ["kinds_table", "other_pastes", "policy_notes"]


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
        elif record.more_calls and record.call_ratio is not None:
            lines.append(f"{record.kind} made {record.call_ratio.text}: a gain of it is {record.call_ratio.verdict}")
        elif any(loss.blocks for loss in record.losses):
            losses = sorted({figure_name(loss.figure) for loss in record.losses if loss.blocks})
            lines.append(f"{record.kind} is less diverse in {listed(losses)}: a gain of it is not counted")
    return lines


def other_pastes(result: SearchResult) -> Iterator[str]:
    """Lines to paste of policies that no budget returns.

    These are the kind whose gain counts, where that of the winner is at more calls, and the cheapest of the frontier.
    """
    offered = {name for budget in result.budgets for name in (budget.plan.policy, budget.schedule.text)}
    for budget in result.budgets:
        if budget.equal is not None and budget.equal.policy is not None:
            offered.add(budget.equal.policy)
            yield f"{_paste(budget.steps, budget.equal.policy)}; better than linear at no more calls"
    frontier = result.policy_frontier
    if frontier is not None and frontier.cheapest is not None and frontier.cheapest.schedule not in offered:
        within = f"the cheapest within {100 * frontier.margin:g} % of one token per step"
        yield f"{_paste(frontier.cheapest.steps, frontier.cheapest.schedule)}; {within}"


def _paste(steps: int, policy: str) -> str:
    return paste(steps, PlanRecord(block_length=None, counts=None, alphas=None, policy=policy))
