"""Rows of the tables of a page, each once: what is the same at every budget has one row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.core.interval_text import interval_decimals
from mdm_tune.core.messages import quantity
from mdm_tune.core.statistics import Estimate
from mdm_tune.pages.run_views import BudgetView, GainView, RunView

__all__ = ["DiversityRow", "DiversityTable", "decimals_of", "diversity_table", "own_calls", "values_of_data"]

Figures = Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class DiversityRow:
    """The diversity of some samples.

    Attributes:
        name: what was sampled.
        label: of its policy, which has a marker; empty without one.
        steps: the budget; None if the row is that of all budgets.
        figures: by name.
        tuned: whether it is the policy that the search returned.
    """

    name: str
    label: str
    steps: int | None
    figures: Figures
    tuned: bool = False


@dataclass(frozen=True)
class DiversityTable:
    """The diversity of samples at all budgets.

    Attributes:
        samples: on which figures are computed, in words; empty if unknown.
        figures: the names of the columns.
        rows: of the table.
        reference: linear at many steps, in words, whose value no run records; empty if it is not among the rows.
    """

    samples: str
    figures: Sequence[str]
    rows: Sequence[DiversityRow]
    reference: str = ""


def diversity_table(view: RunView) -> DiversityTable | None:
    """The table of a search; None if there are no figures."""
    budgets = [budget for budget in view.budgets if budget.diversity]
    if not budgets:
        return None
    rows = [row for budget in budgets for row in _of_budget(budget)]
    rows += _shared({b.steps: (_reference(b), b.diversity.get("reference")) for b in budgets})
    rows += _shared({b.steps: ("the data itself", b.diversity.get("data")) for b in budgets})
    counts = sorted({budget.samples for budget in budgets if budget.samples})
    samples = f"{counts[0]} to {quantity(counts[-1], 'sample')}" if len(counts) > 1 else ""
    samples = quantity(counts[0], "sample") if len(counts) == 1 else samples
    reference = " and ".join(dict.fromkeys(_reference(each) for each in budgets if "reference" in each.diversity))
    columns = [*dict.fromkeys(name for row in rows for name in row.figures)]
    return DiversityTable(samples=samples, figures=columns, rows=rows, reference=reference)


def _reference(budget: BudgetView) -> str:
    return f"linear at {quantity(budget.reference_steps or 0, 'step')}"


def _of_budget(budget: BudgetView) -> list[DiversityRow]:
    """The policies that are compared at the budget. One that is the winner itself is not repeated."""
    winner = budget.diversity.get("winner")
    rival = "" if budget.rival is None else budget.rival.label
    others = [("linear", budget.diversity.get("linear")), (rival, budget.diversity.get("rival"))]
    rows = [
        DiversityRow(name=label, label=label, steps=budget.steps, figures=found)
        for label, found in others
        if found is not None and not (budget.kind == label and found == winner)
    ]
    if winner is None:
        return rows
    own = DiversityRow(name=budget.title, label=budget.label, steps=budget.steps, figures=winner, tuned=True)
    return [own, *rows]


def _shared(found: Mapping[int, tuple[str, Figures | None]]) -> list[DiversityRow]:
    """One row where the samples are the same at all budgets; else one for each, in their order."""
    rows = [
        DiversityRow(name=name, label="", steps=steps, figures=figures)
        for steps, (name, figures) in found.items()
        if figures is not None
    ]
    if rows and all((row.name, row.figures) == (rows[0].name, rows[0].figures) for row in rows):
        return [DiversityRow(name=rows[0].name, label="", steps=None, figures=rows[0].figures)]
    return rows


def values_of_data(view: RunView) -> list[tuple[int | None, Estimate]]:
    """The value of the data itself, once if it is the same at all budgets: each with its budget, or None for all."""
    found = [(budget.steps, budget.data) for budget in view.budgets if budget.data is not None]
    if found and all(value == found[0][1] for _, value in found):
        return [(None, found[0][1])]
    return [*found]


def own_calls(view: RunView) -> bool:
    """Whether the table of values has a column of calls: some policy makes another number than its budget has steps.

    A search over several kinds of policies has the calls in the table of kinds.
    """
    if any(budget.policies for budget in view.budgets):
        return False
    rows = [row for budget in view.budgets for row in budget.baselines.values()]
    return any(b.calls != b.steps for b in view.budgets) or any(row.calls not in (None, row.steps) for row in rows)


def decimals_of(view: RunView) -> dict[str, tuple[int, int]]:
    """The decimals of the columns of values and of gains, by table: as many as the shortest interval of each needs."""
    kinds = [each for budget in view.budgets for each in budget.policies]
    values = [row.estimate for budget in view.budgets for row in budget.baselines.values()]
    values += [budget.estimate for budget in view.budgets] + [value for _, value in values_of_data(view)]
    gains = [gain for budget in view.budgets for gain in budget.over.values()]
    return {
        "kinds": (_decimals(each.estimate for each in kinds), _decimals(each.gain for each in kinds)),
        "winners": (_decimals(values), _decimals(gains)),
        "rows": (_decimals(row.estimate for row in view.rows), _decimals(row.difference for row in view.rows)),
    }


def _decimals(column: Iterable[Estimate | GainView | None]) -> int:
    found = [each.ci if isinstance(each, Estimate) else each.familywise or each.own for each in column if each]
    ends = [each for each in found if each is not None and all(map(math.isfinite, each))]
    return max((interval_decimals(*each) for each in ends), default=0)
