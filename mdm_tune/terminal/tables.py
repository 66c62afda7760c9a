"""Tables and lines about the result of a search, and those that several commands share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.messages import listed, quantity
from mdm_tune.core.numerals import shortest
from mdm_tune.core.statistics import TOO_FEW
from mdm_tune.pages.names import figure_name
from mdm_tune.pages.savings import beside_linear, calls_saved
from mdm_tune.run.record_parts import PlanRecord, ReportedRecord, WarningRecord
from mdm_tune.schedules.equal_cost import FLAG, MORE_CALLS
from mdm_tune.schedules.labels import Label, short_label
from mdm_tune.search.outcomes import Outcome, Saving
from mdm_tune.terminal.cost_tables import cannot_be_shown
from mdm_tune.terminal.layout import Grid

if TYPE_CHECKING:  # these load torch
    from mdm_tune.core.statistics import Estimate
    from mdm_tune.run.dry_run_records import OutlookRecord
    from mdm_tune.run.search_records import BudgetRecord, LossesRecord, QualityRecord, SearchResult

__all__ = [
    "budget_table",
    "budgets_table",
    "diversity_table",
    "headline",
    "outlook_lines",
    "paste",
    "pastes",
    "reported_table",
    "short_names",
    "verdict",
]


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """The labels by label, with file names without folders and parameters in four digits.

    If two labels would be the same then, all of them stay as they are.
    """
    short = {label: short_label(label) for label in labels}
    return short if len(set(short.values())) == len(short) else {label: label for label in labels}


def budget_table(budget: BudgetRecord) -> Grid:
    """The value of the tuned schedule, of the baselines and of the data at one budget."""
    quality = budget.quality
    title = f"{quantity(budget.steps, 'step')}{_blocks(budget.plan)}, {quality.metric} ({quality.direction})"
    title += f", {quantity(quality.n, f'{quality.split} example')}" if quality.n else ""
    table = Grid(title, ("schedule", "value" if quality.estimate.ci is None else "value [95 %]"), ("schedule",))
    role = "chosen" if _hand_made(budget) else "tuned" if quality.loser is None else "returned"
    made = " (hand-made)" if role == "chosen" else ""
    table.row(f"{role}: {budget.schedule.text}{made}", quality.estimate.text, style="bold")
    blocks = Label.read(quality.linear).blocks  # of baselines whose label has no block length
    for name, estimate in quality.baselines.items():
        table.row(str(Label(name, blocks)) if Label.read(name).blocks is None else name, estimate.text)
    if quality.loser is not None:
        table.row(f"not used: {short_label(quality.loser.schedule)}", quality.loser.estimate.text)
    if quality.data is not None:
        table.row("the data itself", quality.data.text, style="dim")
    return table


def _hand_made(budget: BudgetRecord) -> bool:
    """Whether the search chose a hand-made schedule, since it found none that is better."""
    named = {Label.read(name).name for name in budget.quality.baselines}
    return budget.quality.loser is None and budget.plan.policy is None and budget.schedule.text in named


def _blocks(plan: PlanRecord) -> str:
    """The block length, as text that follows a budget; empty if there is one block."""
    return "" if plan.blocks == 1 else f" in blocks of {plan.block_length}"


def diversity_table(budget: BudgetRecord) -> Grid | None:
    """The diversity of the winner's samples, beside that of linear and of the data; None if it was not measured."""
    drawn, losses = budget.quality.diversity, budget.quality.diversity_losses
    if drawn is None or losses is None:
        return None
    winner = "chosen" if _hand_made(budget) else "tuned"
    names = {"winner": winner, "linear": "linear", "reference": _reference(losses), "data": "the data itself"}
    figures = list(drawn["winner"])
    title = f"diversity, {quantity(losses.examples, 'example')}: a loss of {100 * losses.threshold:g} % is flagged"
    table = Grid(title, ("samples of", *map(figure_name, figures)), ("samples of",))
    for source, values in drawn.items():
        cells = (_value_only(values[figure]) for figure in figures)
        table.row(names[source], *cells, style="dim" if source == "data" else "")
    return table


def _reference(losses: LossesRecord) -> str:
    """The name of linear at many steps, with which the diversity of the winner's samples is compared."""
    return f"linear at {quantity(losses.reference_steps or 0, 'step')}"


def verdict(budget: BudgetRecord) -> list[str]:
    """Lines about one budget: the outcome of the comparison with linear, then what limits it."""
    quality = budget.quality
    lines = [_outcome(quality), *_at_equal_calls(budget), *_losses(quality)]
    if _hand_made(budget):
        name = budget.schedule.text
        lines.insert(0, f"no schedule found that is better than {'' if name == 'linear' else 'the hand-made '}{name}")
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
    if budget.stand_ins is not None and budget.stand_ins.text:
        lines.append(f"in place of the winner: {budget.stand_ins.text}")
    if budget.ended is not None:
        lines.append(f"stopped early: {budget.ended.text}" if budget.ended.ending.early else budget.ended.text)
    if budget.dropped:
        lines.append(f"{budget.dropped} of {budget.trials} trials were dropped early, since they could hardly win")
    if budget.unreachable:
        for_example = ", for example" if len(budget.unreachable) > 1 else ""
        of_all = f"{len(budget.unreachable)} of {quantity(budget.trials, 'trial')}"
        lines.append(f"{of_all} missed the calls of the budget{for_example}: {budget.unreachable[0]}")
    if budget.cut:
        lines.append(f"{budget.cut} of {budget.trials} trials were cut off, for want of rows or time")
    if budget.idle_steps:
        calls = quantity(budget.plan.calls or 0, "denoiser call")
        lines.append(f"{calls}, not {budget.steps}: the other steps have no token to reveal")
    if budget.ends_early:
        calls = f"{quality.calls.text} denoiser calls in the mean, not {budget.plan.calls}"
        lines.append(f"{calls}: some answers end early, or are shorter")
    return lines


def _outcome(quality: QualityRecord) -> str:
    """A sentence with the outcome of the comparison with linear."""
    gain, loser = quality.gain_over_linear, quality.loser
    match quality.outcome:
        case Outcome.UNTESTED:
            return f"untested: {gain.value:.4g}, {gain.no_interval} for an interval"
        case Outcome.WORSE if loser is not None:
            return (
                f"worse than linear: the schedule that was chosen, {short_label(loser.schedule)}, has a gain of "
                f"{loser.gain_over_linear.text}; linear is returned in its place, and the schedule file keeps the "
                "other as loser"
            )
        case Outcome.BETTER:
            return f"better than linear by {gain.text}"
        case Outcome.LESS_DIVERSE:
            return f"better than linear by {gain.text}, but not counted as a win: the samples are less diverse"
        case Outcome.MORE_CALLS:
            ratio = quality.call_ratio
            how = "more calls: no gain at equal cost" if ratio is None else f"{ratio.text}: {ratio.verdict}"
            return f"better than linear by {gain.text}, but at {how}"
        case Outcome.TOO_FEW_DIFFER:
            needed = "" if gain.fewest is None else f", of {gain.fewest} that a claim takes"
            few = f"but only {gain.differing} examples differ{needed}"
            return f"no gain over linear is claimed: {gain.text}, {few}"
        case Outcome.UNCORRECTED:
            return f"no gain over linear is claimed: {gain.text}, corrected {gain.corrected_text}"
        case _ if gain.differing == 0:
            return "no gain over linear here: the values are equal on every example"
        case _:
            return f"no gain over linear here: {gain.text}"


def _at_equal_calls(budget: BudgetRecord) -> Iterator[str]:
    """The policy whose gain counts where that of the winner is at more calls."""
    equal = budget.equal
    if equal is None or equal.policy is None or equal.calls is None or equal.gain_over_linear is None:
        return
    yield (
        f"at no more calls than linear ({100 * MORE_CALLS:g} % tolerated): {short_label(equal.policy)}, "
        f"{equal.calls.text} calls, is better by {equal.gain_over_linear.corrected_text}"
    )


def _losses(quality: QualityRecord) -> list[str]:
    """Lines about losses of diversity.

    A loss that blocks the claim of a gain has a line of its own. Other losses against the same samples share a line.
    """
    lines, harmless = [], dict[str, list[str]]()
    for loss in quality.flagged:
        assert quality.diversity_losses is not None
        share, linear = (f"{100 * fraction:.1f} %" for fraction in (loss.share, loss.share_of_linear))
        reference = "the data" if loss.than == "data" else _reference(quality.diversity_losses)
        if loss.blocks:
            lines.append(f"  {figure_name(loss.figure)}: {share} below {reference} (linear at this budget: {linear})")
        else:
            harmless.setdefault(reference, []).append(f"{figure_name(loss.figure)} {share} ({linear})")
    for reference, losses in harmless.items():
        lines.append(f"  below {reference} (in brackets how far linear at this budget is): {', '.join(losses)}")
    return lines


def budgets_table(result: SearchResult) -> Grid | None:
    """All budgets of a search, one per row; None if there is only one."""
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
            _value_only(quality.baselines["linear"]),
            _value_only(quality.estimate),
            quality.gain_over_linear.corrected_text,
            _saving(result, budget),
            ", ".join(dict.fromkeys(figure_name(loss.figure) for loss in quality.flagged if loss.blocks)),
        )
    return table


def _saving(result: SearchResult, budget: BudgetRecord) -> str:
    """The largest budget at which linear is no better, or a word that says why there is none."""
    match result.saving_of(budget):
        case None:
            return ""
        case Saving.SHOWN:
            return str(result.claims.frontier.reached(budget.steps))
        case Saving.UNTESTED:
            return "untested"
        case _:
            return "none"


def _value_only(estimate: Estimate) -> str:
    """The value without its interval, with the decimals that the interval justifies."""
    return estimate.text.split(" ")[0]


def headline(result: SearchResult) -> list[str]:
    """Lines about all budgets together: the confidence of gains, and the steps that tuned schedules save.

    There are none if the search has one budget and one kind of policy.
    """
    confidence, frontier = result.claims.confidence, result.claims.frontier
    budgets = quantity(confidence.budgets, "budget") if confidence.budgets > 1 else ""
    policies = f"{confidence.policies} policies" if confidence.policies > 1 else ""
    claims = " and ".join(filter(None, (budgets, policies)))
    lines = [] if result.exact else [f"gains are claimed where they hold for all {claims} together at 95 %"]
    if confidence.budgets < 2:
        return lines if confidence.policies > 1 else []
    compared = quantity(len(frontier.pairs), "comparison")
    test = "computed exactly" if result.exact else f"one-sided 95 %, corrected for {compared}"
    margin = f"(margin {100 * frontier.margin:g} %, {test})"
    best, tuned = frontier.headline, "tuned policy" if confidence.policies > 1 else "tuned schedule"
    if best is None:
        text = f"no {tuned} is shown to be as good as linear at a larger budget"
        if result.saving is Saving.UNTESTED:
            text = f"untested, too few examples: whether a {tuned} is as good as linear at a larger budget"
        return [*lines, f"{text} {margin}"]
    pair = best.to_json()
    lines.append(
        f"at {quantity(best.steps, 'step')} the {tuned} {beside_linear(pair)} linear at {best.linear_steps}: "
        f"{calls_saved(pair)} {margin}"
    )
    if best.linear_too:
        lines.append(f"  so is linear at {quantity(best.steps, 'step')}: the saving is not the schedule's")
    if flags := [flag for flag in best.flags if flag != FLAG]:  # the ratio has the calls that were made
        lines.append(f"  its samples are flagged: {', '.join(flags)}")
    return lines


def outlook_lines(outlooks: Sequence[OutlookRecord]) -> list[str]:
    """Lines with the steps of each block and the reachable count vectors, per budget and block length."""
    lines = []
    for outlook in outlooks:
        shares, count = outlook.steps_per_block, outlook.reachable_counts
        if shares is None:
            text = "ancestral reveal has no counts" if outlook.ancestral else "a profile will say"
        else:
            text = "1 count vector; nothing to tune" if count == 1 else f"at least {count:,} distinct count vectors"
        if shares is not None and len(shares) > 1:
            steps = f"{quantity(shares[0], 'step')} each" if len(set(shares)) == 1 else f"{listed(shares)} steps"
            text = f"{len(shares)} blocks of {quantity(outlook.block_length or 0, 'token')}, {steps}; {text}"
        lines.append(f"{quantity(outlook.steps, 'step')}: {text}")
    return lines


def pastes(result: SearchResult) -> list[str]:
    """A line to paste for each budget: of the shared schedule if there is one, which the schedule file then holds."""
    if result.shared is None:
        return [paste(budget.steps, budget.plan) for budget in result.budgets]
    plans = ((budget.steps, budget.plan) for budget in result.shared.budgets)
    return [f"{paste(steps, plan)}, shared schedule" for steps, plan in plans if plan is not None]


def paste(steps: int, plan: PlanRecord) -> str:
    """A line of Python with the counts, the alphas for ancestral reveal, or the name of a policy, to paste."""
    if plan.policy is not None:
        calls = quantity(steps, "denoiser call")
        return (
            f"schedule = {plan.policy!r}  # about {calls}, for mdm-tune sample or, with transformers, mdm_tune.generate"
        )
    if plan.counts is None:
        alphas = ", ".join(map(shortest, plan.alphas or ()))
        return f"alphas = [{alphas}]  # {quantity(steps, 'step')}, ancestral reveal"
    return f"counts = {list(plan.counts)}  # {quantity(steps, 'step')}{_blocks(plan)}, tokens to reveal at each"


def warning_lines(warnings: Sequence[WarningRecord]) -> list[str]:
    """Lines with the first warning of each code and its advice. Notes and the JSON have all warnings."""
    lines = dict[str, str]()
    for warning in warnings:
        text = "; ".join(filter(None, (warning.text, warning.advice)))
        lines.setdefault(warning.code, f"warning [{warning.code}]: {text}")
    return list(lines.values())


def reported_table(rows: Sequence[ReportedRecord]) -> Grid | None:
    """The values of the metrics beside the objective; None if there are none."""
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
