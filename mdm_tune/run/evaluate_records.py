"""The records of ``evaluate`` and of numbers by lm-evaluation-harness: rows, comparisons, differences, results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.evaluator import Cost, Scores, paired_difference
from mdm_tune.run.example_records import DifferenceRecord
from mdm_tune.run.record_parts import CallsRecord, PlanRecord, ReportedRecord, WarningRecord

__all__ = ["ComparedRows", "ComparisonRecord", "EvaluateResult", "HarnessResult", "HarnessRow", "RowRecord"]


@dataclass(frozen=True, kw_only=True)
class RowRecord(JsonRecord):
    """One schedule at one budget, or the data itself.

    n: examples that were scored; None where the value is exact. diversity: means of the metric's figures by name.
    """

    schedule: str
    steps: int
    plan: Beside[PlanRecord]
    calls: Beside[CallsRecord]
    metric: str
    estimate: Beside[Estimate]
    n: int | None
    diversity: Beside[dict[str, float]]

    @classmethod
    def of(cls, scores: Scores, metric: str) -> RowRecord:
        """The row of scores. metric: its name."""
        return cls(
            schedule=scores.setting.label,
            steps=scores.setting.steps,
            plan=PlanRecord.of(scores.setting),
            calls=CallsRecord.of(scores),
            metric=metric,
            estimate=scores.estimate,
            n=scores.count,
            diversity={name: float(values.mean()) for name, values in scores.diversity.items()},
        )


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord(JsonRecord):
    """Two schedules at the same budget: first - second, paired example by example."""

    first: str
    second: str
    steps: int
    difference: Estimate

    @classmethod
    def of_pairs(cls, scores: Sequence[Scores]) -> Iterator[ComparisonRecord]:
        """Every pair of schedules that are compared at the same budget."""
        for a, b in combinations(scores, 2):
            if a.setting.steps == b.setting.steps:
                yield cls(
                    first=a.setting.label,
                    second=b.setting.label,
                    steps=a.setting.steps,
                    difference=paired_difference(a, b),
                )

    def minus(self, reference: str) -> tuple[str, Estimate] | None:
        """The other schedule and what it has more than the one of this label; None where that is neither."""
        if reference == self.first:
            return self.second, self.difference.negated
        return (self.first, self.difference) if reference == self.second else None

    def to_json(self) -> dict[str, Any]:
        """The fields by name; ``difference`` is the value, with ci, no_interval and independent beside it."""
        found = self.difference.to_json()
        names = {"first": self.first, "second": self.second, "steps": self.steps}
        return {**names, "difference": found.pop("value"), **found}


class ComparedRows:
    """What tables of compared schedules read, whoever has computed the values."""

    rows: Sequence[RowRecord]
    comparisons: Sequence[ComparisonRecord]
    reference: str

    @property
    def minus_reference(self) -> dict[tuple[int, str], Estimate]:
        """What each schedule has more than the reference, by steps and schedule."""
        found = ((pair.steps, pair.minus(self.reference)) for pair in self.comparisons)
        return {(steps, more[0]): more[1] for steps, more in found if more is not None}

    @property
    def exact(self) -> bool:
        """Whether values are computed exactly, without examples."""
        return self.rows[0].n is None


@dataclass(frozen=True, kw_only=True)
class EvaluateResult(ComparedRows, JsonRecord):
    """What ``evaluate`` returns.

    data: the data itself as a schedule, where the metric scores it. reference: the label of linear. differences: the
    examples on which two schedules differ most; None where they were not requested, and then the JSON lacks them.
    files: by what they hold. programs: what held the programs that a model wrote; empty where none were run.
    """

    rows: tuple[RowRecord, ...]
    data: RowRecord | None
    comparisons: tuple[ComparisonRecord, ...]
    reference: str
    cost: Beside[Cost]
    reported: tuple[ReportedRecord, ...]
    files: Mapping[str, str]
    warnings: tuple[WarningRecord, ...]
    programs: Beside[Mapping[str, Any]]
    differences: tuple[DifferenceRecord, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        record = super().to_json()
        if self.differences is None:
            del record["differences"]
        return record


@dataclass(frozen=True, kw_only=True)
class HarnessRow(RowRecord):
    """A row with what the harness itself says.

    value_of_harness: its own value, None where it has none. harness: its table, as JSON.
    """

    cost: Beside[Cost]
    value_of_harness: float | None
    harness: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class HarnessResult(ComparedRows, JsonRecord):
    """What ``harness_numbers`` returns.

    documents: of each row. origin: where the numbers come from: sampler, lengths, seed, fingerprints, versions.
    """

    task: str
    metric: str
    filter: str
    documents: int | None
    rows: tuple[HarnessRow, ...]
    comparisons: tuple[ComparisonRecord, ...]
    reference: str
    cost: Beside[Cost]
    origin: Beside[Mapping[str, Any]]
    data: None = None
    warnings: tuple[WarningRecord, ...]
    files: Mapping[str, str]

    @property
    def reported(self) -> tuple[ReportedRecord, ...]:
        """Empty: the harness computes one metric."""
        return ()

    @property
    def differences(self) -> None:
        """None: they are not requested."""
        return None
