"""The record of one schedule for all budgets, and the names of policies in results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.core.messages import listed
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.settings import Policy
from mdm_tune.run.build import Run
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.curves import Beta, parse_schedule
from mdm_tune.search.gains import Gain
from mdm_tune.search.stand_ins import StandIns

if TYPE_CHECKING:  # it loads optuna
    from mdm_tune.search.shared import SharedBudget, SharedSearch

__all__ = ["SharedBudgetRecord", "SharedRecord", "TunedPolicy"]


@dataclass(frozen=True, kw_only=True)
class TunedPolicy(JsonRecord):
    """The policy that a search returns.

    Attributes:
        type: The name of the schedule, ``beta`` for the Beta family, or the kind of an adaptive policy.
        a, b: The parameters of a Beta schedule, whose counts a quota or a cap has; None for others.
        policy: The adaptive policy with its value, as on the command line; None for a schedule.
    """

    type: str
    a: float | None
    b: float | None
    policy: str | None = None

    @classmethod
    def of(cls, policy: Policy) -> TunedPolicy:
        """The record of a policy."""
        if isinstance(policy, AdaptiveName):
            base = None if policy.schedule is None else parse_schedule(policy.schedule)
            a, b = (base.a, base.b) if isinstance(base, Beta) else (None, None)
            return cls(type=policy.kind, a=a, b=b, policy=policy.name)
        if isinstance(policy, Beta):
            return cls(type="beta", a=policy.a, b=policy.b)
        return cls(type=policy.name, a=None, b=None)

    @property
    def text(self) -> str:
        """``beta(a, b)`` in four digits, or the policy's name."""
        if self.policy is not None:
            return self.policy
        return self.type if self.a is None else f"beta({self.a:.4g}, {self.b:.4g})"


@dataclass(frozen=True, kw_only=True)
class SharedBudgetRecord(JsonRecord):
    """The shared schedule at one budget, on the report split.

    Attributes:
        steps: The budget.
        estimate: Its value.
        gain_over_linear: Its gain over linear.
        own: The budget's own best schedule.
        loss: What it loses against that one; positive is a loss.
        plan: What the sampler receives with the shared schedule; None in older records.
        stand_ins: What may stand in for the shared schedule; None in older records.
    """

    steps: int
    estimate: Beside[Estimate]
    gain_over_linear: Gain
    own: TunedPolicy
    loss: Gain
    plan: PlanRecord | None = None
    stand_ins: StandIns | None = None

    @classmethod
    def of(cls, budget: SharedBudget) -> SharedBudgetRecord:
        """The record of a budget."""
        return cls(
            steps=budget.own.steps,
            estimate=budget.shared.winner.estimate,
            gain_over_linear=budget.shared.gain,
            own=TunedPolicy.of(budget.own.policy),
            loss=budget.loss,
            plan=PlanRecord.of(budget.shared.winner.setting),
            stand_ins=budget.shared.stand_ins,
        )


@dataclass(frozen=True, kw_only=True)
class SharedRecord(JsonRecord):
    """One schedule for all budgets. Intervals of budgets are corrected for the number of budgets.

    Attributes:
        schedule: The schedule.
        mean: The mean of its values over the budgets, on the report split.
        gain_over_linear: The gain over linear of this mean.
        trials: Finished trials, each at all budgets.
        dropped: Those that were dropped early, which have no value at a single budget.
        budgets: The schedule at each budget.
        text: The same in words.
    """

    schedule: TunedPolicy
    mean: Estimate
    gain_over_linear: Gain
    trials: int
    dropped: int
    budgets: tuple[SharedBudgetRecord, ...]
    text: str

    @classmethod
    def of(cls, run: Run, shared: SharedSearch) -> SharedRecord:
        """The record of a search for one schedule."""
        return cls(
            schedule=TunedPolicy.of(shared.mean.policy),
            mean=shared.mean.winner.estimate,
            gain_over_linear=shared.mean.gain,
            trials=len(shared.trials),
            dropped=sum(trial.dropped for trial in shared.trials),
            budgets=tuple(map(SharedBudgetRecord.of, shared.budgets)),
            text=_text(run.evaluator.metric.name, shared),
        )


def _text(metric: str, shared: SharedSearch) -> str:
    """A sentence with the schedule, and one with what it loses."""
    name = TunedPolicy.of(shared.mean.policy).text
    losing = [budget for budget in shared.budgets if budget.loss.shown]
    text = f"{name} is the one schedule for all {len(shared.budgets)} budgets, by the mean {metric} over them."
    if losing:
        worst = max(losing, key=lambda budget: budget.loss.value)
        places = listed([budget.own.steps for budget in losing])
        most = f", most at {worst.own.steps}" if len(losing) > 1 else ""
        return (
            f"{text} It is worse than the budget's own best schedule at {places} steps{most}: by "
            f"{worst.loss.corrected_text}."
        )
    return f"{text} At no budget is it shown to be worse than the budget's own best schedule."
