"""The parts that the records of several commands share: what the sampler gets, its calls, warnings, other metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdm_tune.core.intervals import interval_text
from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import estimate

if TYPE_CHECKING:  # these load torch, and what shows records does without it
    from mdm_tune.evaluation.evaluator import Scores
    from mdm_tune.evaluation.settings import Setting
    from mdm_tune.metrics.reported import Figure

__all__ = ["CallsRecord", "PlanRecord", "ReportedRecord", "WarningRecord"]


@dataclass(frozen=True)
class PlanRecord(JsonRecord):
    """What the sampler gets: counts (steps,) and the length of the blocks that they fill, or alphas (steps + 1,).

    alphas: revealed probabilities, for ancestral reveal. Either counts or alphas is None.
    """

    block_length: int | None
    counts: tuple[int, ...] | None
    alphas: tuple[float, ...] | None

    @classmethod
    def of(cls, setting: Setting) -> PlanRecord:
        """The plan of a setting."""
        size = None if setting.counts is None else setting.block_length
        return cls(block_length=size, counts=setting.counts, alphas=setting.alphas)

    @property
    def blocks(self) -> int:
        """How many blocks a sequence has; 1 for ancestral reveal."""
        return 1 if self.counts is None or not self.block_length else sum(self.counts) // self.block_length

    @property
    def calls(self) -> int | None:
        """Steps that reveal a token, each of which takes a denoiser call; None for ancestral reveal."""
        return None if self.counts is None else sum(count > 0 for count in self.counts)


@dataclass(frozen=True)
class CallsRecord(JsonRecord):
    """Mean denoiser calls (NFE) of a row. nfe_ci: of the mean, where rows differ; None where they do not."""

    nfe: float
    nfe_ci: tuple[float, float] | None

    @classmethod
    def of(cls, scores: Scores) -> CallsRecord:
        """The calls that were measured: each row takes those of its counts at most."""
        if scores.calls is None:
            return cls(scores.nfe, None)
        most = scores.setting.length if scores.setting.counts is None else scores.setting.nfe
        bounds = float(min(1, scores.calls.min())), float(max(most, scores.calls.max()))
        return cls(scores.nfe, estimate(scores.calls, bounds=bounds, groups=scores.groups).ci)

    @property
    def text(self) -> str:
        """The calls, with an interval where they differ from row to row."""
        return f"{self.nfe:.4g}" if self.nfe_ci is None else interval_text(self.nfe, self.nfe_ci)


@dataclass(frozen=True)
class WarningRecord(JsonRecord):
    """What a result warns of. code: for programs. advice: what to do; empty where nothing is to be done."""

    code: str
    text: str
    advice: str


@dataclass(frozen=True)
class ReportedRecord(JsonRecord):
    """A figure of a metric beside the objective, for one schedule at one budget; see ``metrics.reported.Figure``."""

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
        """The figure of the samples that a setting has drawn."""
        return cls(schedule=setting.label, steps=setting.steps, **vars(figure))
