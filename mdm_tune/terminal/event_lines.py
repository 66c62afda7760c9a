"""The lines that the events of a command have on the terminal and in a log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.messages import quantity
from mdm_tune.core.numerals import significant
from mdm_tune.core.types import better_of, sign_of
from mdm_tune.schedules.curves import Beta
from mdm_tune.terminal.cost_tables import detectable_lines
from mdm_tune.terminal.layout import fitted
from mdm_tune.terminal.tables import outlook_lines, short_names

if TYPE_CHECKING:  # these load torch
    from mdm_tune.commands.events import ModelLoaded, Progress, RunEvent, SettingScored
    from mdm_tune.core.types import Direction
    from mdm_tune.evaluation.scores import Scores
    from mdm_tune.search.events import TrialDone

__all__ = ["DETAIL", "INFO", "WARNING", "EventLines", "about", "progress_parts"]

DETAIL, INFO, WARNING = "DEBUG", "INFO", "WARNING"  # levels; details are for --verbose and for logs
DIGITS = 5  # of the value of the first trial; later values have as many decimals, so that their points are aligned

Lines = Iterator[tuple[str, str]]


class EventLines:
    """Makes the lines of events.

    Attributes:
        metric: The name of the objective's metric, once the model is loaded.
        best: The best value of the budget so far, over all kinds of policies, as text; "" before there is one.
        decimals: Decimals of the values of trials.
    """

    def __init__(self) -> None:
        self.metric, self.best, self.decimals = "value", "", DIGITS
        self.direction: Direction = "maximize"
        self._scores: dict[int, Scores] = {}  # the best of each budget
        self._scored_at: dict[object, int] = {}  # the first budget of each policy with one key
        self._best: float | None = None  # the best value of the trials of a budget

    def of(self, event: RunEvent, width: int) -> Lines:
        """Yield the lines of an event with their levels.

        Args:
            event: The event.
            width: Columns of a trial's line; what does not fit is left out.
        """
        from mdm_tune.commands import events
        from mdm_tune.run import measuring
        from mdm_tune.run.dry_run_records import OutlookRecord
        from mdm_tune.search import events as search_events
        from mdm_tune.search.power import Detectable

        match event:
            case events.ModelLoaded():
                yield from self._loaded(event)
            case events.Note():
                yield (INFO if event.code is None else WARNING), f"  note: {event.with_advice}"
            case events.BudgetsListed(outlooks):
                for line in outlook_lines([OutlookRecord.of(outlook) for outlook in outlooks]):
                    yield INFO, f"  {line}"
            case events.BudgetStarted(steps):
                self.best, self._best, self.decimals = "", None, DIGITS
                yield INFO, f"\n{quantity(steps, 'step')}"
            case search_events.StudyStarted(size, kind):
                blocks = "" if size is None else f"blocks of {size}"
                yield INFO, "  " + " in ".join(part for part in (kind or "", blocks) if part)
            case Detectable():
                for line in detectable_lines(event):
                    yield (WARNING if line.startswith("warning") else INFO), f"  {line}"
            case search_events.TrialDone():
                yield from self._trial(event, width)
            case search_events.ReferenceStarted(setting, examples):
                where = f"linear at {quantity(setting.steps, 'step')}, {quantity(examples, 'example')}"
                yield INFO, f"  report       {where}, for diversity"
            case search_events.Comparison():
                (name,) = short_names([event.setting.label]).values()
                yield INFO, f"  {event.use:<7} {event.done + 1}/{event.total}  {name}"
            case measuring.PointMeasured():
                yield (
                    DETAIL,
                    f"  {event.revealed:>4} visible  {event.loss:>8.4f} nats per token  "
                    f"({quantity(event.points, 'point')}, {quantity(event.examples, 'example')}, "
                    f"{quantity(event.denoiser_rows, 'row')})",
                )
            case events.SettingScored():
                yield from self._scored(event)

    def _loaded(self, event: ModelLoaded) -> Lines:
        run = event.run
        metric, section = run.evaluator.metric, run.config.model
        self.metric, self.direction = metric.name, metric.direction
        yield (
            INFO,
            f"  {section.type}, {quantity(run.evaluator.length, 'token')}; {run.config.sampler.described}; "
            f"{metric.label} ({metric.direction})",
        )
        splits = {} if run.dataset is None else run.dataset.splits
        sizes = ", ".join(f"{len(split.ids)} {use}" for use, split in splits.items())
        yield DETAIL, f"  seed {run.config.seed}" + (f"; examples: {sizes}" if sizes else "")
        prints = ", ".join(f"{name} {digits}" for name, digits in run.fingerprints.items())
        yield DETAIL, f"  fingerprints: {prints}"

    def _trial(self, event: TrialDone, width: int) -> Lines:
        if event.number == 0 or not self.best:
            self.decimals = _decimals(event.value)
        self._best = better_of(event.best, self._best, self.direction)
        value, self.best = self._value(event.value), self._value(self._best) if math.isfinite(self._best) else ""
        named: dict[object, str] = {Beta(0.5, 0.5): "linear", Beta(1.0, 1.0): "squared-sine"}
        note = named.get(event.policy, "") if event.fresh else "scored before"
        if event.dropped:
            note = f"{'cut' if event.cut else 'dropped'} after {event.dropped}"
        number = f"{event.number + 1:>3}/{event.trials}"
        if isinstance(event.policy, Beta):
            told = [f"a {event.policy.a:7.4f}", f"b {event.policy.b:7.4f}"]
        else:
            calls = "" if event.calls is None else f"{significant(event.calls, 4)} calls"
            told = [event.policy.name, calls]
        if event.unreachable is not None:
            yield INFO, f"  trial {number}  {told[0]}: {event.unreachable}"
            return
        parts = [f"  trial {number}", *told, value, f"best {self._value(event.best)}", note]
        yield INFO, fitted(parts, width, leave_out=(4, 5, 2, 1))
        counts = event.setting.counts
        alphas = list(event.setting.alphas or ())
        if event.setting.adaptive is None:
            yield DETAIL, f"    alphas {alphas}" if counts is None else f"    counts {list(counts)}"
        if event.dropped:
            why = "rows or time ran out" if event.cut else "it has less than a 5 % chance to win"
            yield DETAIL, f"    not scored beyond {quantity(event.dropped, 'example')}: {why}; the value is an estimate"

    def _value(self, value: float) -> str:
        return f"{value:.{self.decimals}f}" if math.isfinite(value) else f"{value:g}"

    def _scored(self, event: SettingScored) -> Lines:
        scores, setting = event.scores, event.scores.setting
        best, sign = self._scores.get(setting.steps, scores), sign_of(self.direction)
        if sign * scores.estimate.value > sign * best.estimate.value:
            best = scores
        self._scores[setting.steps] = best
        names, steps = short_names([best.setting.label, setting.label]), quantity(setting.steps, "step")
        self.best = f"{best.estimate.value:.4g} ({names[best.setting.label]}, {steps})"
        value = interval_text(scores.estimate.value, scores.estimate.ci, scores.estimate.no_interval)
        if setting.adaptive is not None:
            value += f", {significant(scores.nfe, 4)} calls"
        first = self._scored_at.setdefault((setting.label, setting.key), setting.steps)
        if first != setting.steps:  # such as a threshold with a value, which knows no budget
            value = f"as at {quantity(first, 'step')}"
        yield INFO, f"  {event.done}/{event.total}  {names[setting.label]} at {steps}: {value}"
        if setting.counts is not None:
            yield DETAIL, f"    counts {list(setting.counts)}"
        if setting.adaptive is not None and setting.adaptive.name != setting.name:
            yield DETAIL, f"    policy {setting.adaptive.name}"
        yield DETAIL, f"    {quantity(scores.cost.denoiser_rows, 'denoiser row')}, {scores.cost.seconds:.1f} s"


def progress_parts(event: Progress, best: str, age: float = 0.0) -> list[str]:
    """What is done now, and, as far as it is known, the time that is left, the best value and the share that is done.

    The most important comes first. age: seconds since the event, in which the time that is left has become less.
    """
    left = "" if event.seconds_left is None else about(event.seconds_left - age, at_most=event.at_most)
    share = "" if event.share is None else f"{100 * event.share:.0f} % done"
    return [part for part in (event.doing, left, f"best {best}" if best else "", share) if part]


def about(seconds: float, *, at_most: bool = False) -> str:
    """A time that is left, in round numbers, so that it does not change with every line.

    Args:
        seconds: The time.
        at_most: Whether it may also be less.
    """
    how = "at most" if at_most else "about"
    if seconds < 15:
        return f"{'at most ' * at_most}a few seconds left"
    if seconds < 55:
        return f"{how} {10 * round(seconds / 10)} s left"
    minutes = round(seconds / 60)
    if minutes > 10:
        minutes = 5 * round(seconds / 300)
    if minutes < 60:
        return f"{how} {minutes} min left"
    hours, minutes = divmod(10 * round(seconds / 600), 60)
    return f"{how} {hours} h{f' {minutes} min' if minutes and hours < 10 else ''} left"


def _decimals(value: float) -> int:
    """The decimals with which a value has ``DIGITS`` digits."""
    if not math.isfinite(value) or value == 0:
        return DIGITS
    return max(0, min(12, DIGITS - 1 - math.floor(math.log10(abs(value)))))
