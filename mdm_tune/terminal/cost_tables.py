"""Tables and lines about the cost of a search and the smallest gain that it can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdm_tune.core.messages import quantity
from mdm_tune.terminal.layout import Grid

if TYPE_CHECKING:  # these load torch
    from mdm_tune.run.dry_run_records import BusyRecord, DryRunResult
    from mdm_tune.search.power import Detectable

__all__ = ["busy_replicas", "cannot_be_shown", "detectable_lines", "phases_table", "pilot_text"]


def phases_table(result: DryRunResult) -> Grid:
    """The most that a search would cost, per phase and in total."""
    devices = result.devices
    title = "what the search takes at most"
    title += "" if len(devices) == 1 else f", on {len(devices)} replicas ({', '.join(devices)})"
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
    """The number of report examples, or of their groups if examples are not independent."""
    if independent == examples:
        return quantity(examples, "report example")
    return f"{quantity(independent, 'group')} of report examples ({quantity(examples, 'example')})"


def _remedy(detectable: Detectable) -> str:
    """The remedy for a report split that shows too little."""
    needed, spare, report = detectable.needed, detectable.spare, detectable.report
    many = "" if needed is None else f"{needed:,} or "
    if (detectable.examples or report) != report:
        return f"give {many}more groups of report examples (prompts), not more examples of each"
    if spare is None or (spare > 0 and (needed is None or needed <= report + spare)):
        return "raise dataset.report" + (f" to {many}more for gains of {detectable.limit:.3g}" if many else "")
    if spare == 0:
        return f"the data have no more of them, so give more data{f' ({many}more report examples)' if many else ''}"
    rest = f"gains of {detectable.limit:.3g} take {many}more, so give more data" if many else "for more, give more data"
    return f"raise dataset.report to {report + spare:,}, which are all; {rest}"


def cannot_be_shown(examples: int, independent: int) -> str:
    """A line that says that the report split is too small for any claim, with the remedy.

    Args:
        examples: Examples of the report split.
        independent: Their groups; equal to ``examples`` if every example stands alone.
    """
    remedy = "it takes more of them (dataset.report, or more data)"
    if independent != examples:
        remedy = "it takes more groups (prompts), not more examples of each"
    return f"no gain can be shown with {_report_examples(examples, independent)}; {remedy}"


def pilot_text(steps: int, size: int | None) -> str:
    """What a guess of the smallest gain was computed from."""
    examples = "a pilot" if size is None else quantity(size, "tune example")
    return f"guessed from linear against squared-sine at {quantity(steps, 'step')} on {examples}"


def detectable_lines(detectable: Detectable | None) -> list[str]:
    """Lines about the smallest gain that the report split can show, as estimated before the first trial.

    Args:
        detectable: The estimate; None if there is none, which gives no lines.
    """
    if detectable is None:
        return []
    correction = "" if detectable.claims == 1 else f", corrected for {detectable.claims} gains"
    gain = detectable.difference
    pilot = f"linear has {detectable.linear:.4g}"
    pilot += f", and squared-sine minus linear is {gain.text}" if gain.ci else ""
    examples = detectable.report if detectable.examples is None else detectable.examples
    split = _report_examples(examples, detectable.report)
    remedy = _remedy(detectable)
    guess = pilot_text(detectable.steps, detectable.pilot_size)
    if not detectable.can_be_shown:
        warning = f"warning: no gain can be shown with {split}{correction}, {guess}; there {pilot}"
        return [warning, f"{remedy}, or read the result as a search without a test"]
    smallest = f"{split} show gains of about {detectable.gain:.3g} and more (80 % power{correction})"
    lines = [f"{smallest}, {guess}; there {pilot}"]
    if detectable.large:
        lines.append(f"warning: smaller gains than these are worth having and may go unseen; {remedy}")
    return lines


def busy_replicas(busy: BusyRecord) -> str:
    """A line that says how many replicas a batch of trials keeps busy, with what would fill them all."""
    batch = quantity(busy.together, "trial")
    share = f"{100 * busy.busy:.0f} % of the {busy.replicas} replicas busy"
    text = f"a batch of {batch} is {quantity(busy.pieces, 'piece')} at its first look, which keep {share}"
    if busy.together_to_fill == busy.together:
        return text
    if busy.together_to_fill is None:
        return f"{text}; search.together would not fill them: lower sampler.batch or raise dataset.tune"
    return f"{text}; search.together {busy.together_to_fill} would fill them"
