"""Names of Beta(a, b) that stand beside counts: with as many digits as give these counts."""

from __future__ import annotations

from dataclasses import replace

from mdm_tune.pages.run_steps import named_counts
from mdm_tune.pages.run_views import BudgetView, Drawn, PairView, PolicyView, RunView
from mdm_tune.schedules.labels import Label

__all__ = ["brief_label", "with_brief_names"]

FEWEST, MOST = 3, 12  # significant digits of a and of b


def brief_label(view: RunView, budget: BudgetView, label: str) -> str:
    """The label of a schedule Beta(a, b) with the fewest digits, at least three, that give its counts at a budget.

    Returns:
        The label; as it is if it is not of the family, or if its counts are unknown.
    """
    parsed = Label.read(label)
    kind, _, numbers = parsed.name.partition(":")
    if kind != "beta" or (counts := named_counts(view, budget, label)) is None:
        return label
    for digits in range(FEWEST, MOST + 1):
        rounded = ",".join(f"{float(number):.{digits}g}" for number in numbers.split(","))
        found = str(Label(f"beta:{rounded}", parsed.blocks))
        if named_counts(view, budget, found) == counts:
            return found
    return label


def with_brief_names(view: RunView) -> RunView:
    """The view with brief labels of what its budgets found, there and above the samples."""
    budgets = tuple(_named(view, budget) for budget in view.budgets)
    known = {(each.steps, each.label): each.brief for each in budgets if each.brief}
    return replace(view, budgets=budgets, pairs=tuple(_named_pair(pair, known) for pair in view.pairs))


def _named(view: RunView, budget: BudgetView) -> BudgetView:
    brief = brief_label(view, budget, budget.label) if budget.of_the_family and budget.counts else ""
    if brief and named_counts(view, budget, brief) != budget.counts:  # a rule of an older version made them
        brief = ""
    return replace(budget, brief=brief, policies=tuple(_named_policy(view, budget, each) for each in budget.policies))


def _named_policy(view: RunView, budget: BudgetView, policy: PolicyView) -> PolicyView:
    if policy.kind != "counts" or policy.policy is None:
        return policy
    return replace(policy, policy=brief_label(view, budget, policy.policy))


def _named_pair(pair: PairView, known: dict[tuple[int, str], str]) -> PairView:
    def named(drawn: Drawn) -> Drawn:
        return replace(drawn, label=known.get((pair.steps, drawn.label), drawn.label))

    third = None if pair.third is None else named(pair.third)
    return replace(pair, first=named(pair.first), second=named(pair.second), third=third)
