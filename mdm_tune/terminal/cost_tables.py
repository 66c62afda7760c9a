"""What the console shows of what a search would cost and could show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdm_tune.core.messages import quantity
from mdm_tune.terminal.layout import Grid

if TYPE_CHECKING:  # these load torch
    from mdm_tune.run.dry_run_records import BusyRecord, DryRunResult
    from mdm_tune.search.power import Detectable

__all__ = ["busy_replicas", "cannot_be_shown", "detectable_lines", "phases_table"]


def phases_table(result: DryRunResult) -> Grid:
    """What a search would cost, phase by phase and in all."""
    on = result.devices
    title = "what the search takes at most" + ("" if len(on) == 1 else f", on {len(on)} replicas ({', '.join(on)})")
    table = Grid(title, ("phase", "schedules", "denoiser rows", "tokens", "seconds", "memory, MiB"), ("phase",))
    for phase in result.phases:
        cells = (f"{number:,}" for number in (phase.schedules, phase.cost.denoiser_rows, phase.cost.denoiser_tokens))
        memory = "" if phase.memory_bytes is None else f"{phase.memory_bytes / 2**20:,.0f}"
        table.row(phase.phase, *cells, f"{phase.seconds:,.1f}", memory)
    table.row("start", "", "", "", f"{result.start_seconds:,.1f}", "")
    table.add_section()
    rows, tokens = f"{result.total.denoiser_rows:,}", f"{result.total.denoiser_tokens:,}"
    table.row("in all", "", rows, tokens, f"{result.total.seconds:,.1f}", "", style="bold")
    return table


def _report_examples(examples: int, independent: int) -> str:
    """How many report examples there are, by their groups where these are what counts."""
    if independent == examples:
        return f"{quantity(examples, 'report example')}"
    return f"{quantity(independent, 'group')} of report examples ({quantity(examples, 'example')})"


def _more_needed(needed: int | None, *, groups: bool) -> str:
    """What to do where the report split shows too little; needed: independent examples, where that is known."""
    many = "" if needed is None else f"{needed:,} or "
    if groups:
        return f"give {many}more groups of report examples (prompts), not more examples of each"
    return "raise dataset.report" + (f" to {many}more" if many else "")


def cannot_be_shown(examples: int, independent: int) -> str:
    """That a split is too small for any claim, and what to do."""
    remedy = _more_needed(None, groups=independent != examples)
    return f"no gain can be shown with {_report_examples(examples, independent)}; {remedy}"


def detectable_lines(found: Detectable | None) -> list[str]:
    """What the report split can show, before the first trial, and what to do where that is little."""
    if found is None:
        return []
    many = "" if found.claims == 1 else f", corrected for {found.claims} budgets"
    more = found.difference
    pilot = f"linear has {found.linear:.4g}" + (f" and squared-sine {more.text} more" if more.ci else "")
    examples = found.report if found.examples is None else found.examples
    split = _report_examples(examples, found.report)
    remedy = _more_needed(found.needed, groups=examples != found.report)
    if not found.can_be_shown:
        lacking = f"warning: no gain can be shown with {split}{many}; on a pilot {pilot}"
        return [lacking, f"{remedy}, or read the result as a search without a test"]
    shown = f"{split} show gains of about {found.gain:.3g} and more (80 % power{many})"
    lines = [f"{shown}, a guess from linear against squared-sine on a pilot; there {pilot}"]
    if found.large:
        lines.append(f"warning: smaller gains than these are worth having and may go unseen; {remedy}")
    return lines


def busy_replicas(found: BusyRecord) -> str:
    """How many of the replicas a batch of trials keeps busy, and what would fill them."""
    batch = quantity(found.together, "trial")
    share = f"{100 * found.busy:.0f} % of the {found.replicas} replicas busy"
    text = f"a batch of {batch} is {quantity(found.pieces, 'piece')} at its first look, which keep {share}"
    if found.together_to_fill == found.together:
        return text
    if found.together_to_fill is None:
        return f"{text}; search.together would not fill them: lower sampler.batch or raise dataset.tune"
    return f"{text}; search.together {found.together_to_fill} would fill them"
