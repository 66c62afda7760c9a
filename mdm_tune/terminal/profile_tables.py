"""What the console shows of an information profile, from the JSON of its command."""

from __future__ import annotations

from typing import Any

from mdm_tune.core.intervals import estimate_text, is_exact
from mdm_tune.core.messages import quantity
from mdm_tune.terminal.layout import BAR, Grid

__all__ = ["curve_table", "energies_table", "left_behind", "prices_table"]

Record = dict[str, Any]

CURVE_ROWS = 9  # points of a profile that a table shows
LONGEST = 24  # characters of the longest bar


def curve_table(record: Record, of: str) -> Grid:
    """The profile at a few numbers of visible tokens."""
    intervals = record["cross_entropy_ci"] or [None] * len(record["revealed"])
    points = list(zip(record["revealed"], record["cross_entropy"], intervals, strict=True))
    shown = sorted({round(i * (len(points) - 1) / (CURVE_ROWS - 1)) for i in range(CURVE_ROWS)})
    largest = max(record["cross_entropy"])
    parts = [record[name] for name in ("content", "end_of_text") if record["content"] is not None]
    apart_headings = ("content", "from the end on")[: len(parts)]
    headings = ("tokens visible", "nats per token", "95 %", *apart_headings, "")
    table = Grid(f"information profile, {of}", headings, ("",))
    missing = "" if record["exact"] else record.get("cross_entropy_no_interval") or ""
    for i in shown:
        visible, loss, ends = points[i]
        apart = ("" if part[i] is None else f"{part[i]:.4f}" for part in parts)
        bar = BAR * round(LONGEST * loss / largest) if largest > 0 else ""
        table.row(
            str(visible), f"{loss:.4f}", missing if ends is None else f"[{ends[0]:.4f}, {ends[1]:.4f}]", *apart, bar
        )
    return table


def prices_table(record: Record, of: str) -> Grid:
    """What every schedule costs at every budget, by the profile in one kind of blocks."""
    table = Grid(f"NELBO, nats per sequence, {of}", ("steps", "schedule", "NELBO", "minus linear"), ("schedule",))
    otherwise = {"tuned": ", steps of blocks tuned", "equal": ", steps of blocks equal"}
    for budget in record["budgets"]:
        for name, found in budget.items():
            if isinstance(found, dict) and "minus_linear" in found:
                kind, _, how = name.partition("_")
                label = _label(kind, found) + (
                    ": that of the best Beta" if found.get("same_counts_as") == "beta" else ""
                )
                more = found["minus_linear"]
                cells = (estimate_text(found, "nelbo"), estimate_text(more, "nelbo"))
                label += otherwise.get(how, "")
                table.row(str(budget["steps"]), label, *cells, style="bold" if name == "beta" else "")
        table.add_section()
    lowest = record["one_token_per_step"]
    table.row(str(record["length"]), "one token per step", estimate_text(lowest, "nelbo"), style="dim")
    return table


def _label(kind: str, found: Record) -> str:
    return f"best Beta: ({found['a']:.4g}, {found['b']:.4g})" if kind == "beta" else kind


def energies_table(record: Record) -> Grid:
    """The energy of every schedule under two weights; a schedule that does not depend on the budget has one row."""
    weights = tuple(record["budgets"][0]["linear"]["energy"])
    headings = ("steps", "schedule", *(f"gamma of {name}" for name in weights))
    table = Grid("energy, in multiples of the least; no measure of quality", headings, ("schedule",))
    fixed = set[str]()
    for budget in record["budgets"]:
        for name, found in budget.items():
            if not isinstance(found, dict) or "energy" not in found or "_" in name or name in fixed:
                continue  # linear_tuned and the like share the steps of blocks otherwise: the curve is the same
            own = name in ("beta", "optimum")
            fixed |= set() if own else {name}
            cells = ("infinite" if energy is None else f"{energy:.4f}" for energy in found["energy"].values())
            table.row(str(budget["steps"]) if own else "any", _label(name, found), *cells)
    return table


def left_behind(budget: Record) -> str:
    """How far the best Beta is from the optimum over all, and how many steps it saves linear."""
    gap, needs, ends = budget["gap"], budget["linear_steps_for_same_nelbo"], budget["linear_steps_range"]
    ratio, found = gap["excess_ratio"], gap["measured"]
    share = "" if ratio is None else f" ({100 * (ratio - 1):.1f} % of its loss above one token per step)"
    steps = "more steps than were tried" if needs is None else quantity(needs, "step")
    if ends is not None and ends[0] is not None:
        steps += f" [{ends[0]}, {'more than were tried' if ends[1] is None else ends[1]}]"
    verdict = f"linear needs {steps} to be as good" if budget["gain_expected"] else "no gain over linear here"
    where = f"above the optimum over all{share}"
    if gap["nelbo"] < 0:
        where = "below the optimum over all"
        found = {**found, "nelbo": -found["nelbo"], "ci": found["ci"] and [-end for end in reversed(found["ci"])]}
        where += ", within the noise" if found["ci"] is None or found["ci"][0] <= 0 else ""
    if is_exact(found):
        return f"{quantity(budget['steps'], 'step')}: {verdict}; the best Beta is {abs(gap['nelbo']):.3g} nats {where}"
    kept = " and takes its place" if budget["optimum"]["same_counts_as"] == "beta" else ""
    return (
        f"{quantity(budget['steps'], 'step')}: {verdict}; on examples that chose neither the best Beta is "
        f"{estimate_text(found, 'nelbo')} nats {where}{kept}"
    )
