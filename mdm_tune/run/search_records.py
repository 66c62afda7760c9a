"""The result of ``search``: one record per budget, what the budgets say together, costs and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.intervals import finite_or_none
from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.core.statistics import CONFIDENCE, Estimate
from mdm_tune.core.types import Direction, Use
from mdm_tune.evaluation.evaluator import Cost, Scores
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.record_parts import CallsRecord, PlanRecord, ReportedRecord, WarningRecord
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.search.claims import Gain, Loss, outcome_of
from mdm_tune.search.confirmation import Budget, Loser
from mdm_tune.search.frontier import Frontier, Pair, frontier_of
from mdm_tune.search.outcomes import Ended, Outcome, Saving

__all__ = [
    "BudgetRecord",
    "ChoiceRecord",
    "ClaimsRecord",
    "ConfidenceRecord",
    "FrontierRecord",
    "LoserRecord",
    "LossesRecord",
    "PairRecord",
    "ProgramsRecord",
    "QualityRecord",
    "RowsRecord",
    "SearchFiles",
    "SearchResult",
    "TunedSchedule",
]


@dataclass(frozen=True, kw_only=True)
class TunedSchedule(JsonRecord):
    """The schedule that a search returns. a, b: None outside the Beta family."""

    type: str
    a: float | None
    b: float | None

    @classmethod
    def of(cls, schedule: Schedule) -> TunedSchedule:
        """The record of a schedule."""
        if isinstance(schedule, Beta):
            return cls(type="beta", a=schedule.a, b=schedule.b)
        return cls(type=schedule.name, a=None, b=None)

    @property
    def text(self) -> str:
        """``beta(a, b)`` in four digits, or the schedule's name."""
        return self.type if self.a is None else f"beta({self.a:.4g}, {self.b:.4g})"


@dataclass(frozen=True, kw_only=True)
class LoserRecord(JsonRecord):
    """The best schedule of the choose split where it is worse than linear and not returned, under its own name."""

    schedule: str
    plan: Beside[PlanRecord]
    calls: Beside[CallsRecord]
    estimate: Beside[Estimate]
    gain_over_linear: Gain

    @classmethod
    def of(cls, found: Loser) -> LoserRecord:
        """The record of a loser."""
        return cls(
            schedule=found.schedule.name,
            plan=PlanRecord.of(found.scores.setting),
            calls=CallsRecord.of(found.scores),
            estimate=found.scores.estimate,
            gain_over_linear=found.gain,
        )


@dataclass(frozen=True, kw_only=True)
class LossesRecord(JsonRecord):
    """What the winner loses of the diversity of others, all on the same ``examples``.

    threshold: the share that may be lost. reference_steps: of linear at many steps; None where it was not drawn.
    """

    examples: int
    threshold: float
    reference_steps: int | None
    losses: tuple[Loss, ...]


@dataclass(frozen=True, kw_only=True)
class ChoiceRecord(JsonRecord):
    """A schedule that was compared on the choose split, and its value there."""

    schedule: str
    estimate: Beside[Estimate]

    @classmethod
    def of(cls, scores: Scores) -> ChoiceRecord:
        """The record of scores on the choose split."""
        return cls(schedule=scores.setting.label, estimate=scores.estimate)


@dataclass(frozen=True, kw_only=True)
class QualityRecord(JsonRecord):
    """What the JSON and the schedule file both say of a budget's quality, on the report split.

    n: examples; None where values are exact. linear: the label of linear, with its blocks where several are compared.
    diversity: figures by whom and name, and what the winner loses of them; None where the metric has none.
    detectable_gain: the smallest that this split shows with 80 % power; None where it can show none, and where that is
    not known.
    """

    calls: Beside[CallsRecord]
    metric: str
    direction: Direction
    estimate: Beside[Estimate]
    n: int | None
    split: Use | None
    baselines: dict[str, Estimate]
    gain_over_linear: Gain
    linear: str
    gain_over_first_linear: Gain | None
    beats_linear: bool
    flags: tuple[str, ...]
    loser: LoserRecord | None
    data: Estimate | None
    diversity: dict[str, dict[str, Estimate]] | None
    diversity_losses: LossesRecord | None
    detectable_gain: float | None
    gain_can_be_shown: bool | None

    @classmethod
    def of(cls, run: Run, budget: Budget) -> QualityRecord:
        """The quality of a budget's winner."""
        winner, metric, drawn, reference = budget.winner, run.evaluator.metric, budget.diversity, budget.reference
        return cls(
            calls=CallsRecord.of(winner),
            metric=metric.name,
            direction=metric.direction,
            estimate=winner.estimate,
            n=winner.count,
            split=winner.use,
            baselines={name: scores.estimate for name, scores in budget.baselines.items()},
            gain_over_linear=budget.gain,
            linear=budget.baselines["linear"].setting.label,
            gain_over_first_linear=budget.gain_over_first,
            beats_linear=budget.beats_linear,
            flags=budget.flags,
            loser=None if budget.loser is None else LoserRecord.of(budget.loser),
            data=None if budget.data is None else budget.data.estimate,
            diversity=None if drawn is None else drawn.figures,
            diversity_losses=None
            if drawn is None
            else LossesRecord(
                examples=drawn.examples,
                threshold=drawn.threshold,
                reference_steps=None if reference is None else reference.steps,
                losses=drawn.losses,
            ),
            detectable_gain=finite_or_none(budget.detectable),
            gain_can_be_shown=None if budget.detectable is None else math.isfinite(budget.detectable),
        )

    @property
    def outcome(self) -> Outcome:
        """What the comparison with linear shows."""
        blocked = any(loss.blocks for loss in self.flagged)
        return outcome_of(self.gain_over_linear, lost=self.loser is not None, blocked=blocked)

    @property
    def flagged(self) -> tuple[Loss, ...]:
        """The losses of diversity that are larger than the threshold and than the noise."""
        losses = () if self.diversity_losses is None else self.diversity_losses.losses
        return tuple(loss for loss in losses if loss.flagged)


@dataclass(frozen=True, kw_only=True)
class BudgetRecord(JsonRecord):
    """The result of one budget.

    trials: finished ones, among them answered_from_record (their counts were scored before), dropped and cut. ended:
    why there are fewer than were requested. choose: the schedules that met on the choose split. same_counts: other
    schedules with the winner's counts.
    """

    steps: int
    schedule: TunedSchedule
    plan: Beside[PlanRecord]
    quality: Beside[QualityRecord]
    trials: int
    answered_from_record: int
    dropped: int
    cut: int
    ended: Ended | None
    all_reachable_counts_scored: bool
    choose: tuple[ChoiceRecord, ...]
    same_counts: tuple[str, ...]

    @classmethod
    def of(cls, run: Run, budget: Budget) -> BudgetRecord:
        """The record of a budget that was tuned and compared."""
        return cls(
            steps=budget.steps,
            schedule=TunedSchedule.of(budget.schedule),
            plan=PlanRecord.of(budget.winner.setting),
            quality=QualityRecord.of(run, budget),
            trials=budget.trials,
            answered_from_record=budget.reused,
            dropped=budget.dropped,
            cut=budget.cut,
            ended=budget.ended,
            all_reachable_counts_scored=budget.exhausted,
            choose=tuple(map(ChoiceRecord.of, budget.chosen_from)),
            same_counts=budget.alike,
        )

    @property
    def idle_steps(self) -> bool:
        """Whether some steps have no token to reveal, so that they take no denoiser call."""
        return self.plan.calls is not None and self.plan.calls < self.steps

    @property
    def ends_early(self) -> bool:
        """Whether some rows take fewer denoiser calls than the counts have, since their text ends or is shorter."""
        calls, planned = self.quality.calls, self.plan.calls
        return planned is not None and calls.nfe_ci is not None and calls.nfe < planned


@dataclass(frozen=True, kw_only=True)
class PairRecord(JsonRecord):
    """A tuned schedule beside linear at a larger budget; see ``search.frontier.Pair`` and ``search.claims.NoWorse``."""

    steps: int
    linear_steps: int
    ratio: float
    difference: float
    bound: float | None
    margin: float
    no_worse: bool
    linear_too: bool
    flags: tuple[str, ...]

    @classmethod
    def of(cls, pair: Pair) -> PairRecord:
        """The record of a pair."""
        return cls(
            steps=pair.budget.steps,
            linear_steps=pair.larger.steps,
            ratio=pair.ratio,
            difference=pair.found.difference,
            bound=pair.found.bound,
            margin=pair.found.margin,
            no_worse=pair.found.holds,
            linear_too=pair.linear_too,
            flags=pair.budget.flags,
        )


@dataclass(frozen=True, kw_only=True)
class FrontierRecord(JsonRecord):
    """Which tuned schedule is no worse than linear at which larger budget, and the most steps that this saves."""

    margin: float
    confidence: float
    pairs: tuple[PairRecord, ...]
    headline: PairRecord | None

    @classmethod
    def of(cls, frontier: Frontier) -> FrontierRecord:
        """The record of a frontier."""
        best = frontier.headline
        return cls(
            margin=frontier.margin,
            confidence=frontier.confidence,
            pairs=tuple(map(PairRecord.of, frontier.pairs)),
            headline=None if best is None else PairRecord.of(best),
        )

    def reached(self, steps: int) -> int | None:
        """The largest budget at which linear is no better than the schedule of this one; None where there is none."""
        return max((pair.linear_steps for pair in self.pairs if pair.steps == steps and pair.no_worse), default=None)


@dataclass(frozen=True, kw_only=True)
class ConfidenceRecord(JsonRecord):
    """How sure the claims of a search are: each by itself, and those of all budgets together."""

    each: float
    familywise: float
    budgets: int


@dataclass(frozen=True, kw_only=True)
class ClaimsRecord(JsonRecord):
    """How sure the claims are, and the one that needs several budgets."""

    confidence: ConfidenceRecord
    frontier: FrontierRecord

    @classmethod
    def of(cls, run: Run, budgets: Sequence[Budget]) -> ClaimsRecord:
        """The claims of all budgets of a search."""
        frontier = frontier_of(budgets, run.evaluator.metric.direction, run.config.search.margin)
        return cls(
            confidence=ConfidenceRecord(each=CONFIDENCE, familywise=CONFIDENCE, budgets=len(budgets)),
            frontier=FrontierRecord.of(frontier),
        )


@dataclass(frozen=True, kw_only=True)
class RowsRecord(JsonRecord):
    """Denoiser rows by what they were spent on; ``search.rows`` limits those of each budget's trials."""

    profile: int
    pilots: int
    trials: int
    comparison: int

    @classmethod
    def of(cls, budgets: Sequence[Budget], cost: Cost, profile: Cost | None) -> RowsRecord:
        """Shares of ``cost``, which is that of all but the profile."""
        pilots = sum(budget.pilot.denoiser_rows for budget in budgets)
        trials = sum(budget.tuning.denoiser_rows for budget in budgets)
        return cls(
            profile=0 if profile is None else profile.denoiser_rows,
            pilots=pilots,
            trials=trials,
            comparison=cost.denoiser_rows - pilots - trials,
        )


@dataclass(frozen=True, kw_only=True)
class SearchFiles(JsonRecord):
    """The paths of the schedule file and of the run folder."""

    schedule: str
    run: str


@dataclass(frozen=True, kw_only=True)
class ProgramsRecord(JsonRecord):
    """Which protections held the programs that a model wrote."""

    generated_code: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SearchResult(JsonRecord):
    """What ``search`` returns, prints with ``--json`` and writes to ``search.json``.

    trials: finished ones over all budgets, those that were finished before included. profile: what measuring it took,
    now or in an earlier command; None where none was needed. cost: of everything, the profile included. programs: None
    where no generated code was run. seconds_late: after search.timeout; None where it was kept or there is none.
    """

    budgets: tuple[BudgetRecord, ...]
    claims: Beside[ClaimsRecord]
    trials: int
    profile: Cost | None
    cost: Beside[Cost]
    denoiser_rows_of: RowsRecord
    files: SearchFiles
    programs: Beside[ProgramsRecord | None]
    reported: tuple[ReportedRecord, ...]
    seconds_late: float | None
    warnings: tuple[WarningRecord, ...]

    @classmethod
    def of(
        cls,
        run: Run,
        folder: RunFolder,
        budgets: Sequence[Budget],
        profile: Cost | None,
        *,
        reported: Sequence[ReportedRecord] = (),
        warnings: Sequence[WarningRecord] = (),
        seconds_late: float | None = None,
    ) -> SearchResult:
        """The result of a search whose budgets are all tuned and compared.

        Args:
            run: the run that was searched.
            folder: where its files are.
            budgets: in the order of the config.
            profile: what measuring the profile took; None where none was needed.
            reported: figures of the metrics beside the objective.
            warnings: what was warned of while the search ran.
            seconds_late: how long after search.timeout the search ended.
        """
        cost = sum((budget.cost for budget in budgets), run.evaluator.preparation)
        return cls(
            budgets=tuple(BudgetRecord.of(run, budget) for budget in budgets),
            claims=ClaimsRecord.of(run, budgets),
            trials=sum(budget.trials for budget in budgets),
            profile=profile,
            cost=cost + (profile or Cost()),
            denoiser_rows_of=RowsRecord.of(budgets, cost, profile),
            files=SearchFiles(schedule=str(folder.schedule), run=str(folder.path)),
            programs=ProgramsRecord(**run.programs) if run.programs else None,
            reported=tuple(reported),
            seconds_late=seconds_late,
            warnings=tuple(warnings),
        )

    @property
    def exact(self) -> bool:
        """Whether values are computed exactly, so that nothing has an interval."""
        return self.budgets[0].quality.estimate.exact

    @property
    def saving(self) -> Saving:
        """Whether any tuned schedule is shown to be as good as linear at a larger budget."""
        if self.claims.frontier.headline is not None:
            return Saving.SHOWN
        untested = all(budget.quality.outcome is Outcome.UNTESTED for budget in self.budgets)
        return Saving.UNTESTED if self.claims.frontier.pairs and untested else Saving.NOT_SHOWN

    def saving_of(self, budget: BudgetRecord) -> Saving | None:
        """Whether a budget's schedule is shown to be as good as linear at a larger one; None where there is none."""
        pairs = [pair for pair in self.claims.frontier.pairs if pair.steps == budget.steps]
        if not pairs:
            return None
        if any(pair.no_worse for pair in pairs):
            return Saving.SHOWN
        return Saving.UNTESTED if budget.quality.outcome is Outcome.UNTESTED else Saving.NOT_SHOWN
