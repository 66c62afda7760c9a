"""The schedule file as it is written: what to paste into a sampler, what it is worth, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mdm_tune.core.json_record import Beside, JsonRecord
from mdm_tune.run.build import Run
from mdm_tune.run.folder import versions
from mdm_tune.run.record_parts import PlanRecord, WarningRecord
from mdm_tune.run.search_records import ClaimsRecord, ProgramsRecord, QualityRecord
from mdm_tune.search.confirmation import Budget

__all__ = ["LengthsRecord", "OriginRecord", "ScheduleFileRecord", "TunedBudget"]


@dataclass(frozen=True, kw_only=True)
class LengthsRecord(JsonRecord):
    """Tokens of the sequences of all splits. fixed: all have the same; else the length is their mean, rounded."""

    fixed: bool
    least: int
    most: int
    mean: float

    @classmethod
    def of(cls, run: Run) -> LengthsRecord:
        """The lengths of a run's data, or of its model where it has none."""
        sizes = [run.evaluator.length] if run.dataset is None else run.dataset.sizes.tolist()
        least, most = min(sizes), max(sizes)
        return cls(fixed=least == most, least=least, most=most, mean=round(sum(sizes) / len(sizes), 4))


@dataclass(frozen=True, kw_only=True)
class OriginRecord(JsonRecord):
    """What numbers were made with. fingerprints: of model, data, code, metric and task, see ``Run.fingerprints``."""

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


@dataclass(frozen=True, kw_only=True)
class TunedBudget(JsonRecord):
    """One budget in the schedule file of a search."""

    steps: int
    schedule: str
    plan: Beside[PlanRecord]
    revealed_share_after_step: tuple[float, ...]
    quality: Beside[QualityRecord]

    @classmethod
    def of(cls, run: Run, budget: Budget) -> TunedBudget:
        """The entry of a budget's winner."""
        setting = budget.winner.setting
        return cls(
            steps=budget.steps,
            schedule=budget.schedule.name,
            plan=PlanRecord.of(setting),
            revealed_share_after_step=tuple(round(share, 4) for share in setting.revealed),
            quality=QualityRecord.of(run, budget),
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleFileRecord(JsonRecord):
    """A schedule file but for its format, which ``RunFolder.write_schedule`` puts before it.

    budgets: records, or objects of JSON. sampler: the settings that the schedules are tuned for. claims: None where no
    search was made. programs: None where no generated code was run.
    """

    length: int
    lengths: LengthsRecord
    sampler: dict[str, Any]
    budgets: tuple[Any, ...]
    origin: Beside[OriginRecord]
    claims: Beside[ClaimsRecord | None]
    warnings: tuple[WarningRecord, ...]
    programs: Beside[ProgramsRecord | None]

    @classmethod
    def of(cls, run: Run, budgets: Sequence[Any], warnings: Sequence[WarningRecord]) -> ScheduleFileRecord:
        """A schedule file of these entries."""
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
    def of_search(cls, run: Run, budgets: Sequence[Budget], warnings: Sequence[WarningRecord]) -> ScheduleFileRecord:
        """The schedule file of a search: its winners, with what is claimed of them."""
        return replace(
            cls.of(run, [TunedBudget.of(run, budget) for budget in budgets], warnings),
            claims=ClaimsRecord.of(run, budgets),
            programs=ProgramsRecord(**run.programs) if run.programs else None,
        )
