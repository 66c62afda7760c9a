"""Records of single examples, and figures of the metrics that are reported beside the objective."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.evaluation.scores import Scores
from mdm_tune.metrics.answers import judges_by_model
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

MOST = 3  # examples per budget and direction whose difference is shown


@dataclass(frozen=True, kw_only=True)
class ExampleRecord(JsonRecord):
    """One example and the sample that a policy drew for it.

    Attributes:
        split: Use of the split.
        id: The example's id.
        steps: The budget.
        schedule: Label of the policy.
        value: Value of the objective.
        text: Text of the drawn tokens.
    """

    split: str
    id: str
    steps: int
    schedule: str
    value: float
    text: str


@dataclass(frozen=True, kw_only=True)
class DrawnRecord(JsonRecord):
    """The sample that a policy drew for one example.

    Attributes:
        schedule: Label of the policy.
        value: Value of the objective.
        text: Text of the drawn tokens.
    """

    schedule: str
    value: float
    text: str

    @classmethod
    def of(cls, example: ExampleRecord) -> DrawnRecord:
        """The sample of an example's record."""
        return cls(schedule=example.schedule, value=example.value, text=example.text)


@dataclass(frozen=True, kw_only=True)
class DifferenceRecord(JsonRecord):
    """One example on which two policies differ.

    Attributes:
        steps: The budget.
        id: The example's id.
        first: The sample of linear.
        second: The sample of the other policy.
    """

    steps: int
    id: str
    first: DrawnRecord
    second: DrawnRecord


def example_records(run: Run, scores: Iterable[Scores]) -> Iterator[ExampleRecord]:
    """Yield one record per example and setting. Settings without samples are left out."""
    for scored in scores:
        if scored.values is None or scored.tokens is None or scored.use is None or run.dataset is None:
            continue
        ids = run.evaluator.split(scored.use).ids
        split = run.evaluator.split(scored.use).first(len(scored.tokens))
        texts = run.dataset.completions(scored.tokens, split)
        for example_id, value, text in zip(ids, scored.values.tolist(), texts, strict=True):
            yield ExampleRecord(
                split=scored.use,
                id=example_id,
                steps=scored.setting.steps,
                schedule=scored.setting.label,
                value=value,
                text=text,
            )


def reported_records(run: Run, scores: Iterable[Scores]) -> Iterator[ReportedRecord]:
    """Yield one record per setting and figure of the reported metrics. Settings without samples are left out."""
    for scored in scores:
        objective = run.evaluator.metric
        if (
            isinstance(objective, ExactMetric)
            or objective.needs_originals
            or scored.tokens is None
            or scored.use is None
        ):
            continue
        split = run.evaluator.split(scored.use).first(len(scored.tokens))
        for metric in run.reported.values():
            judged = run.own.of(split) if run.own is not None and judges_by_model(metric) else split
            for figure in figures(metric, scored.tokens, judged):
                yield ReportedRecord.of(scored.setting, figure)


def difference_records(examples: Sequence[ExampleRecord], reference: str) -> Iterator[DifferenceRecord]:
    """Yield the examples on which linear and the last policy of a budget differ most, in either direction.

    Both policies draw from the same noise.

    Args:
        examples: The records of all policies and budgets.
        reference: The label of linear.
    """
    for steps in dict.fromkeys(example.steps for example in examples):
        here = [example for example in examples if example.steps == steps]
        labels = list(dict.fromkeys(example.schedule for example in here))
        if reference not in labels or len(labels) < 2:
            continue
        other = next(label for label in reversed(labels) if label != reference)
        linear = {example.id: example for example in here if example.schedule == reference}
        tuned = {example.id: example for example in here if example.schedule == other}
        ids = sorted(linear, key=lambda example_id: tuned[example_id].value - linear[example_id].value)
        for example_id in dict.fromkeys([*ids[-MOST:][::-1], *ids[:MOST]]):
            first, second = linear[example_id], tuned[example_id]
            if first.value != second.value:
                yield DifferenceRecord(
                    steps=steps, id=example_id, first=DrawnRecord.of(first), second=DrawnRecord.of(second)
                )
