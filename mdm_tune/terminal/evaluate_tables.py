"""What the console shows of ``evaluate``, and of numbers by lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mdm_tune.core.messages import quantity
from mdm_tune.terminal.layout import Grid
from mdm_tune.terminal.tables import short_names

if TYPE_CHECKING:  # these load torch
    from mdm_tune.run.evaluate_records import EvaluateResult, HarnessResult

__all__ = ["difference_lines", "evaluate_table", "figures_table"]

FIGURES = ("token_entropy", "distinct_tokens", "answer_length", "distinct_words")


def evaluate_table(result: EvaluateResult | HarnessResult) -> Grid:
    """Every schedule at every budget, and how it compares with linear there."""
    rows, linear, against = result.rows, result.reference, result.minus_reference
    of = "computed exactly" if result.exact else f"{quantity(rows[0].n or 0, 'example')}, 95 % intervals"
    of += f"; compared with {linear}" if linear != "linear" else ""
    headings = ("steps", "schedule", "value", *(["minus linear"] if against else []), "calls")
    table = Grid(f"{rows[0].metric}, {of}", headings, ("schedule",))
    short = short_names([row.schedule for row in rows])
    for row in rows:
        more = against.get((row.steps, row.schedule))
        compared = ["" if more is None else more.text] if against else []
        table.row(str(row.steps), short[row.schedule], row.estimate.text, *compared, row.calls.text)
    if result.data is not None:
        empty = ("",) * (2 if against else 1)
        table.row("", "the data itself", result.data.estimate.text, *empty, style="dim")
    return table


def figures_table(result: EvaluateResult | HarnessResult) -> Grid | None:
    """The figures that fall when samples become alike, where the metric has any."""
    rows = result.rows
    figures = [name for name in FIGURES if name in rows[0].diversity]
    if not figures:
        return None
    named = [name.replace("_", " ") for name in figures]
    table = Grid("diversity, means over the same samples", ("steps", "schedule", *named), ("schedule",))
    short = short_names([row.schedule for row in rows])
    for row in rows:
        table.row(str(row.steps), short[row.schedule], *(f"{row.diversity[name]:.3f}" for name in figures))
    if (data := result.data) is not None:
        table.row("", "the data itself", *(f"{data.diversity[name]:.3f}" for name in figures), style="dim")
    return table


def difference_lines(result: EvaluateResult | HarnessResult) -> Iterator[str]:
    """The samples on which two schedules differ most, which two they are, and why these."""
    found = result.differences
    if found is None:
        return
    if not found:
        yield "\nlinear and the last schedule differ on no example"
    metric = result.rows[0].metric
    for pair in dict.fromkeys((each.first.schedule, each.second.schedule) for each in found):
        names = short_names(pair)
        first, second = (names[name] for name in pair)
        yield (
            f"\nlargest differences in {metric}, drawn from the same noise: {first} and {second}, the last of the "
            "compared schedules"
        )
        for each in found:
            if (each.first.schedule, each.second.schedule) == pair:
                yield f"\n  {quantity(each.steps, 'step')}, example {each.id}"
                for side in (each.first, each.second):
                    yield f"    {names[side.schedule]}: {metric} {side.value:.4g}"
                    yield "\n".join(f"      {line}" for line in side.text.split("\n"))
