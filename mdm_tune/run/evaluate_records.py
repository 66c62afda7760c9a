"""The records of ``evaluate`` and of numbers by lm-evaluation-harness: rows, comparisons, differences, results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost, Scores, paired_difference
from mdm_tune.run.description import RunDescription
from mdm_tune.run.example_records import DifferenceRecord
from mdm_tune.run.frontier_records import PolicyFrontierRecord
from mdm_tune.run.page_records import SamplePair
from mdm_tune.run.record_parts import CallsRecord, PlanRecord, ReportedRecord, WarningRecord
from mdm_tune.schedules.equal_cost import equal_cost

__all__ = ["ComparedRows", "ComparisonRecord", "EvaluateResult", "HarnessResult", "HarnessRow", "RowRecord"]


@dataclass(frozen=True, kw_only=True)
class RowRecord(JsonRecord):
    """One policy at one budget, or the data itself.

    Attributes:
        schedule: Label of the policy.
        steps: The budget.
        plan: What the sampler receives.
        calls: Mean denoiser calls.
        metric: Name of the metric.
        estimate: Value of the metric.
        n: Examples that were scored; None if the value is exact.
        diversity: Mean of each of the metric's diversity figures, by name.
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
        """The row of ``scores`` by the metric of this name."""
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
    """Two policies at the same budget, paired example by example.

    Attributes:
        first: Label of the first policy.
        second: Label of the second policy.
        steps: The budget.
        difference: Mean of first - second.
        calls_ratio: Denoiser calls of the first over those of the second, as they were made.
    """

    first: str
    second: str
    steps: int
    difference: Estimate
    calls_ratio: float = 1.0

    @classmethod
    def of_pairs(cls, scores: Sequence[Scores]) -> Iterator[ComparisonRecord]:
        """Yield the comparison of every two policies with the same budget."""
        for a, b in combinations(scores, 2):
            if a.setting.steps == b.setting.steps:
                yield cls(
                    first=a.setting.label,
                    second=b.setting.label,
                    steps=a.setting.steps,
                    difference=paired_difference(a, b),
                    calls_ratio=equal_cost(a.nfe, b.nfe).ratio,
                )

    def minus(self, reference: str) -> tuple[str, Estimate] | None:
        """The other policy, and its value minus that of ``reference``; None if the pair lacks ``reference``."""
        if reference == self.first:
            return self.second, self.difference.negated
        return (self.first, self.difference) if reference == self.second else None

    def to_json(self) -> dict[str, Any]:
        """The fields by name; ``difference`` is the value, beside ci, no_interval and independent.

        ``calls_ratio`` is that of the calls. ``equal_cost`` is false if one of the two makes over 2 % more calls.
        """
        estimate = self.difference.to_json()
        names = {"first": self.first, "second": self.second, "steps": self.steps}
        either_way = equal_cost(self.calls_ratio, 1.0), equal_cost(1.0, self.calls_ratio)
        calls = {"calls_ratio": self.calls_ratio, "equal_cost": not any(ratio.more for ratio in either_way)}
        return {**names, "difference": estimate.pop("value"), **estimate, **calls}


class ComparedRows:
    """What tables of compared policies read from results of ``evaluate`` and of the harness.

    Attributes:
        rows: One row per policy and budget.
        comparisons: Every two policies with the same budget.
        reference: Label of linear.
    """

    rows: Sequence[RowRecord]
    comparisons: Sequence[ComparisonRecord]
    reference: str

    @property
    def minus_reference(self) -> dict[tuple[int, str], Estimate]:
        """The value of each policy minus that of the reference, by steps and label."""
        differences = ((pair.steps, pair.minus(self.reference)) for pair in self.comparisons)
        return {(steps, pair[0]): pair[1] for steps, pair in differences if pair is not None}

    @property
    def exact(self) -> bool:
        """Whether values are computed exactly, without examples."""
        return self.rows[0].n is None


@dataclass(frozen=True, kw_only=True)
class EvaluateResult(ComparedRows, JsonRecord):
    """The result of ``evaluate``.

    Attributes:
        rows: One row per policy and budget.
        data: The row of the data itself; None if the metric does not score it.
        comparisons: Every two policies with the same budget.
        reference: Label of linear.
        cost: Cost of the command.
        reported: Figures of the metrics that are reported beside the objective.
        files: Paths of the files that were written, by what they hold.
        warnings: Warnings about the result.
        programs: The protections around programs that the model wrote; empty if no programs were run.
        differences: The examples on which two policies differ most; None if they were not requested, and then the JSON
            lacks them.
        description: What the result is of; None in older records.
        sample_pairs: Samples of linear and of the last policy of each budget from the same noise.
        frontier: Quality against calls over all policies and budgets, and the cheapest policy that is as good as one
            token per step; None if one token per step was not measured.
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
    description: RunDescription | None = None
    sample_pairs: tuple[SamplePair, ...] = ()
    frontier: PolicyFrontierRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        record = super().to_json()
        if self.differences is None:
            del record["differences"]
        return record


@dataclass(frozen=True, kw_only=True)
class HarnessRow(RowRecord):
    """A row, with the values of the harness itself.

    Attributes:
        cost: Cost of the row.
        value_of_harness: The value that the harness computed; None if it computed none.
        harness: The table of the harness, as JSON.
    """

    cost: Beside[Cost]
    value_of_harness: float | None
    harness: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class HarnessResult(ComparedRows, JsonRecord):
    """The result of ``harness_numbers``.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        filter: Name of the harness filter.
        documents: Documents that each row scores; None if values are exact.
        rows: One row per policy and budget.
        comparisons: Every two policies with the same budget.
        reference: Label of linear.
        cost: Cost of all rows.
        origin: What the numbers were computed with: sampler, lengths, seed, fingerprints, versions.
        data: None: the harness does not score the data itself.
        warnings: Warnings about the result.
        files: Paths of the files that were written, by what they hold.
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
        """None: the harness command does not look for them."""
        return None

    @property
    def frontier(self) -> None:
        """None: the harness command does not measure one token per step."""
        return None
