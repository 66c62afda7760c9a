"""What a profile says of a budget: hand-made schedules, the best of the family and the best of all, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mdm_tune.blocks import Share, equal_shares
from mdm_tune.evaluation import Cost
from mdm_tune.profile.curve import finite_lists
from mdm_tune.profile.pricing import nelbo
from mdm_tune.profile.profiles import Profiles
from mdm_tune.records import Record, cost_record, plan_record, schedule_file_record
from mdm_tune.results import RunFolder
from mdm_tune.schedules import Beta, Linear, Schedule, SquaredSine, parse_schedule
from mdm_tune.settings import Setting
from mdm_tune.statistics import Estimate, estimate

__all__ = ["Priced", "PricedBudget", "price_budget", "write_profile"]

TRIED = 1024  # steps at most at which linear is tried
ROUND_OFF = 1e-7  # relative: differences below it are rounding, of the polished ancestral grids most of all


@dataclass(frozen=True)
class Priced:
    """One schedule's NELBO, nats per sequence, and what it costs more than linear, paired over the examples.

    between: how far interpolation between the measured points can have moved the price, for a curve that never rises.
    """

    schedule: Schedule
    setting: Setting
    nelbo: Estimate
    minus_linear: Estimate
    between: float


@dataclass(frozen=True)
class PricedBudget:
    """Schedules at one budget: linear, squared-sine, other hand-made ones, then ``beta`` and ``optimum``.

    With blocks also ``linear`` and ``beta`` with the steps shared out the other way: ``beta_tuned`` where blocks share
    them equally, and ``beta_equal`` where they are tuned and can be shared equally.
    gap: the best Beta less the optimum on the curve that both were chosen on, never negative: what the family leaves
    behind. excess_ratio: what the best Beta loses there above one token per step, over what the optimum loses; None
    where that is nothing. measured_gap: the same difference on the losses, paired. linear_steps: the fewest steps at
    which linear is no dearer than the best Beta is here; None where that is more than were tried.
    """

    steps: int
    schedules: dict[str, Priced]
    gap: float
    excess_ratio: float | None
    measured_gap: Estimate
    linear_steps: int | None


def price_budget(profiles: Profiles, steps: int, names: Sequence[str]) -> PricedBudget:
    """Price one budget; names: hand-made schedules besides linear and squared-sine.

    The best Beta and the optimum are chosen on the curve that never rises (unless ``profile.monotone`` is off), and
    priced on the measured one. Raises InputError where blocks cannot share the steps.
    """
    profile = profiles.profile
    schedules: dict[str, Schedule] = {"linear": Linear(), "squared-sine": SquaredSine()}
    schedules |= {name: parse_schedule(name) for name in names}
    schedules |= {"beta": profiles.best_beta(steps), "optimum": profiles.optimum(steps)}
    settings = {
        name: profiles.run.evaluator.setting(schedule, steps, "optimum" if name == "optimum" else None)
        for name, schedule in schedules.items()
    }
    for name, (schedule, setting) in _shared_otherwise(profiles, steps).items():
        schedules[name], settings[name] = schedule, setting
    prices = {name: profile.prices(profiles.weights(setting)) for name, setting in settings.items()}

    def over_examples(values: NDArray[np.float64]) -> Estimate:
        return Estimate(float(values[0]), None) if profile.exact else estimate(values)

    priced = {}
    for name, schedule in schedules.items():
        more = over_examples(prices[name] - prices["linear"])
        between = float(profiles.weights(settings[name]) @ profile.bracket)
        priced[name] = Priced(schedule, settings[name], over_examples(prices[name]), more, between)
    curve, floor = profiles.pricer.curve, profiles.pricer.floor
    lost, least = (float(profiles.weights(settings[name]) @ curve) - floor for name in ("beta", "optimum"))
    return PricedBudget(
        steps,
        priced,
        0.0 if abs(lost - least) < ROUND_OFF * floor else lost - least,
        max(lost / least, 1.0) if least > ROUND_OFF * max(1.0, floor) else None,
        over_examples(prices["beta"] - prices["optimum"]),
        _linear_steps(profiles, priced["beta"].nelbo.value),
    )


def _shared_otherwise(profiles: Profiles, steps: int) -> dict[str, tuple[Schedule, Setting]]:
    """Linear and the best Beta with the steps of blocks tuned where they are equal, and equal where they are tuned."""
    evaluator = profiles.run.evaluator
    size, tuned = evaluator.sampler.block_length, profiles.shares_steps
    if size is None or (tuned and steps % profiles.pricer.blocks):
        return {}
    share: Share = equal_shares if tuned else profiles.steps_of_blocks
    best = profiles.best_beta(steps, share)
    kind = "equal" if tuned else "tuned"
    return {
        f"{name}_{kind}": (schedule, Setting.of(schedule, steps, evaluator.length, evaluator.sampler, share=share))
        for name, schedule in (("linear", Linear()), ("beta", best))
    }


def _linear_steps(profiles: Profiles, price: float) -> int | None:
    """The fewest steps at which linear costs at most ``price``."""
    evaluator, curve, blocks = profiles.run.evaluator, profiles.profile.curve, profiles.pricer.blocks
    for steps in range(blocks, min(profiles.limit, TRIED) + 1, 1 if profiles.shares_steps else blocks):
        if profiles.weights(evaluator.setting(Linear(), steps)) @ curve <= price + 1e-9 * max(1.0, abs(price)):
            return steps
    return None


def write_profile(
    priced: Sequence[tuple[Profiles, Sequence[PricedBudget]]],
    notes: Sequence[str],
    warnings: Sequence[Record],
    folder: RunFolder,
) -> Record:
    """Write profile.json and two schedule files, the best Beta and the optimum of every budget; returns the JSON.

    priced: the same budgets in each kind of blocks. The files have each budget in the blocks where it costs least.
    """
    names = {kind: f"profile-{kind}.yaml" for kind in ("beta", "optimum")}
    files = {"profile": "profile.json", **names}
    paths = {"run": str(folder.path), **{kind: str(folder.path / name) for kind, name in files.items()}}
    first, *others = (_profile_record(profiles, budgets) for profiles, budgets in priced)
    spent = cost_record(sum((profiles.spent for profiles, _ in priced), Cost()))
    record = {
        **first,
        "other_block_lengths": others,
        **spent,
        "notes": list(notes),
        "warnings": list(warnings),
        "files": paths,
    }
    folder.open()
    folder.write_json(files["profile"], record)
    for kind, name in names.items():
        entries = []
        for same in zip(*(budgets for _, budgets in priced), strict=True):
            best = min(same, key=lambda budget: budget.schedules[kind].nelbo.value)
            entries.append(_schedule_entry(best.steps, best.schedules[kind]))
        folder.write_schedule(schedule_file_record(priced[0][0].run, entries) | {"warnings": list(warnings)}, name)
    return record


def _profile_record(profiles: Profiles, budgets: Sequence[PricedBudget]) -> Record:
    """The curve, its warnings, every budget, and the least NELBO at every number of steps."""
    profile = profiles.profile
    worse = profile.worse_than_uniform()
    return {
        "length": profile.length,
        "block_length": profile.block_length,
        "exact": profile.exact,
        "examples": None if profile.exact else len(profile.values),
        "revealed": profile.revealed.tolist(),
        "cross_entropy": profile.mean.tolist(),
        "stderr": profile.stderr.tolist(),
        "content": None if profile.apart is None else [row[0] for row in finite_lists(profile.apart)],
        "end_of_text": None if profile.apart is None else [row[1] for row in finite_lists(profile.apart)],
        "one_token_per_step": _nelbo(profile.price(np.ones(profile.length))),
        "budgets": [_budget_record(budget) for budget in budgets],
        "optimum_nelbo": None if profiles.pricer.bernoulli else _frontier(profiles),
        "worse_than_uniform": None if worse is None else list(worse),
        "rises": [vars(rise) for rise in profile.rises()],
        "precision": profile.precision,
        "reused": profiles.reused,
        "measured": cost_record(profiles.cost),
        **cost_record(profiles.spent),
    }


def _frontier(profiles: Profiles) -> list[float | None]:
    """NELBO of the optimum at 1, 2, .. steps, on the measured curve; None where blocks need more steps."""
    curve, blocks, most = profiles.profile.curve, profiles.pricer.blocks, len(profiles.sweep.nelbo)
    counts = [profiles.sweep.counts(steps) if steps >= blocks else None for steps in range(1, most + 1)]
    return [None if found is None else nelbo(curve, found) for found in counts]


def _budget_record(budget: PricedBudget) -> Record:
    records = {}
    for name, priced in budget.schedules.items():
        record = {**_nelbo(priced.nelbo), "minus_linear": _nelbo(priced.minus_linear), "interpolation": priced.between}
        shape = {"a": priced.schedule.a, "b": priced.schedule.b} if isinstance(priced.schedule, Beta) else {}
        records[name] = {**shape, **plan_record(priced.setting), **record}
    gap = {"nelbo": budget.gap, "excess_ratio": budget.excess_ratio, "measured": _nelbo(budget.measured_gap)}
    return {"steps": budget.steps, **records, "gap": gap, "linear_steps_for_same_nelbo": budget.linear_steps}


def _schedule_entry(steps: int, priced: Priced) -> Record:
    return {
        "steps": steps,
        "schedule": priced.schedule.name,
        **plan_record(priced.setting),
        "revealed_share_after_step": [round(share, 4) for share in priced.setting.revealed],
        "nfe": priced.setting.nfe,
        "metric": "nelbo",
        "direction": "minimize",
        "value": priced.nelbo.value,
        "ci": None if priced.nelbo.ci is None else list(priced.nelbo.ci),
        "split": "tune",
    }


def _nelbo(price: Estimate) -> Record:
    return {"nelbo": price.value, "ci": None if price.ci is None else list(price.ci)}
