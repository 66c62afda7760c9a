"""Tables and lines that the console shows, from the JSON records of the commands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

__all__ = ["budget_table", "curve_table", "described", "interval", "left_behind", "paste", "short_names", "verdict"]

Record = dict[str, Any]

CURVE_ROWS = 9  # points of a profile that a table shows
BAR = 24  # characters of the longest bar


def interval(value: float | None, bounds: Sequence[float] | None) -> str:
    """A value with its interval, in as many decimals as give the interval's width two digits."""
    if value is None:
        return "infinite"
    if bounds is None:
        return f"{value:.5f}"
    width = bounds[1] - bounds[0]
    decimals = min(6, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 3
    return f"{value:.{decimals}f} [{bounds[0]:.{decimals}f}, {bounds[1]:.{decimals}f}]"


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """File names without their folders, as long as that tells them apart."""
    short = {label: Path(label).name if label.endswith((".yaml", ".yml")) else label for label in labels}
    return short if len(set(short.values())) == len(short) else {label: label for label in labels}


def budget_table(budget: Record) -> Table:
    """One budget: the tuned schedule, the baselines, and what the data scores."""
    title = f"{budget['steps']} steps, {budget['metric']} ({budget['direction']})"
    table = Table(title=title, title_justify="left")
    table.add_column("schedule")
    table.add_column("value" if budget["ci"] is None else "value [95 %]", justify="right")
    table.add_row(f"tuned: {described(budget['schedule'])}", interval(budget["value"], budget["ci"]), style="bold")
    for name, found in budget["baselines"].items():
        table.add_row(name, interval(found["value"], found["ci"]))
    if budget["data"] is not None:
        table.add_row("the data itself", interval(budget["data"]["value"], budget["data"]["ci"]), style="dim")
    return table


def verdict(budget: Record) -> list[str]:
    """Whether the gain over linear is larger than the noise, and what else to know."""
    better = budget["gain_over_linear"]
    amount = interval(better["value"], better["ci"])
    if budget["beats_linear"]:
        lines = [f"better than linear by {amount}"]
    elif budget["flags"] and better["ci"][0] > 0:
        lines = [f"better than linear by {amount}, but not counted as a win: the samples are less diverse"]
    else:
        lines = [f"no gain over linear here: {amount}"]
    for figure in (flag.removeprefix("less-diverse:") for flag in budget["flags"]):
        found = {name: interval(*each[figure].values()) for name, each in budget["diversity"].items()}
        lines.append(f"  {figure.replace('_', ' ')}: " + "; ".join(f"{name} {text}" for name, text in found.items()))
    if budget["detectable_gain"] is not None:
        lines.append(f"this report split shows gains of {budget['detectable_gain']:.3g} and more (80 % power)")
    if budget["all_reachable_counts_scored"]:
        lines.append("stopped early: every count vector that a scan of the box finds was scored")
    if budget["counts"] is not None and budget["nfe"] < budget["steps"]:
        lines.append(
            f"{budget['nfe']:g} denoiser calls, not {budget['steps']}: the other steps have no token to reveal"
        )
    return lines


def curve_table(record: Record, of: str) -> Table:
    """The profile at a few numbers of visible tokens."""
    table = Table(title=f"information profile, {of}", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("tokens visible", "nats per token", "standard error"):
        table.add_column(heading, justify="right")
    points = list(zip(record["revealed"], record["cross_entropy"], record["stderr"], strict=True))
    shown = sorted({round(i * (len(points) - 1) / (CURVE_ROWS - 1)) for i in range(CURVE_ROWS)})
    largest = max(record["cross_entropy"])
    table.add_column("", justify="left")
    for visible, loss, stderr in (points[i] for i in shown):
        bar = "█" * round(BAR * loss / largest) if largest > 0 else ""
        table.add_row(str(visible), f"{loss:.4f}", "" if record["exact"] else f"{stderr:.4f}", bar)
    return table


def left_behind(budget: Record) -> str:
    """How far the best Beta is from the optimum, and how many steps it saves linear."""
    gap, ratio, needs = budget["gap"], budget["gap"]["excess_ratio"], budget["linear_steps_for_same_nelbo"]
    share = "" if ratio is None else f" ({100 * (ratio - 1):.1f} % of its loss above one token per step)"
    measured, more = gap["measured"], budget["beta"]["minus_linear"]
    noise = "" if measured["ci"] is None else f", on the losses {interval(measured['nelbo'], measured['ci'])}"
    steps = "more steps than were tried" if needs is None else f"{needs} steps"
    if more["nelbo"] >= 0 or (more["ci"] is not None and more["ci"][1] >= 0):
        verdict = "no gain over linear here"
    else:
        verdict = f"linear needs {steps} to be as good"
    return (
        f"{budget['steps']} steps: {verdict}; on the curve that schedules are chosen on the best Beta is "
        f"{gap['nelbo']:.3g} nats above the optimum over all{share}{noise}"
    )


def described(schedule: Record) -> str:
    """``beta(a, b)`` in four digits, or the schedule's name."""
    return schedule["type"] if schedule["a"] is None else f"beta({schedule['a']:.4g}, {schedule['b']:.4g})"


def paste(budget: Record) -> str:
    """A line of Python for a sampler's loop."""
    if budget["counts"] is None:
        alphas = ", ".join(f"{alpha:.6g}" for alpha in budget["alphas"])
        return f"alphas = [{alphas}]  # {budget['steps']} steps, ancestral reveal"
    return f"counts = {budget['counts']}  # {budget['steps']} steps, tokens to reveal at each"
