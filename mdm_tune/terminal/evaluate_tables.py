"""Tables and lines for the results of ``evaluate`` and of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mdm_tune.core.messages import quantity
from mdm_tune.pages.names import FIGURES, figure_name
from mdm_tune.schedules.equal_cost import nearest_budgets
from mdm_tune.terminal.layout import Grid
from mdm_tune.terminal.tables import short_names

if TYPE_CHECKING:  # these load torch
    from mdm_tune.run.evaluate_records import EvaluateResult, HarnessResult, RowRecord

__all__ = ["difference_lines", "evaluate_table", "figures_table"]


def evaluate_table(result: EvaluateResult | HarnessResult) -> Grid:
    """The value of every schedule at every budget, and its difference from linear at that budget."""
    rows, linear, differences = _listed(result), result.reference, result.minus_reference
    title = "computed exactly" if result.exact else f"{quantity(rows[0].n or 0, 'example')}, 95 % intervals"
    title += f"; compared with {linear}" if linear != "linear" else ""
    headings = ("steps", "schedule", "value", *(["minus linear"] if differences else []), "calls")
    table = Grid(f"{rows[0].metric}, {title}", headings, ("schedule",))
    short = short_names([row.schedule for row in rows])
    for row in rows:
        difference = differences.get((row.steps, row.schedule))
        compared = ["" if difference is None else difference.text] if differences else []
        table.row(str(row.steps), short[row.schedule], row.estimate.text, *compared, row.calls.text)
    if result.data is not None:
        empty = ("",) * (2 if differences else 1)
        table.row("", "the data itself", result.data.estimate.text, *empty, style="dim")
    return table


def _listed(result: EvaluateResult | HarnessResult) -> list[RowRecord]:
    """The rows; of a policy that is the same at every budget the one that is nearest to equal cost with linear."""
    nearest = nearest_budgets((row.schedule, row.steps, row.calls.nfe) for row in result.rows)
    return [row for row in result.rows if nearest.get(row.schedule, row.steps) == row.steps]


def figures_table(result: EvaluateResult | HarnessResult) -> Grid | None:
    """The diversity of the samples of every row; None if the metric has no such figures."""
    rows = _listed(result)
    figures = [name for name in FIGURES if name in rows[0].diversity]
    if not figures:
        return None
    headings = map(figure_name, figures)
    table = Grid("diversity, means over the same samples", ("steps", "schedule", *headings), ("schedule",))
    short = short_names([row.schedule for row in rows])
    for row in rows:
        table.row(str(row.steps), short[row.schedule], *(f"{row.diversity[name]:.3f}" for name in figures))
    if (data := result.data) is not None:
        table.row("", "the data itself", *(f"{data.diversity[name]:.3f}" for name in figures), style="dim")
    return table


def difference_lines(result: EvaluateResult | HarnessResult) -> Iterator[str]:
    """Lines that show the samples on which linear and the last schedule differ most; none if not requested."""
    differences = result.differences
    if differences is None:
        return
    if not differences:
        yield "\nlinear and the last schedule differ on no example"
    metric = result.rows[0].metric
    for pair in dict.fromkeys((example.first.schedule, example.second.schedule) for example in differences):
        names = short_names(pair)
        first, second = (names[name] for name in pair)
        yield (
            f"\nlargest differences in {metric}, drawn from the same noise: {first} and {second}, the last of the "
            "compared schedules"
        )
        for example in differences:
            if (example.first.schedule, example.second.schedule) == pair:
                yield f"\n  {quantity(example.steps, 'step')}, example {example.id}"
                for sample in (example.first, example.second):
                    yield f"    {names[sample.schedule]}: {metric} {sample.value:.4g}"
                    yield "\n".join(f"      {line}" for line in sample.text.split("\n"))
