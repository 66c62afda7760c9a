"""The result of ``search``: one record per budget, the claims of all budgets, costs and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mdm_tune.core.interval_text import finite_or_none
from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.core.statistics import Estimate
from mdm_tune.core.types import Direction, Use
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.run.build import Run
from mdm_tune.run.claim_records import ClaimsRecord
from mdm_tune.run.description import RunDescription
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.frontier_records import PolicyFrontierRecord
from mdm_tune.run.page_records import BudgetDetails, ProfileCurve, SamplePair
from mdm_tune.run.policy_records import PolicyRecord
from mdm_tune.run.record_parts import CallsRecord, PlanRecord, ReportedRecord, WarningRecord
from mdm_tune.run.shared_records import SharedRecord, TunedPolicy
from mdm_tune.schedules.equal_cost import FLAG, CallRatio
from mdm_tune.search.confirmation import Budget, Loser
from mdm_tune.search.gains import Gain, Loss, outcome_of
from mdm_tune.search.outcomes import Ended, Outcome, Saving
from mdm_tune.search.stand_ins import StandIns

__all__ = [
    "BudgetRecord",
    "ChoiceRecord",
    "LoserRecord",
    "LossesRecord",
    "ProgramsRecord",
    "QualityRecord",
    "RowsRecord",
    "SearchFiles",
    "SearchResult",
    "TunedPolicy",
]


@dataclass(frozen=True, kw_only=True)
class LoserRecord(JsonRecord):
    """The best policy of the choose split, which is worse than linear on the report split and is not returned."""

    schedule: str
    plan: Beside[PlanRecord]
    calls: Beside[CallsRecord]
    estimate: Beside[Estimate]
    gain_over_linear: Gain

    @classmethod
    def of(cls, loser: Loser) -> LoserRecord:
        """The record of a loser."""
        return cls(
            schedule=loser.policy.name,
            plan=PlanRecord.of(loser.scores.setting),
            calls=CallsRecord.of(loser.scores),
            estimate=loser.scores.estimate,
            gain_over_linear=loser.gain,
        )


@dataclass(frozen=True, kw_only=True)
class LossesRecord(JsonRecord):
    """Diversity that the winner loses in comparison with others, on the same examples.

    Attributes:
        examples: Number of examples.
        threshold: The share of diversity that may be lost.
        reference_steps: Steps of linear at many steps; None if it was not drawn.
        losses: One loss per figure, in comparison with linear at many steps or with the data.
    """

    examples: int
    threshold: float
    reference_steps: int | None
    losses: tuple[Loss, ...]


@dataclass(frozen=True, kw_only=True)
class ChoiceRecord(JsonRecord):
    """The label of a policy that was compared on the choose split, and its value there."""

    schedule: str
    estimate: Beside[Estimate]

    @classmethod
    def of(cls, scores: Scores) -> ChoiceRecord:
        """The record of scores on the choose split."""
        return cls(schedule=scores.setting.label, estimate=scores.estimate)


@dataclass(frozen=True, kw_only=True)
class QualityRecord(JsonRecord):
    """The quality of a budget's winner on the report split. The JSON and the schedule file both hold it.

    Attributes:
        calls: Mean denoiser calls.
        metric: Name of the objective.
        direction: Direction of the objective.
        estimate: Value of the objective.
        n: Examples; None if values are exact.
        split: Use of the split; None if values are exact.
        baselines: Values of the baselines, by name.
        gain_over_linear: Gain over linear.
        linear: Label of linear, with its block length if several are compared.
        gain_over_first_linear: Gain over linear at the first block length; None if ``linear`` has that block length.
        beats_linear: Whether the gain is a win.
        flags: Codes of the reasons to doubt a win.
        loser: The best policy of the choose split, if it is worse than linear; else None.
        data: Value of the data itself; None if the metric does not score it.
        diversity: Diversity figures, by source and name; None if the metric has none.
        diversity_losses: Diversity that the winner loses; None in the same case.
        detectable_gain: The smallest gain that this split shows with 80 % power; None if no gain can be shown, or if
            that is unknown.
        gain_can_be_shown: Whether some gain can be shown; None if that is unknown.
        calls_of_linear: The winner's calls as a multiple of those of linear; None in older records.
        calls_of_linear_ci: Its 95 % interval; None if the calls do not vary, and in older records.
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
    calls_of_linear: float | None = None
    calls_of_linear_ci: tuple[float, float] | None = None

    @classmethod
    def of(cls, run: Run, budget: Budget) -> QualityRecord:
        """The quality of a budget's winner."""
        winner, metric, diversity, reference = budget.winner, run.evaluator.metric, budget.diversity, budget.reference
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
            diversity=None if diversity is None else diversity.figures,
            diversity_losses=None
            if diversity is None
            else LossesRecord(
                examples=diversity.examples,
                threshold=diversity.threshold,
                reference_steps=None if reference is None else reference.steps,
                losses=diversity.losses,
            ),
            detectable_gain=finite_or_none(budget.detectable),
            gain_can_be_shown=None if budget.detectable is None else math.isfinite(budget.detectable),
            calls_of_linear=budget.call_ratio.ratio,
            calls_of_linear_ci=budget.call_ratio.ci,
        )

    @property
    def outcome(self) -> Outcome:
        """What the comparison with linear shows."""
        blocked = any(loss.blocks for loss in self.flagged)
        more = FLAG in self.flags
        return outcome_of(self.gain_over_linear, lost=self.loser is not None, blocked=blocked, more_calls=more)

    @property
    def call_ratio(self) -> CallRatio | None:
        """The winner's calls, compared with those of linear; None in older records."""
        return None if self.calls_of_linear is None else CallRatio(self.calls_of_linear, self.calls_of_linear_ci)

    @property
    def flagged(self) -> tuple[Loss, ...]:
        """The losses of diversity that exceed both the threshold and the noise."""
        losses = () if self.diversity_losses is None else self.diversity_losses.losses
        return tuple(loss for loss in losses if loss.flagged)


@dataclass(frozen=True, kw_only=True)
class BudgetRecord(JsonRecord):
    """The result of one budget.

    Attributes:
        steps: The budget.
        schedule: The winner.
        plan: What the sampler receives.
        quality: The winner's quality on the report split.
        trials: Finished trials. The next three numbers are parts of it.
        answered_from_record: Trials whose counts had been scored before.
        dropped: Trials that their race dropped.
        cut: Trials that were dropped because rows or time ran out.
        ended: Why there are fewer trials than requested; None if there are not.
        all_reachable_counts_scored: Whether every count vector that the search can reach was scored.
        choose: The policies that were compared on the choose split.
        same_counts: Other policies with the winner's counts.
        details: What the page of the run shows beside this.
        stand_ins: What may stand in for the winner; None in older records.
        policies: The best of each kind of policy; empty if one kind is tuned.
        unreachable: The policies of trials that cannot make the calls of the budget, each with the reason. These trials
            are none of the others.
    """

    steps: int
    schedule: TunedPolicy
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
    details: Beside[BudgetDetails]
    stand_ins: StandIns | None = None
    policies: tuple[PolicyRecord, ...] = ()
    unreachable: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run, budget: Budget) -> BudgetRecord:
        """The record of a budget that was tuned and compared."""
        return cls(
            steps=budget.steps,
            schedule=TunedPolicy.of(budget.policy),
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
            details=BudgetDetails(),
            stand_ins=budget.stand_ins,
            policies=tuple(map(PolicyRecord.of, budget.policies)),
            unreachable=budget.unreachable,
        )

    @property
    def equal(self) -> PolicyRecord | None:
        """The kind with the largest gain that counts, where the gain of the winner is at more calls; None elsewhere."""
        if self.quality.outcome is not Outcome.MORE_CALLS:
            return None
        won = [each for each in self.policies if each.beats_linear]
        gains = {each.gain_over_linear.value: each for each in won if each.gain_over_linear is not None}
        return gains[max(gains)] if gains else None

    @property
    def idle_steps(self) -> bool:
        """Whether some steps reveal no token and so take no denoiser call."""
        return self.plan.calls is not None and self.plan.calls < self.steps

    @property
    def ends_early(self) -> bool:
        """Whether some rows take fewer denoiser calls than planned, because their text ends early or is shorter."""
        calls, planned = self.quality.calls, self.plan.calls
        return planned is not None and calls.nfe_ci is not None and calls.nfe < planned


@dataclass(frozen=True, kw_only=True)
class RowsRecord(JsonRecord):
    """Denoiser rows by what they were spent on.

    Attributes:
        profile: Rows of measuring the profile.
        pilots: Rows of the scores before the trials.
        trials: Rows of the trials; ``search.rows`` limits them for each budget.
        comparison: Rows of comparing finalists and baselines on unseen examples.
        own_answers: Rows of the model's own answers, for a metric that judges by these.
    """

    profile: int
    pilots: int
    trials: int
    comparison: int
    own_answers: int = 0

    @classmethod
    def of(cls, budgets: Sequence[Budget], cost: Cost, profile: Cost | None, own: Cost) -> RowsRecord:
        """Divide ``cost``, the cost of all but the profile and the model's own answers, among its purposes."""
        pilots = sum(budget.pilot.denoiser_rows for budget in budgets)
        trials = sum(budget.tuning.denoiser_rows for budget in budgets)
        return cls(
            profile=0 if profile is None else profile.denoiser_rows,
            pilots=pilots,
            trials=trials,
            comparison=cost.denoiser_rows - pilots - trials,
            own_answers=own.denoiser_rows,
        )


@dataclass(frozen=True, kw_only=True)
class SearchFiles(JsonRecord):
    """The paths of the schedule file and of the run folder."""

    schedule: str
    run: str


@dataclass(frozen=True, kw_only=True)
class ProgramsRecord(JsonRecord):
    """The protections that confined the programs that a model wrote, by name."""

    generated_code: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SearchResult(JsonRecord):
    """What ``search`` returns, prints with ``--json`` and writes to ``search.json``.

    Attributes:
        budgets: One record per budget, in the order of the config.
        claims: The claims of all budgets.
        trials: Finished trials of all budgets, including those of earlier commands. With ``search.shared`` a trial is
            scored at all budgets and counts once.
        profile: Cost of measuring the profile, now or in an earlier command; None if no profile was needed.
        cost: Cost of the search, including the profile.
        denoiser_rows_of: Denoiser rows by what they were spent on.
        files: Where the search writes.
        programs: How generated programs were confined; None if none were run.
        reported: Figures of the metrics that are reported beside the objective.
        seconds_late: Seconds by which the search ended after ``search.timeout``; None if it ended in time or there is
            no timeout.
        warnings: Warnings about the result.
        description: What the result is of; None in older records.
        profile_curves: The information profiles that were used.
        sample_pairs: Samples of linear and of the tuned policy from the same noise.
        shared: The one schedule of all budgets, which the schedule file holds; None unless ``search.shared`` is set.
        policy_frontier: Quality against calls of the best policies, compared with one token per step; None if it was
            not asked for.
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
    description: RunDescription | None = None
    profile_curves: tuple[ProfileCurve, ...] = ()
    sample_pairs: tuple[SamplePair, ...] = ()
    shared: SharedRecord | None = None
    policy_frontier: PolicyFrontierRecord | None = None

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
        frontier: tuple[PolicyFrontierRecord, Cost] | None = None,
    ) -> SearchResult:
        """The result of a search whose budgets are all tuned and compared.

        Args:
            run: The run that was searched.
            folder: Its run folder.
            budgets: The budgets, in the order of the config.
            profile: Cost of measuring the profile; None if no profile was needed.
            reported: Figures of the metrics that are reported beside the objective.
            warnings: Warnings of the search.
            seconds_late: Seconds by which the search ended after ``search.timeout``; None if it ended in time.
            frontier: The frontier, and the cost of measuring one token per step for it; None if it was not asked for.
        """
        cost = sum((budget.cost for budget in budgets), run.evaluator.preparation)
        cost += Cost() if frontier is None else frontier[1]
        return cls(
            budgets=tuple(BudgetRecord.of(run, budget) for budget in budgets),
            claims=ClaimsRecord.of(run, budgets),
            trials=sum(budget.trials for budget in budgets),
            profile=profile,
            cost=cost + (profile or Cost()) + run.own_cost,
            denoiser_rows_of=RowsRecord.of(budgets, cost, profile, run.own_cost),
            files=SearchFiles(schedule=str(folder.schedule), run=str(folder.path)),
            programs=ProgramsRecord(**run.programs) if run.programs else None,
            reported=tuple(reported),
            seconds_late=seconds_late,
            warnings=tuple(warnings),
            policy_frontier=None if frontier is None else frontier[0],
        )

    @property
    def exact(self) -> bool:
        """Whether values are computed exactly, and so have no intervals."""
        return self.budgets[0].quality.estimate.exact

    @property
    def saving(self) -> Saving:
        """Whether the search shows that some tuned policy is as good as linear at a larger budget."""
        if self.claims.frontier.headline is not None:
            return Saving.SHOWN
        untested = all(budget.quality.outcome is Outcome.UNTESTED for budget in self.budgets)
        return Saving.UNTESTED if self.claims.frontier.pairs and untested else Saving.NOT_SHOWN

    def saving_of(self, budget: BudgetRecord) -> Saving | None:
        """Whether a budget's policy is shown to be as good as linear at a larger budget; None if there is none."""
        pairs = [pair for pair in self.claims.frontier.pairs if pair.steps == budget.steps]
        if not pairs:
            return None
        if any(pair.no_worse for pair in pairs):
            return Saving.SHOWN
        return Saving.UNTESTED if budget.quality.outcome is Outcome.UNTESTED else Saving.NOT_SHOWN
