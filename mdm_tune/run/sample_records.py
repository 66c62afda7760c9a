"""The result of ``sample``: what was drawn, with which schedule, and what that took."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.run.record_parts import PlanRecord, WarningRecord

__all__ = ["PromptRecord", "SampleRecord", "SampleResult", "ScheduleSource"]


class ScheduleSource(Enum):
    """Where the schedule of ``sample`` comes from."""

    NAMED = "named"  # by --schedule
    SEARCH = "search"  # the schedule file of the run folder
    DEFAULT = "default"  # linear, since there is neither


@dataclass(frozen=True, kw_only=True)
class PromptRecord(JsonRecord):
    """The example of a data set whose hidden tokens were drawn.

    prompt: the text before its first hidden token. conditional: whether it has any visible token. shown: the whole
    example, with what was drawn in brackets.
    """

    id: str
    prompt: str
    conditional: bool
    shown: str


@dataclass(frozen=True, kw_only=True)
class SampleRecord(JsonRecord):
    """One sample. tokens: the whole row. text: of what was drawn. example: None where there is no data set."""

    tokens: tuple[int, ...]
    text: str
    example: Beside[PromptRecord | None]


@dataclass(frozen=True, kw_only=True)
class SampleResult(JsonRecord):
    """What ``sample`` returns, prints with ``--json`` and writes to ``samples.json``.

    nfe: mean denoiser calls of a sample. cost: of the samples, and of a profile that was measured for them.
    """

    samples: tuple[SampleRecord, ...]
    schedule: str
    schedule_from: ScheduleSource
    steps: int
    plan: Beside[PlanRecord]
    nfe: float
    cost: Beside[Cost]
    warnings: tuple[WarningRecord, ...]
