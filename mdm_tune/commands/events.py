"""What the commands tell while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mdm_tune.benchmarks.code_tasks import CodeTask
from mdm_tune.core.messages import listed, quantity
from mdm_tune.datasets.notes import dataset_notes, framed_example
from mdm_tune.evaluation.evaluator import Scores
from mdm_tune.metrics.answers import AnswerMetric
from mdm_tune.run.build import Run
from mdm_tune.run.measuring import PointMeasured
from mdm_tune.run.record_parts import WarningRecord
from mdm_tune.search.events import Event
from mdm_tune.search.space import BudgetOutlook

__all__ = [
    "BudgetStarted",
    "BudgetsListed",
    "ModelLoaded",
    "Note",
    "Notify",
    "RunEvent",
    "SearchStarted",
    "SettingScored",
    "Warnings",
    "as_notes",
    "memory_notes",
    "report_loaded",
]


@dataclass(frozen=True)
class ModelLoaded:
    """Model and data are in memory."""

    run: Run


@dataclass(frozen=True)
class SearchStarted:
    """From here on the folder or the storage holds a search, which has to be resumed."""


@dataclass(frozen=True)
class BudgetsListed:
    """What the search of every budget can reach."""

    found: tuple[BudgetOutlook, ...]


@dataclass(frozen=True)
class BudgetStarted:
    """The study of one budget begins or goes on."""

    steps: int


@dataclass(frozen=True)
class SettingScored:
    """``evaluate`` has scored one more setting."""

    scores: Scores
    done: int
    total: int


@dataclass(frozen=True)
class Note:
    """Something about the input that is allowed and worth knowing.

    code: of a warning, by which a program knows it; the result keeps it. None where reading it once is enough. advice:
    what to do about a warning.
    """

    text: str
    code: str | None = None
    advice: str = ""

    @property
    def with_advice(self) -> str:
        """The text with the advice, if there is any."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


RunEvent = ModelLoaded | SearchStarted | BudgetsListed | BudgetStarted | SettingScored | Note | PointMeasured | Event
Notify = Callable[[RunEvent], None]


class Warnings:
    """Passes events on and keeps the warnings among them, so that a result says what a screen has shown long before."""

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.notes: list[Note] = []

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Note) and event.code is not None and event not in self.notes:
            self.notes.append(event)
        self.notify(event)

    @property
    def records(self) -> tuple[WarningRecord, ...]:
        """The warnings as a result has them, in the order in which they were reported."""
        return tuple(WarningRecord(each.code, each.text, each.advice) for each in self.notes if each.code is not None)


def as_notes(notify: Notify) -> Callable[[str], None]:
    """What tells a sentence as a note that no result keeps: of what passes, and changes nothing."""
    return lambda text: notify(Note(text))


def report_loaded(run: Run, notify: Notify, steps: Sequence[int] = ()) -> None:
    """Tell that model and data are in memory, and what to know of them; steps: the budgets that are asked for."""
    notify(ModelLoaded(run))
    for note in (*_loaded_notes(run), *_beyond_the_tokens(run, steps)):
        notify(note)


def _beyond_the_tokens(run: Run, steps: Sequence[int]) -> Iterator[Note]:
    """Budgets of more steps than there are tokens to reveal: each call reveals one at least."""
    length = run.evaluator.length
    if beyond := [number for number in steps if number > length and not run.evaluator.sampler.bernoulli]:
        yield Note(
            f"{listed(beyond)} steps are more than the {length} tokens to fill: {length} denoiser calls are made, one "
            "for each token, and these are what is compared",
            "more-steps-than-tokens",
            f"give at most {quantity(length, 'step')}",
        )


def _loaded_notes(run: Run) -> Iterator[Note]:
    """What to know of model and benchmark, which settings its family gave, and what one example looks like."""
    for text in run.model.notes:
        yield Note(text, "model" if text in run.model.doubts else None)
    for text in run.benchmark.notes if run.benchmark is not None else ():
        yield Note(text, "benchmark")
    if run.dataset is not None:
        tested = isinstance(run.benchmark, CodeTask) and run.config.objective.metric == "task"
        yield from (Note(*told) for told in dataset_notes(run.dataset, compared=not tested))
    yield from _unreachable(run)
    if run.config.family_settings:
        yield Note(f"the config leaves these to the model's family: {', '.join(run.config.family_settings)}")
    if run.dataset is not None and (examples := run.dataset.splits["tune"].examples):
        yield Note(
            f"the first tune example, {examples[0].id}, the reference in brackets:\n{framed_example(run.dataset)}"
        )


def _unreachable(run: Run) -> Iterator[Note]:
    """How many references are not right by the objective themselves, as tokens of the model."""
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
    """Whether denoiser batches had to be halved, and on which devices, and what spares the attempt the next time."""
    asked = run.evaluator.sampler.section.batch
    worked = run.evaluator.pool.working_batches(asked)
    for name, works in worked.items():
        if works < asked:
            where = f" in {name}" if name else ""
            yield Note(
                f"batches of {quantity(asked, 'row')} ran out of memory{where}, {works} worked",
                "memory",
                f"set sampler.batch to {min(worked.values())}",
            )
