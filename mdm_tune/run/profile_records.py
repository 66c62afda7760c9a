"""The records of ``profile``: the curve, its prices at every budget, and the files of the best schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdm_tune.core.json_record import Beside, JsonRecord, as_json
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.scores import Cost
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
    """The smallest values of the three energies of a sequence. They do not depend on the weight.

    Attributes:
        least_geodesic: The least geodesic energy.
        log2_conditional_over_geodesic: log2 of the ratio of the conditional to the geodesic energy.
        log2_kinetic_over_conditional: log2 of the ratio of the kinetic to the conditional energy.
    """

    least_geodesic: float
    log2_conditional_over_geodesic: float
    log2_kinetic_over_conditional: float

    @classmethod
    def of(cls, vocab: int, length: int) -> LeastEnergies:
        """The energies of a sequence of ``length`` tokens from a vocabulary of ``vocab`` symbols."""
        conditional, kinetic = log2_ratios(vocab, length)
        return cls(
            least_geodesic=length * LEAST_ENERGY,
            log2_conditional_over_geodesic=conditional,
            log2_kinetic_over_conditional=kinetic,
        )


@dataclass(frozen=True, kw_only=True)
class ProfileRecord(JsonRecord):
    """The profile at one block length, and the prices of schedules on it.

    Attributes:
        length: Tokens of the curve.
        block_length: Tokens of a block.
        exact: Whether the profile is computed from a law, without examples.
        examples: Examples that were measured; None if exact.
        revealed: (nodes,) numbers of visible tokens.
        cross_entropy: (nodes,) nats per token.
        stderr: (nodes,) standard error of ``cross_entropy``.
        cross_entropy_ci: (nodes,) confidence intervals of ``cross_entropy``; None if there are none.
        cross_entropy_no_interval: Why there are no intervals; None if there are.
        content: (nodes,) cross-entropy of the text before its end; None if no text ends.
        end_of_text: (nodes,) cross-entropy from the first end token on; None if no text ends.
        one_token_per_step: NELBO of one token per step, nats per sequence.
        held_out: Whether an example's price is that of a schedule that other examples chose; None if exact.
        budgets: The prices at each budget.
        optimum_nelbo: NELBO of the optimum at 1, 2, ... steps, nats per sequence; None for ancestral reveal.
        worse_than_uniform: First and last number of visible tokens at which the model predicts worse than a uniform
            guess; None if there is none.
        rises: Places where the model predicts worse although it sees more tokens.
        precision: Relative error that the adaptive mode reached; None without it.
        energies: The least energies.
        reused: Whether the profile was stored in the run folder.
        measured: Cost of measuring, now or in the command that stored the profile.
        cost: Cost of measuring in this command.
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
        parts = None if profile.content_and_ends is None else lists_without_nan(profile.content_and_ends)
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
            content=None if parts is None else tuple(row[0] for row in parts),
            end_of_text=None if parts is None else tuple(row[1] for row in parts),
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
    """NELBO of the optimum at 1, 2, ... steps, on examples that did not choose it; None for fewer steps than blocks."""
    blocks, most = profiles.pricer.blocks, len(profiles.chooser.sweep.nelbo)

    def price(steps: int) -> float:
        choose = lambda chooser: chooser.setting(Counts(chooser.sweep.counts(steps)), steps)  # noqa: E731
        return float(profiles.held_out(choose).mean())

    return tuple(price(steps) if steps >= blocks else None for steps in range(1, most + 1))


@dataclass(frozen=True, kw_only=True)
class ProfileResult(JsonRecord):
    """The result of ``profile``.

    Attributes:
        profiles: One record per block length, with the same budgets.
        cost: Cost of all profiles in this command.
        notes: Reasons to doubt a profile.
        prices_the_sampler: Whether the prices hold for the sampler of the run.
        files: Paths of the files, by what they hold.
        warnings: Warnings about the result.
    """

    profiles: tuple[ProfileRecord, ...]
    cost: Cost
    notes: tuple[str, ...]
    warnings: tuple[WarningRecord, ...]
    prices_the_sampler: bool
    files: Mapping[str, str]

    @property
    def cheapest_betas(self) -> tuple[Priced, ...]:
        """The best Beta of each budget, at the block length where it costs least."""
        by_steps = zip(*(profile.budgets for profile in self.profiles), strict=True)
        return tuple(cheapest([budget.beta for budget in budgets]) for budgets in by_steps)

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


def cheapest(by_block_length: Sequence[Priced]) -> Priced:
    """One schedule at the block length where it costs least."""
    return min(by_block_length, key=lambda priced: priced.nelbo.value)


def profile_files(folder: RunFolder) -> dict[str, str]:
    """The paths of the files of the command, by what they hold."""
    return {
        "run": str(folder.path),
        **{kind: str(folder.path / name) for kind, name in ({"profile": NAME} | FILES).items()},
    }


def write_profile(result: ProfileResult, profiles: Sequence[Profiles], folder: RunFolder) -> None:
    """Write profile.json and two schedule files: the best Beta and the optimum of every budget.

    Each budget of a schedule file has the block length at which the schedule costs least.

    Args:
        result: The result of the command.
        profiles: The profiles of the result, in the same order.
        folder: The run folder.

    Raises:
        InputError: If the folder cannot be written.
    """
    record = result.to_json()
    folder.open()
    folder.write_json(NAME, record)
    for kind, name in FILES.items():
        budgets = zip(*(profile.budgets for profile in result.profiles), strict=True)
        entries = [_cheapest_entry(profiles[0], [budget.schedules[kind] for budget in same]) for same in budgets]
        folder.write_schedule(ScheduleFileRecord.of(profiles[0].run, entries, result.warnings).to_json(), name)


def _cheapest_entry(profiles: Profiles, by_block_length: Sequence[Priced]) -> dict[str, Any]:
    """The entry of a schedule at the block length where it costs least.

    An example's price is that of the block length that the other examples choose.
    """
    best = cheapest(by_block_length)
    prices, number = best.prices.copy(), len(best.prices)
    for fold in profiles.folds:  # the folds are the same at all block lengths
        others = np.setdiff1d(np.arange(number), fold.rows)
        chosen = min(by_block_length, key=lambda priced: float(priced.prices[others].mean()))
        prices[fold.rows] = chosen.prices[fold.rows]
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
