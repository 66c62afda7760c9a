"""Records that the results of several commands share: plans, denoiser calls, warnings, figures of other metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdm_tune.core.interval_text import interval_text
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.numerals import significant
from mdm_tune.core.statistics import CONFIDENCE, estimate

if TYPE_CHECKING:  # these modules load torch, and tables of records are shown without it
    from mdm_tune.evaluation.scores import Scores
    from mdm_tune.evaluation.settings import Setting
    from mdm_tune.metrics.reported import Figure

__all__ = ["CallsRecord", "PlanRecord", "ReportedRecord", "WarningRecord"]


@dataclass(frozen=True)
class PlanRecord(JsonRecord):
    """What the sampler receives: counts, alphas or a policy. The others are None.

    Attributes:
        block_length: Tokens of a block; None for ancestral reveal.
        counts: (steps,) tokens that each step reveals.
        alphas: (steps + 1,) alpha at the ends of the steps, for ancestral reveal.
        policy: An adaptive policy with its value, by its name.
    """

    block_length: int | None
    counts: tuple[int, ...] | None
    alphas: tuple[float, ...] | None
    policy: str | None = None

    @classmethod
    def of(cls, setting: Setting) -> PlanRecord:
        """The plan of a setting."""
        policy = None if setting.adaptive is None else setting.adaptive.name
        size = None if setting.counts is None and policy is None else setting.block_length
        return cls(block_length=size, counts=setting.counts, alphas=setting.alphas, policy=policy)

    @property
    def blocks(self) -> int:
        """The number of blocks of a sequence; 1 for ancestral reveal and policies."""
        return 1 if self.counts is None or not self.block_length else sum(self.counts) // self.block_length

    @property
    def calls(self) -> int | None:
        """Steps that reveal a token, each of which takes a denoiser call; None for ancestral reveal and policies."""
        return None if self.counts is None else sum(count > 0 for count in self.counts)


@dataclass(frozen=True)
class CallsRecord(JsonRecord):
    """Denoiser calls of a row.

    Attributes:
        nfe: Mean number of calls.
        nfe_ci: Confidence interval of the mean; None if all rows take equally many calls.
    """

    nfe: float
    nfe_ci: tuple[float, float] | None

    @classmethod
    def of(cls, scores: Scores, confidence: float = CONFIDENCE) -> CallsRecord:
        """The calls of the rows that were scored. A row takes at most the calls of its counts."""
        if scores.calls is None:
            return cls(scores.nfe, None)
        most = scores.setting.length if scores.setting.counts is None else scores.setting.nfe
        bounds = float(min(1, scores.calls.min())), float(max(most, scores.calls.max()))
        return cls(scores.nfe, estimate(scores.calls, confidence, bounds, scores.groups).ci)

    @property
    def text(self) -> str:
        """The mean, with its interval if there is one."""
        return significant(self.nfe, 4) if self.nfe_ci is None else interval_text(self.nfe, self.nfe_ci)


@dataclass(frozen=True)
class WarningRecord(JsonRecord):
    """A warning about a result.

    Attributes:
        code: Short name of the warning, for programs.
        text: The warning.
        advice: What to do; empty if there is nothing to do.
    """

    code: str
    text: str
    advice: str


@dataclass(frozen=True)
class ReportedRecord(JsonRecord):
    """A figure of a metric beside the objective, for one policy at one budget.

    Attributes:
        schedule: Label of the policy.
        steps: The budget.
        name, label, direction, value, range, over, count: As in ``metrics.reported.Figure``.
    """

    schedule: str
    steps: int
    name: str
    label: str
    direction: str
    value: float
    range: tuple[float, float] | None
    over: str
    count: int

    @classmethod
    def of(cls, setting: Setting, figure: Figure) -> ReportedRecord:
        """The record of a figure of the samples that were drawn with a setting."""
        return cls(schedule=setting.label, steps=setting.steps, **vars(figure))
