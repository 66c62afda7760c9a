"""What the console shows of an information profile, from the JSON of its command."""

from __future__ import annotations

from typing import Any

from mdm_tune.layout import BAR, Grid
from mdm_tune.tables import interval

__all__ = ["curve_table", "left_behind", "prices_table"]

Record = dict[str, Any]

CURVE_ROWS = 9  # points of a profile that a table shows
LONGEST = 24  # characters of the longest bar


def curve_table(record: Record, of: str) -> Grid:
    """The profile at a few numbers of visible tokens."""
    points = list(zip(record["revealed"], record["cross_entropy"], record["stderr"], strict=True))
    shown = sorted({round(i * (len(points) - 1) / (CURVE_ROWS - 1)) for i in range(CURVE_ROWS)})
    largest = max(record["cross_entropy"])
    parts = [record[name] for name in ("content", "end_of_text") if record["content"] is not None]
    apart_headings = ("content", "from the end on")[: len(parts)]
    headings = ("tokens visible", "nats per token", "standard error", *apart_headings, "")
    table = Grid(f"information profile, {of}", headings, ("",))
    for i in shown:
        visible, loss, stderr = points[i]
        apart = ("" if part[i] is None else f"{part[i]:.4f}" for part in parts)
        bar = BAR * round(LONGEST * loss / largest) if largest > 0 else ""
        table.row(str(visible), f"{loss:.4f}", "" if record["exact"] else f"{stderr:.4f}", *apart, bar)
    return table


def prices_table(record: Record, of: str) -> Grid:
    """What every schedule costs at every budget, by the profile in one kind of blocks."""
    table = Grid(f"NELBO, nats per sequence, {of}", ("steps", "schedule", "NELBO", "minus linear"), ("schedule",))
    otherwise = {"tuned": ", steps of blocks tuned", "equal": ", steps of blocks equal"}
    for budget in record["budgets"]:
        for name, found in budget.items():
            if isinstance(found, dict) and "minus_linear" in found:
                kind, _, how = name.partition("_")
                label = f"best Beta: ({found['a']:.4g}, {found['b']:.4g})" if kind == "beta" else kind
                more = found["minus_linear"]
                cells = (interval(found["nelbo"], found["ci"]), interval(more["nelbo"], more["ci"]))
                label += otherwise.get(how, "")
                table.row(str(budget["steps"]), label, *cells, style="bold" if name == "beta" else "")
        table.add_section()
    lowest = record["one_token_per_step"]
    table.row(str(record["length"]), "one token per step", interval(lowest["nelbo"], lowest["ci"]), style="dim")
    return table


def left_behind(budget: Record) -> str:
    """How far the best Beta is from the optimum, and how many steps it saves linear."""
    gap, ratio, needs = budget["gap"], budget["gap"]["excess_ratio"], budget["linear_steps_for_same_nelbo"]
    share = "" if ratio is None else f" ({100 * (ratio - 1):.1f} % of its loss above one token per step)"
    measured, more = gap["measured"], budget["beta"]["minus_linear"]
    noise = "" if measured["ci"] is None else f", on the losses {interval(measured['nelbo'], measured['ci'])}"
    steps = "more steps than were tried" if needs is None else f"{needs} steps"
    if (among := budget.get("linear_steps_range")) is not None:
        steps += f" [{', '.join(map(_tried, among))}]"
    if more["nelbo"] >= 0 or (more["ci"] is not None and more["ci"][1] >= 0):
        verdict = "no gain over linear here"
    else:
        verdict = f"linear needs {steps} to be as good"
    return (
        f"{budget['steps']} steps: {verdict}; on the curve that schedules are chosen on the best Beta is "
        f"{gap['nelbo']:.3g} nats above the optimum over all{share}{noise}"
    )


def _tried(steps: int | None) -> str:
    """A number of steps of linear; None is more than any that was tried."""
    return "more" if steps is None else str(steps)
