"""The result of ``sample``: samples, policy and cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.evaluation.scores import Cost
from mdm_tune.run.record_parts import PlanRecord, WarningRecord

__all__ = ["PromptRecord", "SampleRecord", "SampleResult", "ScheduleSource"]


class ScheduleSource(Enum):
    """Where the policy of ``sample`` comes from."""

    NAMED = "named"  # by --schedule
    SEARCH = "search"  # the schedule file of the run folder
    DEFAULT = "default"  # linear, if there is neither


@dataclass(frozen=True, kw_only=True)
class PromptRecord(JsonRecord):
    """The example of a data set whose hidden tokens were drawn.

    Attributes:
        id: The example's id.
        prompt: The text before its first hidden token.
        conditional: Whether it has any visible token.
        shown: The whole example, with the drawn text in brackets.
    """

    id: str
    prompt: str
    conditional: bool
    shown: str


@dataclass(frozen=True, kw_only=True)
class SampleRecord(JsonRecord):
    """One sample.

    Attributes:
        tokens: The whole row.
        text: Text of the drawn tokens.
        example: The example that was filled; None without a data set.
    """

    tokens: tuple[int, ...]
    text: str
    example: Beside[PromptRecord | None]


@dataclass(frozen=True, kw_only=True)
class SampleResult(JsonRecord):
    """What ``sample`` returns, prints with ``--json`` and writes to ``samples.json``.

    Attributes:
        samples: The samples.
        schedule: Name of the policy.
        schedule_from: Where the policy comes from.
        steps: The budget.
        plan: What the sampler receives.
        nfe: Mean denoiser calls of a sample.
        cost: Cost of the samples, and of a profile that was measured for them.
        warnings: Warnings about the result.
    """

    samples: tuple[SampleRecord, ...]
    schedule: str
    schedule_from: ScheduleSource
    steps: int
    plan: Beside[PlanRecord]
    nfe: float
    cost: Beside[Cost]
    warnings: tuple[WarningRecord, ...]
