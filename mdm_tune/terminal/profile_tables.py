"""Tables and lines about an information profile and its prices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdm_tune.core.messages import quantity
from mdm_tune.terminal.layout import BAR, Grid

if TYPE_CHECKING:  # these load torch
    from mdm_tune.run.prices import Priced, PricedBudget
    from mdm_tune.run.profile_records import ProfileRecord

__all__ = ["curve_table", "energies_table", "left_behind", "prices_table"]

CURVE_ROWS = 9  # points of a profile in a table
LONGEST = 24  # characters of the longest bar


def curve_table(profile: ProfileRecord, source: str) -> Grid:
    """The cross-entropy in nats per token at a few numbers of visible tokens.

    Args:
        profile: The profile.
        source: End of the title, such as "128 examples, 95 % intervals".
    """
    points = len(profile.revealed)
    shown = sorted({round(i * (points - 1) / (CURVE_ROWS - 1)) for i in range(CURVE_ROWS)})
    largest = max(profile.cross_entropy)
    parts = [part for part in (profile.content, profile.end_of_text) if part is not None]
    part_headings = ("content", "from the end on")[: len(parts)]
    ends_heading = () if profile.exact else ("95 %",)
    headings = ("tokens visible", "nats per token", *ends_heading, *part_headings, "")
    table = Grid(f"information profile, {source}", headings, ("",))
    for i in shown:
        loss, ends = profile.cross_entropy[i], None if profile.cross_entropy_ci is None else profile.cross_entropy_ci[i]
        part_losses = ("" if value is None else f"{value:.4f}" for value in (part[i] for part in parts))
        bar = BAR * round(LONGEST * loss / largest) if largest > 0 else ""
        interval = profile.cross_entropy_no_interval or "" if ends is None else f"[{ends[0]:.4f}, {ends[1]:.4f}]"
        table.row(str(profile.revealed[i]), f"{loss:.4f}", *(interval for _ in ends_heading), *part_losses, bar)
    return table


def prices_table(profile: ProfileRecord, source: str) -> Grid:
    """The NELBO of every schedule at every budget, priced by the profile of one block length.

    Args:
        profile: The profile with its prices.
        source: End of the title, such as "128 examples, 95 % intervals".
    """
    table = Grid(f"NELBO, nats per sequence, {source}", ("steps", "schedule", "NELBO", "minus linear"), ("schedule",))
    sharing = {"tuned": ", steps of blocks tuned", "equal": ", steps of blocks equal"}
    for budget in profile.budgets:
        for name, priced in budget.schedules.items():
            kind, _, shares = name.partition("_")
            same = name == "optimum" and budget.optimum_is_beta
            label = _label(kind, priced) + (": that of the best Beta" if same else "") + sharing.get(shares, "")
            cells = (priced.nelbo.text, priced.minus_linear.text)
            table.row(str(budget.steps), label, *cells, style="bold" if name == "beta" else "")
        table.add_section()
    table.row(str(profile.length), "one token per step", profile.one_token_per_step.text, style="dim")
    return table


def _label(kind: str, priced: Priced) -> str:
    if kind != "beta":
        return kind
    return f"best Beta: ({priced.parameters['a']:.4g}, {priced.parameters['b']:.4g})"


def energies_table(profile: ProfileRecord) -> Grid:
    """The energy of every schedule under two weights. A schedule that does not depend on the budget has one row."""
    weights = tuple(profile.budgets[0].schedules["linear"].energies)
    headings = ("steps", "schedule", *(f"gamma of {name}" for name in weights))
    table = Grid("energy, in multiples of the least; no measure of quality", headings, ("schedule",))
    shown = set[str]()
    for budget in profile.budgets:
        for name, priced in budget.schedules.items():
            if "_" in name or name in shown:
                continue  # linear_tuned and the like only share the steps of blocks otherwise: the curve is the same
            own = name in ("beta", "optimum")
            shown |= set() if own else {name}
            cells = (f"{energy:.4f}" if math.isfinite(energy) else "infinite" for energy in priced.energies.values())
            table.row(str(budget.steps) if own else "any", _label(name, priced), *cells)
    return table


def left_behind(budget: PricedBudget) -> str:
    """A line with the steps that linear needs to match the best Beta, and the loss of the best Beta to the optimum."""
    linear_steps, ends, ratio = budget.linear_steps, budget.linear_range, budget.excess_ratio
    share = "" if ratio is None else f" ({100 * (ratio - 1):.1f} % of its loss above one token per step)"
    steps = "more steps than were tried" if linear_steps is None else quantity(linear_steps, "step")
    if ends is not None and ends[0] is not None:
        steps += f" [{ends[0]}, {'more than were tried' if ends[1] is None else ends[1]}]"
    verdict = f"linear needs {steps} to be as good" if budget.gain_expected else "no gain over linear here"
    where = f"above the optimum over all schedules{share}"
    if budget.gap.value < 0:
        where = "below the optimum over all schedules" + (", within the noise" if budget.within_noise else "")
    if budget.gap.exact:
        return f"{quantity(budget.steps, 'step')}: {verdict}; the best Beta is {budget.distance.value:.3g} nats {where}"
    replaced = " and takes its place" if budget.optimum_is_beta else ""
    return (
        f"{quantity(budget.steps, 'step')}: {verdict}; on examples that chose neither the best Beta is "
        f"{budget.distance.text} nats {where}{replaced}"
    )
