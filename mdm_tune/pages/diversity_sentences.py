"""What a page says of the diversity of samples beside linear at many steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdm_tune.core.messages import quantity
from mdm_tune.pages.names import and_listed, figure_name
from mdm_tune.pages.run_values import LossView
from mdm_tune.pages.run_views import BudgetView

__all__ = ["diversity_texts"]


def diversity_texts(budgets: Sequence[BudgetView]) -> Iterator[str]:
    """What is said of losses against linear at many steps that do not forbid a gain: of the largest one."""
    open_budgets = [budget for budget in budgets if not any(loss.flagged and loss.blocks for loss in budget.losses)]
    flagged = [
        (loss.share, loss, budget)
        for budget in open_budgets
        for loss in budget.losses
        if loss.flagged and loss.than == "reference"
    ]
    if flagged:
        _, loss, budget = max(flagged, key=lambda found: found[0])
        others = sorted({str(each.steps) for _, _, each in flagged if each is not budget}, key=int)
        yield _lost(loss, budget, others)
        return
    measured = [(each.share, budget) for budget in open_budgets if (each := _entropy_loss(budget)) is not None]
    if not measured:
        return
    _, budget = max(measured, key=lambda found: found[0])
    compared = [loss for each in open_budgets for loss in each.losses if loss.than == "reference"]
    names = and_listed(list(dict.fromkeys(figure_name(loss.figure) for loss in compared)))
    within = max(loss.share for loss in compared) < (budget.threshold or 1.0)
    limit = f"{100 * (budget.threshold or 1.0):g} %"
    limit = f"{limit} or more" if within else f"more than both {limit} and the noise"
    at = f"linear at {quantity(budget.reference_steps or 0, 'step')}"
    entropy = _entropy_text(budget, several=len(measured) > 1)
    yield f"No figure of diversity ({names}) is lower than that of {at} by {limit}. {entropy}"


def _lost(loss: LossView, budget: BudgetView, others: Sequence[str]) -> str:
    """A loss that is flagged but does not forbid a gain, because it is not one against linear at the same steps."""
    at, name = quantity(budget.steps, "step"), figure_name(loss.figure)
    ends = "" if loss.ends is None else " [{:.1f}, {:.1f}]".format(*(100 * end for end in loss.ends))
    many = "many steps" if budget.reference_steps is None else quantity(budget.reference_steps, "step")
    limit = "" if budget.threshold is None else f" The limit is {100 * budget.threshold:g} %."
    text = f"At {at} {name} is {100 * loss.share:.1f} %{ends} below that of linear at {many}.{limit}"
    if loss.of_linear is not None:
        more = 100 * (loss.share - loss.of_linear)
        if more <= 0.05:
            text += f" Linear at {at} is as far below: the loss is due to few steps, not to what was tuned."
        else:
            side = "below" if loss.of_linear >= 0 else "above"
            text += (
                f" Linear at {at} is {100 * abs(loss.of_linear):.1f} % {side} it. The difference between the winner "
            )
            text += "and linear is not shown to exceed the limit, so it does not forbid the claim of a gain."
    if others:
        text += f" Smaller losses over the limit are at {and_listed(others)} step{'' if others == ['1'] else 's'}."
    return text


def _entropy_loss(budget: BudgetView) -> LossView | None:
    """The loss of token entropy against linear at many steps; None if it was not measured."""
    if budget.reference_steps is None:
        return None
    return next((loss for loss in budget.losses if (loss.figure, loss.than) == ("token_entropy", "reference")), None)


def _entropy_text(budget: BudgetView, *, several: bool) -> str:
    """How the token entropy at a budget compares with linear at many steps; empty if it was not measured.

    several: whether there are other budgets, where it is no lower.
    """
    loss = _entropy_loss(budget)
    if loss is None or budget.reference_steps is None:
        return ""
    sign = 1 if loss.share >= 0 else -1
    ends = "" if loss.ends is None else " [{:.1f}, {:.1f}]".format(*sorted(100 * sign * end for end in loss.ends))
    change = f"{100 * sign * loss.share:.1f} %{ends} {'below' if sign > 0 else 'above'}"
    lowest = ", the lowest of all budgets" if several else ""
    return f"Token entropy is {change} it at {quantity(budget.steps, 'step')}{lowest}."
