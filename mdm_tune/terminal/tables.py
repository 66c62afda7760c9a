"""Tables and lines that the console shows, from the JSON records of the commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdm_tune.core.intervals import estimate_text, interval_text, is_exact
from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.statistics import TOO_FEW
from mdm_tune.run.record_parts import PlanRecord, ReportedRecord, WarningRecord
from mdm_tune.schedules.labels import Label
from mdm_tune.terminal.cost_tables import cannot_be_shown
from mdm_tune.terminal.layout import Grid

if TYPE_CHECKING:  # it loads torch
    from mdm_tune.run.dry_run_records import OutlookRecord

__all__ = [
    "budget_table",
    "budgets_table",
    "calls",
    "diversity_table",
    "headline",
    "outlook_lines",
    "paste",
    "reported_table",
    "schedule_text",
    "short_names",
    "verdict",
]

Record = dict[str, Any]


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """File names without their folders and parameters in four digits, as long as that tells them apart."""
    short = {label: _short(label) for label in labels}
    return short if len(set(short.values())) == len(short) else {label: label for label in labels}


def _short(label: str) -> str:
    known = Label.read(label)
    name = known.name
    kind, _, numbers = name.partition(":")
    if name.endswith((".yaml", ".yml")):
        name = Path(name).name
    elif kind == "beta":
        name = f"beta:{','.join(f'{float(number):.4g}' for number in numbers.split(','))}"
    return str(replace(known, name=name))


def budget_table(budget: Record) -> Grid:
    """One budget: the tuned schedule, the baselines, and what the data scores."""
    blocks = _blocks(PlanRecord.from_json(budget))
    title = f"{quantity(budget['steps'], 'step')}{blocks}, {budget['metric']} ({budget['direction']})"
    title += f", {quantity(budget['n'], budget['split'] + ' example')}" if budget.get("n") else ""
    table = Grid(title, ("schedule", "value" if budget["ci"] is None else "value [95 %]"), ("schedule",))
    loser = budget.get("loser")  # a result of an earlier version has none
    made = "tuned" if loser is None else "returned"
    table.row(f"{made}: {schedule_text(budget['schedule'])}", estimate_text(budget), style="bold")
    in_blocks = Label.read(budget["linear"]).blocks  # of the baselines that do not say theirs, where there are several
    for name, found in budget["baselines"].items():
        known = Label.read(name)
        table.row(name if known.blocks is not None else str(Label(name, in_blocks)), estimate_text(found))
    if loser is not None:
        table.row(f"not used: {_short(loser['schedule'])}", estimate_text(loser))
    if budget["data"] is not None:
        table.row("the data itself", estimate_text(budget["data"]), style="dim")
    return table


def _blocks(plan: PlanRecord) -> str:
    """Which blocks, where a sequence has several."""
    return "" if plan.blocks == 1 else f" in blocks of {plan.block_length}"


def diversity_table(budget: Record) -> Grid | None:
    """Whether the samples are alike: the winner's figures beside those of linear and of the data."""
    if budget["diversity"] is None:
        return None
    losses = budget["diversity_losses"]
    names = {
        "winner": "tuned",
        "linear": "linear",
        "reference": f"linear at {quantity(losses['reference_steps'], 'step')}",
        "data": "the data itself",
    }
    figures = list(budget["diversity"]["winner"])
    title = (
        f"diversity, {quantity(losses['examples'], 'example')}: a loss of {100 * losses['threshold']:g} % is flagged"
    )
    table = Grid(title, ("samples of", *(figure.replace("_", " ") for figure in figures)), ("samples of",))
    for who, found in budget["diversity"].items():
        table.row(names[who], *(_bare(found[figure]) for figure in figures), style="dim" if who == "data" else "")
    return table


def verdict(budget: Record) -> list[str]:
    """Whether the gain over linear is larger than the noise, and what else to know."""
    lines = [_gain(budget), *_losses(budget)]
    if budget["detectable_gain"] is not None:
        gain = f"{budget['detectable_gain']:.3g}"
        lines.append(f"by the differences seen in it, this report split shows gains of {gain} and more (80 % power)")
    elif budget.get("gain_can_be_shown") is False:
        independent = budget["independent"] if "independent" in budget else budget["n"]
        lines.append(cannot_be_shown(budget["n"], independent))
    if budget["linear"] != "linear":
        lines.append(f"  linear is {budget['linear']}, the best of the compared block lengths on the choose split")
    if (more := budget["gain_over_first_linear"]) is not None:
        lines.append(f"  over linear in the first block length: {estimate_text(more)}")
    if budget["ended"] is not None:
        lines.append(budget["ended"] if budget["ended"].startswith("nothing") else f"stopped early: {budget['ended']}")
    if budget["dropped"]:
        lines.append(
            f"{budget['dropped']} of {budget['trials']} trials were dropped early, since they could hardly win"
        )
    if budget["cut"]:
        lines.append(f"{budget['cut']} of {budget['trials']} trials were cut off, for want of rows or time")
    return [*lines, *_calls(budget)]


def _calls(budget: Record) -> list[str]:
    """Why a winner with counts takes fewer denoiser calls than steps."""
    if budget["counts"] is None:
        return []
    planned, lines = sum(count > 0 for count in budget["counts"]), []
    if planned < budget["steps"]:
        lines.append(
            f"{quantity(planned, 'denoiser call')}, not {budget['steps']}: the other steps have no token to reveal"
        )
    if budget["nfe_ci"] is not None and budget["nfe"] < planned:
        lines.append(
            f"{calls(budget)} denoiser calls in the mean, not {planned}: some answers end early, or are shorter"
        )
    return lines


def calls(record: Record) -> str:
    """Denoiser calls, with an interval where they differ from row to row."""
    return f"{record['nfe']:.4g}" if record["nfe_ci"] is None else interval_text(record["nfe"], record["nfe_ci"])


def _untested(found: Record) -> bool:
    """Whether a difference of samples has no interval, so that nothing is known of it in either direction."""
    return found["ci"] is None and not is_exact(found)


def _gain(budget: Record) -> str:
    if _untested(better := budget["gain_over_linear"]):
        return f"untested: {better['value']:.4g}, {better['no_interval']} for an interval"
    if (loser := budget.get("loser")) is not None:
        lost = loser["gain_over_linear"]
        return (
            f"worse than linear: the schedule that was chosen, {_short(loser['schedule'])}, has a gain of "
            f"{estimate_text(lost)}; linear is returned in its place, and the schedule file keeps the "
            "other as loser"
        )
    amount = estimate_text(better)
    if budget["beats_linear"]:
        return f"better than linear by {amount}"
    if better["shown"]:
        return f"better than linear by {amount}, but not counted as a win: the samples are less diverse"
    if better["ci"] is not None and (better["ci"][0] or 0) > 0:  # true by itself, and too little for a claim
        if better["ci_familywise"][0] > 0:
            few = f"but only {better['examples_that_differ']} examples differ"
            if (needed := better.get("examples_that_must_differ")) is not None:
                few += f", of {needed} that a claim takes"
            return f"no gain over linear is claimed: {amount}, {few}"
        return f"no gain over linear is claimed: {amount}, corrected {estimate_text(better, ci='ci_familywise')}"
    return f"no gain over linear here: {amount}"


def _losses(budget: Record) -> list[str]:
    """A line per loss of diversity that forbids to call a gain one, and one for all others against the same samples."""
    lines, shared = [], dict[str, list[str]]()
    for loss in _flagged(budget):
        share, linear = (f"{100 * loss[name]:.1f} %" for name in ("share", "share_of_linear"))
        many = f"linear at {quantity(budget['diversity_losses']['reference_steps'], 'step')}"
        than = "the data" if loss["than"] == "data" else many
        if loss["blocks"]:
            lines.append(f"  {_figure(loss)}: {share} below {than} (linear at this budget: {linear})")
        else:
            shared.setdefault(than, []).append(f"{_figure(loss)} {share} ({linear})")
    for than, losses in shared.items():
        lines.append(f"  below {than} (in brackets how far linear at this budget is): {', '.join(losses)}")
    return lines


def _flagged(budget: Record) -> list[Record]:
    losses = budget["diversity_losses"]
    return [] if losses is None else [loss for loss in losses["losses"] if loss["flagged"]]


def _figure(loss: Record) -> str:
    return str(loss["figure"]).replace("_", " ")


def budgets_table(record: Record) -> Grid | None:
    """All budgets of a search side by side; None where there is one."""
    budgets = sorted(record["budgets"], key=lambda budget: budget["steps"])
    if len(budgets) < 2:
        return None
    exact = is_exact(budgets[0])
    gain = "gain over linear" if exact else "gain over linear (corrected)"
    headings = ("steps", "calls", "linear", "tuned", gain, "as good as linear at", "less diverse in")
    table = Grid("all budgets", headings, ("less diverse in",))
    for budget in budgets:
        better = budget["gain_over_linear"]
        pairs = [pair for pair in record["frontier"]["pairs"] if pair["steps"] == budget["steps"]]
        reached = max((pair["linear_steps"] for pair in pairs if pair["no_worse"]), default=None)
        none = "untested" if _untested(better) else "none"
        table.row(
            str(budget["steps"]),
            calls(budget),
            _bare(budget["baselines"]["linear"]),
            _bare(budget),
            estimate_text(better, ci="ci_familywise"),
            "" if not pairs else none if reached is None else str(reached),
            ", ".join(dict.fromkeys(_figure(loss) for loss in _flagged(budget) if loss["blocks"])),
        )
    return table


def _bare(found: Record) -> str:
    """A value without its interval, in the decimals that this gives it."""
    return estimate_text(found).split(" ")[0]


def headline(record: Record) -> list[str]:
    """What the budgets say together: how sure the gains are, and how many steps the tuned schedules save."""
    budgets, frontier = record["confidence"]["budgets"], record["frontier"]
    if budgets < 2:
        return []
    exact = is_exact(record["budgets"][0])
    compared = f"{quantity(len(frontier['pairs']), 'comparison')}"
    how = "computed exactly" if exact else f"one-sided 95 %, corrected for {compared}"
    margin = f"(margin {100 * frontier['margin']:g} %, {how})"
    lines = [] if exact else [f"gains are claimed where they hold for all {budgets} budgets together at 95 %"]
    best = frontier["headline"]
    if best is None and frontier["pairs"] and all(_untested(each["gain_over_linear"]) for each in record["budgets"]):
        told = "untested, too few examples: whether a tuned schedule is as good as linear at a larger budget"
        return [*lines, f"{told} {margin}"]
    if best is None:
        return [*lines, f"no tuned schedule is shown to be as good as linear at a larger budget {margin}"]
    lines.append(
        f"at {quantity(best['steps'], 'step')} the tuned schedule is no worse than linear at {best['linear_steps']}: "
        f"{best['ratio']:.1f} times fewer denoiser calls {margin}"
    )
    if best["linear_too"]:
        lines.append(f"  so is linear at {quantity(best['steps'], 'step')}: the saving is not the schedule's")
    if best["flags"]:
        lines.append(f"  its samples are flagged: {', '.join(best['flags'])}")
    return lines


def outlook_lines(found: Sequence[OutlookRecord]) -> list[str]:
    """Per budget, and kind of blocks, the steps of each block and how many count vectors the search can reach."""
    lines = []
    for outlook in found:
        shares, count = outlook.steps_per_block, outlook.reachable_counts
        if shares is None:
            known = "ancestral reveal has no counts" if outlook.ancestral else "a profile will say"
        else:
            known = "1 count vector; nothing to tune" if count == 1 else f"at least {count:,} distinct count vectors"
        if shares is not None and len(shares) > 1:
            each = f"{quantity(shares[0], 'step')} each" if len(set(shares)) == 1 else f"{listed(shares)} steps"
            known = f"{len(shares)} blocks of {quantity(outlook.block_length or 0, 'token')}, {each}; {known}"
        lines.append(f"{quantity(outlook.steps, 'step')}: {known}")
    return lines


def schedule_text(schedule: Record) -> str:
    """``beta(a, b)`` in four digits, or the schedule's name."""
    return schedule["type"] if schedule["a"] is None else f"beta({schedule['a']:.4g}, {schedule['b']:.4g})"


def paste(steps: int, plan: PlanRecord) -> str:
    """A line of Python for a sampler's loop."""
    if plan.counts is None:
        alphas = ", ".join(f"{alpha:.6g}" for alpha in plan.alphas or ())
        return f"alphas = [{alphas}]  # {quantity(steps, 'step')}, ancestral reveal"
    return f"counts = {list(plan.counts)}  # {quantity(steps, 'step')}{_blocks(plan)}, tokens to reveal at each"


def warning_lines(warnings: Sequence[WarningRecord]) -> list[str]:
    """A line for the first warning of each code in a result, with what to do; notes and the JSON have all of them."""
    lines = dict[str, str]()
    for each in warnings:
        said = "; ".join(filter(None, (each.text, each.advice)))
        lines.setdefault(each.code, f"warning [{each.code}]: {said}")
    return list(lines.values())


def reported_table(rows: Sequence[ReportedRecord]) -> Grid | None:
    """What the metrics beside the objective say, where there are any."""
    if not rows:
        return None
    headings = ("steps", "schedule", "metric", "value", "over")
    table = Grid("reported beside the objective, 95 % intervals", headings, ("schedule", "metric", "over"))
    short = short_names([row.schedule for row in rows])
    for row in rows:
        over = f"{row.count} {row.over}" + (" (their range)" if "seeds" in row.over else "")
        value = interval_text(row.value, row.range, TOO_FEW)
        table.row(str(row.steps), short[row.schedule], row.name, value, over)
    return table
