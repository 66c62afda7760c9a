"""The records of ``profile``: the curve, its prices at every budget, and the schedule files of the best ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdm_tune.core.json_record import Beside, JsonRecord, as_json
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.prices import Priced, PricedBudget, nelbo_json, one_by_one
from mdm_tune.run.profiles import Profiles
from mdm_tune.run.record_parts import WarningRecord
from mdm_tune.run.schedule_records import ScheduleFileRecord
from mdm_tune.schedules.curves import Counts
from mdm_tune.schedules.energy import LEAST_ENERGY, log2_ratios
from mdm_tune.schedules.profile import Rise, lists_without_nan

__all__ = ["LeastEnergies", "ProfileRecord", "ProfileResult", "profile_files", "write_profile"]

FILES = {kind: f"profile-{kind}.yaml" for kind in ("beta", "optimum")}
NAME = "profile.json"


@dataclass(frozen=True, kw_only=True)
class LeastEnergies(JsonRecord):
    """The least of the three energies of a sequence, whatever the weight: the others by their ratios, as log2."""

    least_geodesic: float
    log2_conditional_over_geodesic: float
    log2_kinetic_over_conditional: float

    @classmethod
    def of(cls, vocab: int, length: int) -> LeastEnergies:
        """Of a sequence of so many tokens of a vocabulary."""
        conditional, kinetic = log2_ratios(vocab, length)
        return cls(
            least_geodesic=length * LEAST_ENERGY,
            log2_conditional_over_geodesic=conditional,
            log2_kinetic_over_conditional=kinetic,
        )


@dataclass(frozen=True, kw_only=True)
class ProfileRecord(JsonRecord):
    """The profile in one kind of blocks, with its warnings, and what schedules cost on it.

    examples: None where it is computed exactly. revealed (nodes,): numbers of visible tokens. cross_entropy, stderr,
    cross_entropy_ci, content, end_of_text (nodes,): nats per token there, see ``Profile``. one_token_per_step: NELBO,
    nats per sequence. held_out: whether prices are those of examples that did not choose. optimum_nelbo: the least
    NELBO at 1, 2, .. steps, None for ancestral reveal. measured: what measuring took, now or when a kept profile was
    made. cost: what it took in this command.
    """

    length: int
    block_length: int
    exact: bool
    examples: int | None
    revealed: tuple[int, ...]
    cross_entropy: tuple[float, ...]
    stderr: tuple[float, ...]
    cross_entropy_ci: tuple[tuple[float, float], ...] | None
    cross_entropy_no_interval: str | None
    content: tuple[float | None, ...] | None
    end_of_text: tuple[float | None, ...] | None
    one_token_per_step: Estimate
    held_out: bool | None
    budgets: tuple[PricedBudget, ...]
    optimum_nelbo: tuple[float | None, ...] | None
    worse_than_uniform: tuple[int, int] | None
    rises: tuple[Rise, ...]
    precision: float | None
    energies: LeastEnergies
    reused: bool
    measured: Cost
    cost: Beside[Cost]

    @classmethod
    def of(cls, profiles: Profiles, budgets: Sequence[PricedBudget]) -> ProfileRecord:
        """The record of a profile and of the budgets that were priced on it."""
        profile, intervals = profiles.profile, profiles.profile.intervals
        apart = None if profile.content_and_ends is None else lists_without_nan(profile.content_and_ends)
        return cls(
            length=profile.length,
            block_length=profile.block_length,
            exact=profile.exact,
            examples=None if profile.exact else len(profile.values),
            revealed=tuple(profile.revealed.tolist()),
            cross_entropy=tuple(profile.mean.tolist()),
            stderr=tuple(profile.stderr.tolist()),
            cross_entropy_ci=None if intervals is None else tuple((low, high) for low, high in intervals.tolist()),
            cross_entropy_no_interval=profile.no_interval,
            content=None if apart is None else tuple(row[0] for row in apart),
            end_of_text=None if apart is None else tuple(row[1] for row in apart),
            one_token_per_step=profile.mean_nelbo(one_by_one(profiles)),
            held_out=None if profile.exact else bool(profiles.folds),
            budgets=tuple(budgets),
            optimum_nelbo=None if profiles.pricer.bernoulli else _optimum_nelbo(profiles),
            worse_than_uniform=profile.worse_than_uniform(),
            rises=tuple(profile.rises()),
            precision=profile.precision,
            energies=LeastEnergies.of(profile.vocab_size, profile.length),
            reused=profiles.reused,
            measured=profiles.cost,
            cost=profiles.spent,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return super().to_json() | {"one_token_per_step": nelbo_json(self.one_token_per_step)}


def _optimum_nelbo(profiles: Profiles) -> tuple[float | None, ...]:
    """NELBO of the optimum at 1, 2, .. steps, on examples that did not choose; None where blocks need more steps."""
    blocks, most = profiles.pricer.blocks, len(profiles.chooser.sweep.nelbo)

    def price(steps: int) -> float:
        choose = lambda chooser: chooser.setting(Counts(chooser.sweep.counts(steps)), steps)  # noqa: E731
        return float(profiles.held_out(choose).mean())

    return tuple(price(steps) if steps >= blocks else None for steps in range(1, most + 1))


@dataclass(frozen=True, kw_only=True)
class ProfileResult(JsonRecord):
    """What ``profile`` returns.

    profiles: one for each kind of blocks, with the same budgets. cost: of all of them, in this command. notes: what to
    know before a profile is believed. prices_the_sampler: whether it prices what the sampler does. files: paths by what
    they hold.
    """

    profiles: tuple[ProfileRecord, ...]
    cost: Cost
    notes: tuple[str, ...]
    warnings: tuple[WarningRecord, ...]
    prices_the_sampler: bool
    files: Mapping[str, str]

    @property
    def cheapest_betas(self) -> tuple[Priced, ...]:
        """The best Beta of each budget, in the blocks where it costs least."""
        same = zip(*(profile.budgets for profile in self.profiles), strict=True)
        return tuple(cheapest([budget.beta for budget in budgets]) for budgets in same)

    def to_json(self) -> dict[str, Any]:
        """The fields of the first profile, the other profiles below ``other_block_lengths``, and the other fields."""
        first, *others = (profile.to_json() for profile in self.profiles)
        return {
            **first,
            "other_block_lengths": others,
            **self.cost.to_json(),
            "notes": list(self.notes),
            "warnings": as_json(self.warnings),
            "prices_the_sampler": self.prices_the_sampler,
            "files": dict(self.files),
        }


def cheapest(kinds: Sequence[Priced]) -> Priced:
    """One schedule in the kind of blocks where it costs least."""
    return min(kinds, key=lambda priced: priced.nelbo.value)


def profile_files(folder: RunFolder) -> dict[str, str]:
    """Where the files of the command are, by what they hold."""
    return {
        "run": str(folder.path),
        **{kind: str(folder.path / name) for kind, name in ({"profile": NAME} | FILES).items()},
    }


def write_profile(result: ProfileResult, profiles: Sequence[Profiles], folder: RunFolder) -> None:
    """Write profile.json and two schedule files, the best Beta and the optimum of every budget.

    The schedule files have each budget in the blocks where it costs least.

    Args:
        result: what the command returns.
        profiles: those of the result, in the same order.
        folder: the run folder.

    Raises:
        InputError: the folder cannot be written.
    """
    record = result.to_json()
    folder.open()
    folder.write_json(NAME, record)
    for kind, name in FILES.items():
        budgets = zip(*(profile.budgets for profile in result.profiles), strict=True)
        entries = [_best_of(profiles[0], [budget.schedules[kind] for budget in same]) for same in budgets]
        folder.write_schedule(ScheduleFileRecord.of(profiles[0].run, entries, result.warnings).to_json(), name)


def _best_of(profiles: Profiles, kinds: Sequence[Priced]) -> dict[str, Any]:
    """The cheapest of one schedule in several kinds of blocks; its price is on examples that did not choose them."""
    best = cheapest(kinds)
    prices, number = best.prices.copy(), len(best.prices)
    for fold in profiles.folds:  # the same examples in all kinds of blocks
        others = np.setdiff1d(np.arange(number), fold.rows)
        prices[fold.rows] = min(kinds, key=lambda each: float(each.prices[others].mean())).prices[fold.rows]
    return _schedule_entry(best, profiles.profile.mean_nelbo(prices))


def _schedule_entry(priced: Priced, nelbo: Estimate) -> dict[str, Any]:
    setting, value = priced.setting, nelbo.to_json()
    return {
        "steps": setting.steps,
        "schedule": priced.schedule.name,
        **priced.plan.to_json(),
        "revealed_share_after_step": [round(share, 4) for share in setting.revealed],
        "nfe": setting.nfe,
        "metric": "nelbo",
        "direction": "minimize",
        **{name: value[name] for name in ("value", "ci", "no_interval")},
        "split": "tune",
    }
