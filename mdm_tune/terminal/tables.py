"""Tables and lines that the console shows of a search, and those that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mdm_tune.core.intervals import interval_text
from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.statistics import TOO_FEW
from mdm_tune.run.record_parts import PlanRecord, ReportedRecord, WarningRecord
from mdm_tune.schedules.labels import Label
from mdm_tune.search.outcomes import Outcome, Saving
from mdm_tune.terminal.cost_tables import cannot_be_shown
from mdm_tune.terminal.layout import Grid

if TYPE_CHECKING:  # these load torch
    from mdm_tune.core.statistics import Estimate
    from mdm_tune.run.dry_run_records import OutlookRecord
    from mdm_tune.run.search_records import BudgetRecord, LossesRecord, QualityRecord, SearchResult
    from mdm_tune.search.claims import Loss

__all__ = [
    "budget_table",
    "budgets_table",
    "diversity_table",
    "headline",
    "outlook_lines",
    "paste",
    "reported_table",
    "short_names",
    "verdict",
]


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


def budget_table(budget: BudgetRecord) -> Grid:
    """One budget: the tuned schedule, the baselines, and what the data scores."""
    quality = budget.quality
    title = f"{quantity(budget.steps, 'step')}{_blocks(budget.plan)}, {quality.metric} ({quality.direction})"
    title += f", {quantity(quality.n, f'{quality.split} example')}" if quality.n else ""
    table = Grid(title, ("schedule", "value" if quality.estimate.ci is None else "value [95 %]"), ("schedule",))
    made = "tuned" if quality.loser is None else "returned"
    table.row(f"{made}: {budget.schedule.text}", quality.estimate.text, style="bold")
    in_blocks = Label.read(quality.linear).blocks  # of the baselines that do not say theirs, where there are several
    for name, found in quality.baselines.items():
        known = Label.read(name)
        table.row(name if known.blocks is not None else str(Label(name, in_blocks)), found.text)
    if quality.loser is not None:
        table.row(f"not used: {_short(quality.loser.schedule)}", quality.loser.estimate.text)
    if quality.data is not None:
        table.row("the data itself", quality.data.text, style="dim")
    return table


def _blocks(plan: PlanRecord) -> str:
    """Which blocks, where a sequence has several."""
    return "" if plan.blocks == 1 else f" in blocks of {plan.block_length}"


def diversity_table(budget: BudgetRecord) -> Grid | None:
    """Whether the samples are alike: the winner's figures beside those of linear and of the data."""
    drawn, losses = budget.quality.diversity, budget.quality.diversity_losses
    if drawn is None or losses is None:
        return None
    names = {"winner": "tuned", "linear": "linear", "reference": _reference(losses), "data": "the data itself"}
    figures = list(drawn["winner"])
    title = f"diversity, {quantity(losses.examples, 'example')}: a loss of {100 * losses.threshold:g} % is flagged"
    table = Grid(title, ("samples of", *(figure.replace("_", " ") for figure in figures)), ("samples of",))
    for who, found in drawn.items():
        table.row(names[who], *(_bare(found[figure]) for figure in figures), style="dim" if who == "data" else "")
    return table


def _reference(losses: LossesRecord) -> str:
    """Linear at many steps, beside which the winner's samples are compared."""
    return f"linear at {quantity(losses.reference_steps or 0, 'step')}"


def verdict(budget: BudgetRecord) -> list[str]:
    """Whether the gain over linear is larger than the noise, and what else to know."""
    quality = budget.quality
    lines = [_gain(quality), *_losses(quality)]
    if quality.detectable_gain is not None:
        gain = f"{quality.detectable_gain:.3g}"
        lines.append(f"by the differences seen in it, this report split shows gains of {gain} and more (80 % power)")
    elif quality.gain_can_be_shown is False:
        examples = quality.n or 0
        lines.append(cannot_be_shown(examples, quality.estimate.count or examples))
    if quality.linear != "linear":
        lines.append(f"  linear is {quality.linear}, the best of the compared block lengths on the choose split")
    if quality.gain_over_first_linear is not None:
        lines.append(f"  over linear in the first block length: {quality.gain_over_first_linear.text}")
    if budget.ended is not None:
        lines.append(f"stopped early: {budget.ended.text}" if budget.ended.ending.early else budget.ended.text)
    if budget.dropped:
        lines.append(f"{budget.dropped} of {budget.trials} trials were dropped early, since they could hardly win")
    if budget.cut:
        lines.append(f"{budget.cut} of {budget.trials} trials were cut off, for want of rows or time")
    if budget.idle_steps:
        calls = quantity(budget.plan.calls or 0, "denoiser call")
        lines.append(f"{calls}, not {budget.steps}: the other steps have no token to reveal")
    if budget.ends_early:
        calls = f"{quality.calls.text} denoiser calls in the mean, not {budget.plan.calls}"
        lines.append(f"{calls}: some answers end early, or are shorter")
    return lines


def _gain(quality: QualityRecord) -> str:
    """The outcome of the comparison with linear, in a sentence."""
    better, loser = quality.gain_over_linear, quality.loser
    match quality.outcome:
        case Outcome.UNTESTED:
            return f"untested: {better.value:.4g}, {better.no_interval} for an interval"
        case Outcome.WORSE if loser is not None:
            return (
                f"worse than linear: the schedule that was chosen, {_short(loser.schedule)}, has a gain of "
                f"{loser.gain_over_linear.text}; linear is returned in its place, and the schedule file keeps the "
                "other as loser"
            )
        case Outcome.BETTER:
            return f"better than linear by {better.text}"
        case Outcome.LESS_DIVERSE:
            return f"better than linear by {better.text}, but not counted as a win: the samples are less diverse"
        case Outcome.TOO_FEW_DIFFER:
            needed = "" if better.fewest is None else f", of {better.fewest} that a claim takes"
            few = f"but only {better.differing} examples differ{needed}"
            return f"no gain over linear is claimed: {better.text}, {few}"
        case Outcome.UNCORRECTED:
            return f"no gain over linear is claimed: {better.text}, corrected {better.corrected_text}"
        case _:
            return f"no gain over linear here: {better.text}"


def _losses(quality: QualityRecord) -> list[str]:
    """A line per loss of diversity that forbids to call a gain one, and one for all others against the same samples."""
    lines, shared = [], dict[str, list[str]]()
    for loss in quality.flagged:
        assert quality.diversity_losses is not None
        share, linear = (f"{100 * each:.1f} %" for each in (loss.share, loss.share_of_linear))
        than = "the data" if loss.than == "data" else _reference(quality.diversity_losses)
        if loss.blocks:
            lines.append(f"  {_figure(loss)}: {share} below {than} (linear at this budget: {linear})")
        else:
            shared.setdefault(than, []).append(f"{_figure(loss)} {share} ({linear})")
    for than, losses in shared.items():
        lines.append(f"  below {than} (in brackets how far linear at this budget is): {', '.join(losses)}")
    return lines


def _figure(loss: Loss) -> str:
    return loss.figure.replace("_", " ")


def budgets_table(result: SearchResult) -> Grid | None:
    """All budgets of a search side by side; None where there is one."""
    if len(result.budgets) < 2:
        return None
    gain = "gain over linear" if result.exact else "gain over linear (corrected)"
    headings = ("steps", "calls", "linear", "tuned", gain, "as good as linear at", "less diverse in")
    table = Grid("all budgets", headings, ("less diverse in",))
    for budget in sorted(result.budgets, key=lambda budget: budget.steps):
        quality = budget.quality
        table.row(
            str(budget.steps),
            quality.calls.text,
            _bare(quality.baselines["linear"]),
            _bare(quality.estimate),
            quality.gain_over_linear.corrected_text,
            _as_good(result, budget),
            ", ".join(dict.fromkeys(_figure(loss) for loss in quality.flagged if loss.blocks)),
        )
    return table


def _as_good(result: SearchResult, budget: BudgetRecord) -> str:
    """The largest budget at which linear is no better, or why there is none."""
    match result.saving_of(budget):
        case None:
            return ""
        case Saving.SHOWN:
            return str(result.claims.frontier.reached(budget.steps))
        case Saving.UNTESTED:
            return "untested"
        case _:
            return "none"


def _bare(found: Estimate) -> str:
    """A value without its interval, in the decimals that this gives it."""
    return found.text.split(" ")[0]


def headline(result: SearchResult) -> list[str]:
    """What the budgets say together: how sure the gains are, and how many steps the tuned schedules save."""
    budgets, frontier = result.claims.confidence.budgets, result.claims.frontier
    if budgets < 2:
        return []
    compared = quantity(len(frontier.pairs), "comparison")
    how = "computed exactly" if result.exact else f"one-sided 95 %, corrected for {compared}"
    margin = f"(margin {100 * frontier.margin:g} %, {how})"
    lines = [] if result.exact else [f"gains are claimed where they hold for all {budgets} budgets together at 95 %"]
    best = frontier.headline
    if best is None:
        shown = "no tuned schedule is shown to be as good as linear at a larger budget"
        if result.saving is Saving.UNTESTED:
            shown = "untested, too few examples: whether a tuned schedule is as good as linear at a larger budget"
        return [*lines, f"{shown} {margin}"]
    lines.append(
        f"at {quantity(best.steps, 'step')} the tuned schedule is no worse than linear at {best.linear_steps}: "
        f"{best.ratio:.1f} times fewer denoiser calls {margin}"
    )
    if best.linear_too:
        lines.append(f"  so is linear at {quantity(best.steps, 'step')}: the saving is not the schedule's")
    if best.flags:
        lines.append(f"  its samples are flagged: {', '.join(best.flags)}")
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
