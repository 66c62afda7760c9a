"""The records of ``search --dry-run``: what a search would cost, what it can reach, and what it could show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.run.record_parts import WarningRecord
from mdm_tune.search.space import BudgetOutlook

__all__ = [
    "BusyRecord",
    "DryRunResult",
    "OutlookRecord",
    "Phase",
    "PhaseRecord",
    "ReportSizeRecord",
    "ShownGainRecord",
    "total_of",
]

Phase = Literal["profile", "tune", "choose", "report"]


@dataclass(frozen=True, kw_only=True)
class PhaseRecord(JsonRecord):
    """What a phase of a search takes at most.

    schedules: how many are scored, for each budget. cost: of the denoiser and the metric, and of waiting for the last
    replica. memory_bytes: peak of this process; None where the system does not say it. overhead_seconds: of proposals,
    records and intervals.
    """

    phase: Phase
    schedules: int
    cost: Beside[Cost]
    memory_bytes: int | None
    overhead_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """All seconds of the phase."""
        return self.cost.seconds + self.overhead_seconds


def total_of(phases: Sequence[PhaseRecord], start: float) -> Cost:
    """All phases together, with ``start`` seconds before them."""
    found = sum((phase.cost for phase in phases), Cost())
    overhead = sum(phase.overhead_seconds for phase in phases)
    return found + Cost(seconds=start + overhead)


@dataclass(frozen=True, kw_only=True)
class OutlookRecord(JsonRecord):
    """One budget in one kind of blocks, before its search.

    block_length: None for ancestral reveal. steps_per_block: None there, and where a profile will say.
    reachable_counts: distinct count vectors that the search can reach; None likewise.
    """

    steps: int
    block_length: int | None
    steps_per_block: tuple[int, ...] | None
    reachable_counts: int | None

    @classmethod
    def of(cls, outlook: BudgetOutlook) -> OutlookRecord:
        """The record of an outlook."""
        shares = outlook.steps_of_blocks
        return cls(
            steps=outlook.steps,
            block_length=None if outlook.ancestral else outlook.block_length,
            steps_per_block=None if shares is None else tuple(shares),
            reachable_counts=outlook.counts,
        )

    @property
    def ancestral(self) -> bool:
        """Whether reveal is ancestral, which has neither counts nor blocks."""
        return self.block_length is None


@dataclass(frozen=True, kw_only=True)
class ReportSizeRecord(JsonRecord):
    """The report split. report_examples: all of them. report_independent: those, or groups, that are independent."""

    report_examples: int
    report_independent: int


@dataclass(frozen=True, kw_only=True)
class ShownGainRecord(JsonRecord):
    """The smallest gain that the report split shows with 80 % power.

    detectable_gain: None where none can be shown, and where it is not known since values or schedules are alike.
    gain_can_be_shown: None where it is not known. size: None likewise.
    """

    detectable_gain: float | None
    gain_can_be_shown: bool | None
    size: Beside[ReportSizeRecord | None]


@dataclass(frozen=True, kw_only=True)
class BusyRecord(JsonRecord):
    """What share of the replicas the first look of a batch of trials keeps busy.

    together: trials of a batch. pieces: of its first look, each a batch of the denoiser. busy: the share of the
    replicas, 0 to 1. together_to_fill: the fewest trials of a batch that keep nearly all busy; None where none do.
    """

    replicas: int
    together: int
    pieces: int
    busy: float
    together_to_fill: int | None


@dataclass(frozen=True, kw_only=True)
class DryRunResult(JsonRecord):
    """What ``search --dry-run`` returns.

    start_seconds: until the model is loaded. total: of all phases with the start. reach: every budget in every kind of
    blocks. busy_replicas: None for one device, and where trials need no denoiser. timeout: ``search.timeout``. cost: of
    the batches that were timed. devices: one name for each replica.
    """

    phases: tuple[PhaseRecord, ...]
    start_seconds: float
    total: Cost
    reach: tuple[OutlookRecord, ...]
    shown_gain: Beside[ShownGainRecord]
    busy_replicas: BusyRecord | None
    peak_memory_bytes: int | None
    already_holds_search: bool
    timeout: float | None
    cost: Beside[Cost]
    devices: tuple[str, ...]
    warnings: tuple[WarningRecord, ...]

    @property
    def comparison_seconds(self) -> float:
        """What comparing schedules on unseen examples takes, which no timeout cuts."""
        return sum(phase.cost.seconds for phase in self.phases if phase.phase in ("choose", "report"))

    @property
    def late(self) -> bool:
        """Whether the comparison alone takes longer than the timeout."""
        return self.timeout is not None and self.comparison_seconds > self.timeout
