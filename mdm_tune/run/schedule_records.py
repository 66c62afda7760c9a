"""The schedule file as it is written: what a sampler needs, its quality, and its origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.run.build import Run
from mdm_tune.run.claim_records import ClaimsRecord
from mdm_tune.run.folder import versions
from mdm_tune.run.record_parts import PlanRecord, WarningRecord
from mdm_tune.run.search_records import ProgramsRecord, QualityRecord
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.stand_ins import StandIns

if TYPE_CHECKING:  # it loads optuna
    from mdm_tune.search.shared import SharedSearch

__all__ = ["LengthsRecord", "OriginRecord", "ScheduleFileRecord", "TunedBudget"]


@dataclass(frozen=True, kw_only=True)
class LengthsRecord(JsonRecord):
    """Lengths of the sequences of all splits, in tokens to fill.

    Attributes:
        fixed: Whether all are equal. If not, ``length`` of the file is their mean, rounded.
        least: The smallest length.
        most: The largest length.
        mean: The mean length.
    """

    fixed: bool
    least: int
    most: int
    mean: float

    @classmethod
    def of(cls, run: Run) -> LengthsRecord:
        """The lengths of a run's data, or of its model if it has no data."""
        sizes = [run.evaluator.length] if run.dataset is None else run.dataset.sizes.tolist()
        least, most = min(sizes), max(sizes)
        return cls(fixed=least == most, least=least, most=most, mean=round(sum(sizes) / len(sizes), 4))


@dataclass(frozen=True, kw_only=True)
class OriginRecord(JsonRecord):
    """What numbers were computed with.

    Attributes:
        seed: The seed of the config.
        fingerprints: Fingerprints of model, data, code, metric and task, see ``Run.fingerprints``.
        versions: Versions of packages, by name.
    """

    seed: int
    fingerprints: dict[str, str]
    versions: dict[str, str]

    @classmethod
    def of(cls, run: Run) -> OriginRecord:
        """The origin of a run's numbers."""
        searched = {} if run.dataset is None else {"searched": run.dataset.searched}
        return cls(
            seed=run.config.seed, fingerprints=run.fingerprints | searched, versions=versions(run.config.model.type)
        )


@dataclass(frozen=True)
class KeptRecord(JsonRecord):
    """The counts that a quota keeps or a cap does not exceed.

    Attributes:
        kept_counts: Tokens per step, at the steps of the policy's counts.
    """

    kept_counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TunedBudget(JsonRecord):
    """One budget in the schedule file of a search.

    Attributes:
        steps: The budget.
        schedule: Name of the schedule; of an adaptive policy the one whose counts it keeps, None if it keeps none.
        plan: What the sampler receives.
        revealed_share_after_step: (steps,) revealed share, in [0, 1], rounded to four digits; () for an adaptive
            policy.
        quality: The quality on the report split.
        kept: The counts that an adaptive policy follows; None if it follows none.
        stand_ins: What may stand in for the winner; None in older records.
    """

    steps: int
    schedule: str | None
    plan: Beside[PlanRecord]
    revealed_share_after_step: tuple[float, ...]
    quality: Beside[QualityRecord]
    kept: Beside[KeptRecord | None] = None
    stand_ins: StandIns | None = None

    @classmethod
    def of(cls, run: Run, budget: Budget) -> TunedBudget:
        """The entry of a budget's winner."""
        setting = budget.winner.setting
        plan = setting.adaptive
        return cls(
            steps=budget.steps,
            schedule=budget.policy.name if plan is None else plan.schedule,
            plan=PlanRecord.of(setting),
            revealed_share_after_step=tuple(round(share, 4) for share in setting.revealed),
            quality=QualityRecord.of(run, budget),
            kept=None if setting.base is None else KeptRecord(setting.base.counts or ()),
            stand_ins=budget.stand_ins,
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleFileRecord(JsonRecord):
    """A schedule file without its format, which ``RunFolder.write_schedule`` adds.

    Attributes:
        length: Tokens to fill.
        lengths: Lengths of the data.
        sampler: The sampler settings that the schedules are tuned for.
        budgets: One entry per budget: records, or dictionaries as in JSON.
        origin: What the numbers were computed with.
        claims: The claims of a search; None if there was none.
        warnings: Warnings about the schedules.
        programs: The protections around generated programs; None if no programs were run.
        shared: Name of the schedule of all budgets, which may be used at any number of steps; None if each budget has
            its own.
    """

    length: int
    lengths: LengthsRecord
    sampler: dict[str, Any]
    budgets: tuple[Any, ...]
    origin: Beside[OriginRecord]
    claims: Beside[ClaimsRecord | None]
    warnings: tuple[WarningRecord, ...]
    programs: Beside[ProgramsRecord | None]
    shared: str | None = None

    @classmethod
    def of(cls, run: Run, budgets: Sequence[Any], warnings: Sequence[WarningRecord]) -> ScheduleFileRecord:
        """The record of a schedule file with these entries in ``budgets``."""
        return cls(
            length=run.evaluator.length,
            lengths=LengthsRecord.of(run),
            sampler=run.config.sampler.record,
            budgets=tuple(budgets),
            origin=OriginRecord.of(run),
            claims=None,
            warnings=tuple(warnings),
            programs=None,
        )

    @classmethod
    def of_search(
        cls,
        run: Run,
        budgets: Sequence[Budget],
        warnings: Sequence[WarningRecord],
        shared: SharedSearch | None = None,
    ) -> ScheduleFileRecord:
        """The schedule file of a search: its winners, or the shared schedule, and the claims about them."""
        if shared is not None:
            budgets = [budget.shared for budget in shared.budgets]
        return replace(
            cls.of(run, [TunedBudget.of(run, budget) for budget in budgets], warnings),
            claims=ClaimsRecord.of(run, budgets),
            programs=ProgramsRecord(**run.programs) if run.programs else None,
            shared=None if shared is None else shared.mean.policy.name,
        )
