"""What a page says of the diversity of samples beside linear at many steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdm_tune.core.messages import quantity
from mdm_tune.pages.names import and_listed, figure_name, short_name
from mdm_tune.pages.run_values import LossView
from mdm_tune.pages.run_views import BudgetView

__all__ = ["diversity_texts"]

NONE = 0.0005  # a share that is 0.0 % in the text


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
    measured = [
        (loss.share, loss, budget)
        for budget in open_budgets
        for loss in budget.losses
        if loss.than == "reference" and budget.reference_steps is not None
    ]
    if measured:
        _, loss, budget = max(measured, key=lambda found: found[0])
        names = and_listed(list(dict.fromkeys(figure_name(each.figure) for _, each, _ in measured)))
        yield _most_lost(loss, budget, names)


def _most_lost(loss: LossView, budget: BudgetView, names: str) -> str:
    """The largest loss of all figures and budgets where none is flagged."""
    many = f"linear at {quantity(budget.reference_steps or 0, 'step')}"
    if loss.share < NONE:
        return f"None of the winners' figures of diversity ({names}) falls below that of {many} in the mean."
    at, limit = quantity(budget.steps, "step"), budget.threshold or 1.0
    name, by = figure_name(loss.figure), f"{100 * loss.share:.1f} %{_ends(loss)} at {at}"
    text = f"Of the winners' figures of diversity ({names}), {name} falls most below that of {many}: by {by}"
    if name == names:
        text = f"In {name} the winners' samples fall below those of {many} by {by}"
    beside = [] if loss.of_linear is None else [f"linear {_from(loss.of_linear)}"]
    if budget.rival is not None and not budget.is_rival and (share := _of_rival(loss, budget)) is not None:
        beside.append(f"hand-made {short_name(budget.rival.label)} {_from(share)}")
    text += f", where {and_listed(beside)}" if beside else ""
    if loss.share < limit:
        reached = ", which the interval does not exclude" if loss.ends and max(loss.ends) >= limit else ""
        return f"{text}. Losses from {100 * limit:g} % on are flagged{reached}."
    return f"{text}. That is over the limit of {100 * limit:g} %, but not by more than noise."


def _of_rival(loss: LossView, budget: BudgetView) -> float | None:
    """The loss of the best hand-made schedule in the same figure; None if it was not measured."""
    own, other = (budget.diversity.get(source, {}).get(loss.figure) for source in ("rival", "reference"))
    return None if own is None or other is None or not other.value else 1 - own.value / other.value


def _from(share: float) -> str:
    """How far linear at the same steps lies from linear at many steps."""
    if abs(share) < NONE:
        return "is at the same level"
    return f"is {100 * abs(share):.1f} % {'below' if share > 0 else 'above'} it"


def _ends(loss: LossView) -> str:
    """The interval of a loss in per cent; empty if it is not known."""
    return "" if loss.ends is None else " [{:.1f}, {:.1f}]".format(*(100 * end for end in loss.ends))


def _lost(loss: LossView, budget: BudgetView, others: Sequence[str]) -> str:
    """A loss that is flagged but does not forbid a gain, because it is not one against linear at the same steps."""
    at, name = quantity(budget.steps, "step"), figure_name(loss.figure)
    many = "many steps" if budget.reference_steps is None else quantity(budget.reference_steps, "step")
    limit = "" if budget.threshold is None else f" The limit is {100 * budget.threshold:g} %."
    text = f"At {at} {name} is {100 * loss.share:.1f} %{_ends(loss)} below that of linear at {many}.{limit}"
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
