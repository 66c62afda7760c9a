"""What single examples and their answers came to: one line per example, and what metrics beside the objective say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.evaluation.evaluator import Scores
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.metrics.reported import figures
from mdm_tune.run.build import Run
from mdm_tune.run.record_parts import ReportedRecord

__all__ = [
    "DifferenceRecord",
    "DrawnRecord",
    "ExampleRecord",
    "difference_records",
    "example_records",
    "reported_records",
]


@dataclass(frozen=True, kw_only=True)
class ExampleRecord(JsonRecord):
    """One example, what a schedule drew for it, and its value by the objective."""

    split: str
    id: str
    steps: int
    schedule: str
    value: float
    text: str


@dataclass(frozen=True, kw_only=True)
class DrawnRecord(JsonRecord):
    """What a schedule drew for one example, and its value by the objective."""

    schedule: str
    value: float
    text: str

    @classmethod
    def of(cls, example: ExampleRecord) -> DrawnRecord:
        """The side of a difference."""
        return cls(schedule=example.schedule, value=example.value, text=example.text)


@dataclass(frozen=True, kw_only=True)
class DifferenceRecord(JsonRecord):
    """One example on which two schedules differ at a budget."""

    steps: int
    id: str
    first: DrawnRecord
    second: DrawnRecord


def example_records(run: Run, scores: Iterable[Scores]) -> Iterator[ExampleRecord]:
    """One record per example and schedule where tokens were drawn."""
    for found in scores:
        if found.values is None or found.tokens is None or found.use is None or run.dataset is None:
            continue
        ids = run.evaluator.split(found.use).ids
        split = run.evaluator.split(found.use).first(len(found.tokens))
        texts = run.dataset.completions(found.tokens, split)
        for name, value, text in zip(ids, found.values.tolist(), texts, strict=True):
            yield ExampleRecord(
                split=found.use,
                id=name,
                steps=found.setting.steps,
                schedule=found.setting.label,
                value=value,
                text=text,
            )


def reported_records(run: Run, scores: Iterable[Scores]) -> Iterator[ReportedRecord]:
    """What the metrics beside the objective say of drawn samples, a record per schedule and figure."""
    for found in scores:
        metric = run.evaluator.metric
        if isinstance(metric, ExactMetric) or metric.reference or found.tokens is None or found.use is None:
            continue
        split = run.evaluator.split(found.use).first(len(found.tokens))
        for shown in run.reported.values():
            for figure in figures(shown, found.tokens, split):
                yield ReportedRecord.of(found.setting, figure)


def difference_records(examples: Sequence[ExampleRecord], reference: str, most: int = 3) -> Iterator[DifferenceRecord]:
    """The examples on which linear and the last schedule of a budget differ most, from the same noise, both ways.

    Args:
        examples: of all schedules and budgets.
        reference: the label of linear.
        most: examples at most in each direction, for each budget.
    """
    for steps in dict.fromkeys(example.steps for example in examples):
        here = [example for example in examples if example.steps == steps]
        labels = list(dict.fromkeys(example.schedule for example in here))
        if reference not in labels or len(labels) < 2:
            continue
        other = next(label for label in reversed(labels) if label != reference)
        linear = {example.id: example for example in here if example.schedule == reference}
        tuned = {example.id: example for example in here if example.schedule == other}
        pairs = sorted(linear, key=lambda name: tuned[name].value - linear[name].value)
        for name in dict.fromkeys([*pairs[-most:][::-1], *pairs[:most]]):
            if tuned[name].value != linear[name].value:
                sides = DrawnRecord.of(linear[name]), DrawnRecord.of(tuned[name])
                yield DifferenceRecord(steps=steps, id=name, first=sides[0], second=sides[1])
