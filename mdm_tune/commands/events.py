"""The events that commands report while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mdm_tune.benchmarks.code_tasks import CodeTask
from mdm_tune.core.messages import listed, quantity
from mdm_tune.datasets.notes import dataset_notes, framed_example
from mdm_tune.evaluation.scores import Scores
from mdm_tune.metrics.answers import AnswerMetric
from mdm_tune.pages.unmasking import Unmasking
from mdm_tune.run.build import Run, check_baselines
from mdm_tune.run.measuring import PointMeasured
from mdm_tune.run.record_parts import WarningRecord
from mdm_tune.search.events import Event
from mdm_tune.search.space import BudgetOutlook, same_counts

__all__ = [
    "BudgetStarted",
    "BudgetsListed",
    "ModelLoaded",
    "Note",
    "Notify",
    "Progress",
    "RunEvent",
    "SearchStarted",
    "SettingScored",
    "Warnings",
    "Watched",
    "as_notes",
    "memory_notes",
    "report_loaded",
]


@dataclass(frozen=True)
class ModelLoaded:
    """Model and data are in memory.

    Attributes:
        run: The run that was built from the config.
    """

    run: Run


@dataclass(frozen=True)
class SearchStarted:
    """The folder or the storage holds a search from here on; it can only be resumed or replaced."""


@dataclass(frozen=True)
class BudgetsListed:
    """What the search of each budget can reach.

    Attributes:
        outlooks: One for each budget and block length.
    """

    outlooks: tuple[BudgetOutlook, ...]


@dataclass(frozen=True)
class BudgetStarted:
    """The study of one budget begins or continues.

    Attributes:
        steps: The budget.
    """

    steps: int


@dataclass(frozen=True)
class SettingScored:
    """``evaluate`` has scored one more setting.

    Attributes:
        scores: Its scores.
        done: Settings that are scored so far.
        total: Settings to score.
    """

    scores: Scores
    done: int
    total: int


@dataclass(frozen=True)
class Progress:
    """How far a command is. It is reported between other events, at most a few times per second.

    Attributes:
        doing: What the command does now.
        share: The share of the command's time that has passed, in [0, 1]; None while there is no estimate.
        seconds_left: The estimate of the time that is left; None likewise.
        at_most: Whether work that is still counted may be left out, such as trials that end early.
    """

    doing: str
    share: float | None
    seconds_left: float | None
    at_most: bool = False


@dataclass(frozen=True)
class Note:
    """A sentence about the input or the run. With a code it is a warning, which the result keeps.

    Attributes:
        text: The sentence.
        code: The name of a warning for programs; None for a note that no result keeps.
        advice: What the user can do; may be empty.
    """

    text: str
    code: str | None = None
    advice: str = ""

    @property
    def with_advice(self) -> str:
        """The text with the advice, if there is any."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


@dataclass(frozen=True)
class Watched:
    """The first sample before its first step, or after one more step.

    Attributes:
        rows: The sample with the schedule, and with the one beside it if there is one.
    """

    rows: tuple[Unmasking, ...]


RunEvent = (
    ModelLoaded
    | Progress
    | SearchStarted
    | BudgetsListed
    | BudgetStarted
    | SettingScored
    | Watched
    | Note
    | PointMeasured
    | Event
)
Notify = Callable[[RunEvent], None]


class Warnings:
    """Passes events on and collects the warnings among them for the result.

    Attributes:
        notify: Called with every event.
        notes: The warnings so far, each once.
    """

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.notes: list[Note] = []

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Note) and event.code is not None and event not in self.notes:
            self.notes.append(event)
        self.notify(event)

    def keep(self, warning: Note) -> None:
        """Keep a warning about the result itself, which shows it next, so that it is not shown twice."""
        self.notes.append(warning)

    @property
    def records(self) -> tuple[WarningRecord, ...]:
        """The warnings as records, in the order in which they were reported."""
        return tuple(WarningRecord(note.code, note.text, note.advice) for note in self.notes if note.code is not None)


def as_notes(notify: Notify) -> Callable[[str], None]:
    """A function that reports a text as a note without a code, which no result keeps."""
    return lambda text: notify(Note(text))


def report_loaded(run: Run, notify: Notify, steps: Sequence[int] = ()) -> None:
    """Report that model and data are in memory, with notes about them.

    Args:
        run: The run.
        notify: Called with every event.
        steps: The requested budgets.
    """
    notify(ModelLoaded(run))
    for note in (*_loaded_notes(run), *_large_budget_notes(run, steps)):
        notify(note)


def report_budgets(run: Run, notify: Notify) -> None:
    """Report, before anything is paid for, the budgets of a search with more steps than tokens or nothing to tune.

    Args:
        run: The run.
        notify: Called with each warning. Only the last one has advice.

    Raises:
        InputError: If a baseline does not fit a budget.
    """
    evaluator, budgets = run.evaluator, run.config.sampler.steps
    check_baselines(run, budgets)
    views = [evaluator.in_blocks(size) for size in evaluator.block_lengths]
    same = [steps for steps in budgets if all(same_counts(view, steps) for view in views)]
    for note in _large_budget_notes(run, budgets):
        notify(replace(note, advice="") if same else note)
    if not same:
        return
    way = "each call reveals all tokens of a block at once, or one token per step"
    if len(views) == 1 and views[0].one_block:
        ways = ["all tokens are revealed at once"] * (1 in same)
        ways += ["each step reveals one token"] * (max(same) > 1)
        way = ", or ".join(ways)
    scope = " at any budget of this search" if len(same) == len(budgets) else ""
    notify(
        Note(
            f"at {listed(same)} step{'s' if same != [1] else ''} {way}: every schedule has the same counts, so there "
            f"is nothing to tune and no trial runs{scope}",
            "nothing-to-tune",
            _steps_to_tune(run),
        )
    )


def _steps_to_tune(run: Run) -> str:
    """The advice where every schedule has the same counts: the budgets that have several."""
    evaluator = run.evaluator
    if evaluator.sampler.bernoulli:
        return "give 2 steps or more in sampler.steps"
    size = max(evaluator.block_lengths)
    size, length = min(size, evaluator.length), evaluator.length
    if size < 3:
        unit = "block" if size < length else "example"
        return f"a schedule needs at least 3 tokens per {unit}, and there are {size}"
    if (blocks := -(-length // size)) > 1:
        return f"give {2 * blocks} steps in sampler.steps, 2 for each block"
    return f"give 2 to {length - 1} steps in sampler.steps"


def _large_budget_notes(run: Run, steps: Sequence[int]) -> Iterator[Note]:
    """A warning about budgets with more steps than tokens, since each call reveals at least one token."""
    length = run.evaluator.length
    if large := [number for number in steps if number > length and not run.evaluator.sampler.bernoulli]:
        yield Note(
            f"{listed(large)} steps are more than the {length} tokens to fill: {length} denoiser calls are made, one "
            "for each token, and these are what is compared",
            "more-steps-than-tokens",
            f"give at most {quantity(length, 'step')}",
        )


def _loaded_notes(run: Run) -> Iterator[Note]:
    """Notes about model, benchmark and data, the settings that the model's family gave, and the first example."""
    for text in run.model.notes:
        yield Note(text, "model" if text in run.model.doubts else None)
    for text in run.benchmark.notes if run.benchmark is not None else ():
        yield Note(text, "benchmark")
    if run.dataset is not None:
        tested = isinstance(run.benchmark, CodeTask) and run.config.objective.metric == "task"
        yield from (Note(*parts) for parts in dataset_notes(run.dataset, compared=not tested))
    yield from _unreachable_notes(run)
    if run.config.family_settings:
        yield Note(f"the config leaves these to the model's family: {', '.join(run.config.family_settings)}")
    if run.dataset is not None and (examples := run.dataset.splits["tune"].examples):
        yield Note(
            f"the first tune example, {examples[0].id}, the reference in brackets:\n{framed_example(run.dataset)}"
        )


def _unreachable_notes(run: Run) -> Iterator[Note]:
    """A warning if references, as tokens of the model, do not count as right by the objective."""
    metric = run.evaluator.metric
    if run.dataset is None or not isinstance(metric, AnswerMetric) or metric.name not in ("exact_match", "regex"):
        return
    wrong, total, best = [], 0, 0.0
    for use, split in run.dataset.splits.items():
        if (values := metric.ceiling(split)) is None:
            return
        total += len(values)
        wrong += [split.named(row) for row, value in enumerate(values) if value == 0]
        best = float(values.mean()) if use == "report" else best
    if wrong:
        limit = f", so that no schedule can have more than {best:.3f} on the report split" if best < 1 else ""
        yield Note(
            f"{len(wrong):,} of {total:,} references do not count as right themselves once they are the model's "
            f"tokens, {wrong[0]} first{limit}",
            "unreachable-references",
            "compare what sample shows with the references, and see dataset.generation_length, dataset.stop and "
            f"metrics.{metric.name}",
        )


def memory_notes(run: Run) -> Iterator[Note]:
    """Warnings about denoiser batches that were halved for want of memory, by device."""
    requested = run.evaluator.sampler.section.batch
    working = run.evaluator.pool.working_batches(requested)
    for name, batch in working.items():
        if batch < requested:
            where = f" in {name}" if name else ""
            yield Note(
                f"batches of {quantity(requested, 'row')} ran out of memory{where}, {batch} worked",
                "memory",
                f"set sampler.batch to {min(working.values())}",
            )
