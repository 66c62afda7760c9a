"""What single examples and their answers came to: one line per example, and what metrics beside the objective say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mdm_tune.evaluation.evaluator import Scores
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.metrics.reported import figures
from mdm_tune.run.build import Run
from mdm_tune.run.record_parts import ReportedRecord
from mdm_tune.run.records import Record

__all__ = ["difference_records", "example_records", "reported_records"]


def example_records(run: Run, scores: Iterable[Scores]) -> Iterator[Record]:
    """One line per example and schedule: its value and, where tokens were drawn, its sample."""
    for found in scores:
        if found.values is None or found.tokens is None or found.use is None or run.dataset is None:
            continue
        ids = run.evaluator.split(found.use).ids
        split = run.evaluator.split(found.use).first(len(found.tokens))
        texts = run.dataset.completions(found.tokens, split)
        for name, value, text in zip(ids, found.values.tolist(), texts, strict=True):
            yield {
                "split": found.use,
                "id": name,
                "steps": found.setting.steps,
                "schedule": found.setting.label,
                "value": value,
                "text": text,
            }


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


def difference_records(examples: Sequence[Record], reference: str, most: int = 3) -> list[Record]:
    """Per budget the examples on which linear and the last schedule differ most, from the same noise, both ways.

    reference: the label of linear.
    """
    found = []
    for steps in dict.fromkeys(example["steps"] for example in examples):
        here = [example for example in examples if example["steps"] == steps]
        labels = list(dict.fromkeys(example["schedule"] for example in here))
        if reference not in labels or len(labels) < 2:
            continue
        other = next(label for label in reversed(labels) if label != reference)
        linear = {example["id"]: example for example in here if example["schedule"] == reference}
        tuned = {example["id"]: example for example in here if example["schedule"] == other}
        pairs = sorted(linear, key=lambda name: tuned[name]["value"] - linear[name]["value"])
        for name in dict.fromkeys([*pairs[-most:][::-1], *pairs[:most]]):
            if tuned[name]["value"] == linear[name]["value"]:
                continue
            sides = {"first": linear[name], "second": tuned[name]}
            shown = {side: {key: of[key] for key in ("schedule", "value", "text")} for side, of in sides.items()}
            found.append({"steps": steps, "id": name, **shown})
    return found
