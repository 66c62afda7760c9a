"""What a search cost, beside the grid of arXiv:2509.13866."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mdm_tune.core.messages import quantity
from mdm_tune.pages.names import large, time_text
from mdm_tune.pages.run_views import RunView

__all__ = ["Bar", "Part", "cost_facts", "costs_of"]

NAMES = {
    "comparison": "comparison on unseen examples",
    "pilots": "linear and squared-sine, scored before the trials",
    "own_answers": "the model\u2019s own answers",
}
SHADES = {"own_answers": "profile"}  # both come before the trials


@dataclass(frozen=True)
class Part:
    """A part of a bar.

    Attributes:
        kind: profile, pilots, trials or comparison: its shade.
        name: in words.
        rows: denoiser rows.
    """

    kind: str
    name: str
    rows: int


@dataclass(frozen=True)
class Bar:
    """Denoiser rows as a bar in parts."""

    name: str
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """The rows of all parts."""
        return sum(part.rows for part in self.parts)


def costs_of(view: RunView) -> list[Bar]:
    """Two bars: the rows of the search by purpose, and those of the grid of the paper with the same comparison."""
    if view.cost is None or not view.cost[0]:
        return []
    parts = [
        Part(SHADES.get(kind, kind), NAMES.get(kind, kind), int(rows)) for kind, rows in view.rows_of.items() if rows
    ]
    bars = [Bar("this search", tuple(parts or [Part("trials", "all", view.cost[0])]))]
    grid = [budget.grid_rows or 0 for budget in view.budgets]
    if parts and all(grid):
        comparison = [part for part in parts if part.kind == "comparison"]
        bars.append(
            Bar(
                "the grid of arXiv:2509.13866, computed and not run",
                (Part("trials", "its 10 x 10 schedules, those with equal counts once", sum(grid)), *comparison),
            )
        )
    return bars


def cost_facts(view: RunView) -> Iterator[tuple[str, str]]:
    """What the search and the evaluation cost, as names and sentences."""
    if view.cost is not None:
        rows, tokens, seconds = view.cost
        yield "search", f"{large(view.trials)} trials, {large(rows)} rows, {large(tokens)} tokens, {time_text(seconds)}"
        trials = view.rows_of.get("trials", 0) + view.rows_of.get("pilots", 0) + view.rows_of.get("profile", 0)
        grid = sum(budget.grid_rows or 0 for budget in view.budgets)
        bars = costs_of(view)
        if len(bars) > 1 and trials:
            yield (
                "against the grid",
                f"{100 * bars[0].rows / bars[1].rows:.2g} % of the rows that it would take; "
                f"{100 * trials / grid:.2g} % without the comparison on unseen examples, which both need",
            )
    for budget in view.budgets if view.cost is not None else ():
        dropped = f", {large(budget.dropped)} of them dropped early" if budget.dropped else ""
        ended = f"; why no more trials were run: {budget.ended}" if budget.ended else ""
        missed = "".join(f"; {each}" for each in dict.fromkeys(budget.unreachable))
        yield f"trials at {quantity(budget.steps, 'step')}", f"{large(budget.trials)}{dropped}{ended}{missed}"
    if view.evaluate_cost is not None:
        rows, tokens, seconds = view.evaluate_cost
        yield "evaluation", f"{large(rows)} rows, {large(tokens)} tokens, {time_text(seconds)}"
