"""The records of ``search --dry-run``: what a search would cost, what it can reach, and what it could show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.evaluation.scores import Cost
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

Phase = Literal["profile", "own answers", "tune", "choose", "report"]


@dataclass(frozen=True, kw_only=True)
class PhaseRecord(JsonRecord):
    """The most that a phase of a search takes.

    Attributes:
        phase: The phase.
        schedules: Policies that are scored, per budget.
        cost: Cost of the denoiser and the metric, and of waiting for the last replica.
        memory_bytes: Peak memory of this process; None if the system does not report it.
        overhead_seconds: Seconds for proposals, records and intervals.
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
    """The cost of all phases and of ``start`` seconds before them."""
    cost = sum((phase.cost for phase in phases), Cost())
    overhead = sum(phase.overhead_seconds for phase in phases)
    return cost + Cost(seconds=start + overhead)


@dataclass(frozen=True, kw_only=True)
class OutlookRecord(JsonRecord):
    """One budget at one block length, before its search.

    Attributes:
        steps: The budget.
        block_length: Tokens of a block; None for ancestral reveal.
        steps_per_block: The steps of each block; None for ancestral reveal, and if a profile will choose them.
        reachable_counts: Distinct count vectors that the search can reach; None in the same cases.
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
    """The size of the report split.

    Attributes:
        report_examples: All examples.
        report_independent: Independent examples; of examples in groups, the groups.
        pilot_steps: The budget of the pilot from which the gain is guessed.
        pilot_examples: The tune examples of the pilot.
    """

    report_examples: int
    report_independent: int
    pilot_steps: int | None = None
    pilot_examples: int | None = None


@dataclass(frozen=True, kw_only=True)
class ShownGainRecord(JsonRecord):
    """The smallest gain that the report split shows with 80 % power.

    Attributes:
        detectable_gain: That gain; None if no gain can be shown, or if it is unknown because values or schedules are
            equal.
        gain_can_be_shown: Whether some gain can be shown; None if that is unknown.
        size: The size of the report split; None in the same case.
    """

    detectable_gain: float | None
    gain_can_be_shown: bool | None
    size: Beside[ReportSizeRecord | None]


@dataclass(frozen=True, kw_only=True)
class BusyRecord(JsonRecord):
    """The share of the replicas that the first look of a batch of trials keeps busy.

    Attributes:
        replicas: Replicas of the denoiser.
        together: Trials of a batch.
        pieces: Pieces of its first look, each a batch of the denoiser.
        busy: The share of the replicas, in [0, 1].
        together_to_fill: The fewest trials of a batch that keep nearly all replicas busy; None if no number does.
    """

    replicas: int
    together: int
    pieces: int
    busy: float
    together_to_fill: int | None


@dataclass(frozen=True, kw_only=True)
class DryRunResult(JsonRecord):
    """The result of ``search --dry-run``.

    Attributes:
        phases: The most that each phase of the search takes.
        start_seconds: Seconds until the model is loaded.
        total: Cost of all phases and of the start.
        reach: Every budget at every block length.
        shown_gain: The smallest gain that the search could show.
        busy_replicas: The replicas that trials keep busy; None for one device, and if trials need no denoiser.
        peak_memory_bytes: Peak memory of this process; None if the system does not report it.
        already_holds_search: Whether the run folder already holds a search.
        timeout: ``search.timeout`` in seconds.
        cost: Cost of the batches that were timed.
        devices: One name per replica.
        warnings: Warnings about the search.
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
        """Seconds to compare policies on unseen examples; no timeout cuts the comparison."""
        return sum(phase.cost.seconds for phase in self.phases if phase.phase in ("choose", "report"))

    @property
    def late(self) -> bool:
        """Whether the comparison alone takes longer than the timeout."""
        return self.timeout is not None and self.comparison_seconds > self.timeout
