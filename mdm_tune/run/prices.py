"""What a profile says of a budget: hand-made schedules, the best of the family and the best of all, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.intervals import finite_or_none
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.evaluator import Cost
from mdm_tune.evaluation.profile_choice import Chooser, clearly_above, explicit, weights_of
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.profiles import Profiles
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.run.records import Record, schedule_file_record
from mdm_tune.schedules.blocks import Share, equal_shares
from mdm_tune.schedules.curves import Beta, Counts, Linear, Schedule, SquaredSine, parse_schedule
from mdm_tune.schedules.energy import LEAST, log2_ratios, path_energy
from mdm_tune.schedules.profile import finite_lists

__all__ = ["Priced", "PricedBudget", "price_budget", "write_profile"]

TRIED = 1024  # steps at most at which linear is tried
ROUND_OFF = 1e-7  # relative: differences below it are rounding, of the polished ancestral grids most of all
WEIGHTS = (Linear(), SquaredSine())  # whose interpolation schedules are the weights of energies

Floats = NDArray[np.float64]
Choice = Callable[[Chooser], tuple[Schedule, Setting]]


@dataclass(frozen=True)
class Priced:
    """One schedule's NELBO, nats per sequence, and what it costs more than linear, paired over the examples.

    prices (examples,): of each example, by what was chosen without it; a single one if exact. between: how far
    interpolation between the measured points can have moved the price, for a curve that never rises.
    """

    schedule: Schedule
    setting: Setting
    nelbo: Estimate
    minus_linear: Estimate
    between: float
    prices: Floats


@dataclass(frozen=True)
class PricedBudget:
    """Schedules at one budget: linear, squared-sine, other hand-made ones, then ``beta`` and ``optimum``.

    With blocks also ``linear`` and ``beta`` with the steps shared out the other way: ``beta_tuned`` where blocks share
    them equally, and ``beta_equal`` where they are tuned and can be shared equally. shared: ``equal`` or ``tuned``, how
    blocks share the steps; None without blocks.
    free: the optimum over all; ``optimum`` is that where it is clearly better than the best Beta, and else the latter.
    gap: the best Beta less free, what the family leaves behind, on examples that chose neither. excess_ratio:
    what the best Beta loses there above one token per step, over what the optimum loses; None where that is nothing.
    gap_on_curve: the same difference on the curve that both were chosen on, never negative. linear_steps: the fewest
    steps at which linear is no dearer than the best Beta is here; None where that is more than were tried.
    linear_range: the fewest at which it is not clearly dearer, and at which it is clearly no dearer; None if exact.
    """

    steps: int
    schedules: dict[str, Priced]
    free: Setting
    gap: Estimate
    excess_ratio: float | None
    gap_on_curve: float
    linear_steps: int | None
    linear_range: tuple[int | None, int | None] | None
    shared: Literal["equal", "tuned"] | None


def price_budget(profiles: Profiles, steps: int, names: Sequence[str]) -> PricedBudget:
    """Price one budget; names: hand-made schedules besides linear and squared-sine.

    The best Beta and the optimum are chosen on the curve that never rises (unless ``profile.monotone`` is off). What is
    returned is chosen on all examples; its price is that of what the others choose, example by example, on the losses.
    Raises InputError where blocks are more than the steps.
    """
    profile, chooser, choices = profiles.profile, profiles.chooser, _choices(profiles, steps, names)
    found = {name: choose(chooser) for name, choose in choices.items()}
    prices = {name: _held_out(profiles, choose) for name, choose in choices.items()}
    free, gap = found["optimum"][1], _rounded(prices["beta"] - prices["optimum"], chooser.pricer.floor)
    lost, least = (float((prices[name] - _one_by_one(profiles)).mean()) for name in ("beta", "optimum"))
    if not profiles.keeps_optimum(steps):
        found["optimum"] = (explicit(found["beta"][1]), replace(found["beta"][1], name="optimum"))
    prices["optimum"] = _kept(profiles, prices["beta"], prices["optimum"])
    priced = {}
    for name, (schedule, setting) in found.items():
        more = profile.estimated(prices[name] - prices["linear"])
        between = float(weights_of(setting) @ profile.bracket * profile.scale)
        priced[name] = Priced(
            schedule=schedule,
            setting=setting,
            nelbo=profile.priced(prices[name]),
            minus_linear=more,
            between=between,
            prices=prices[name],
        )
    curve, lowest = chooser.pricer.curve, chooser.pricer.floor
    on_curve = float((weights_of(found["beta"][1]) - weights_of(free)) @ curve)
    linear_steps, linear_range = _linear_steps(profiles, prices["beta"])
    return PricedBudget(
        steps=steps,
        schedules=priced,
        free=free,
        gap=profile.estimated(gap),
        excess_ratio=lost / least if least > ROUND_OFF * max(1.0, lowest) else None,
        gap_on_curve=0.0 if abs(on_curve) < ROUND_OFF * lowest else on_curve,
        linear_steps=linear_steps,
        linear_range=linear_range,
        shared=chooser.sharing(steps),
    )


def _kept(profiles: Profiles, beta: Floats, best: Floats) -> Floats:
    """The prices of what ``optimum`` is: whether the best Beta takes its place is seen on the other folds' examples."""
    if profiles.profile.exact or not profiles.folds:
        return best if profiles.profile.exact else beta
    found = best.copy()
    for fold in profiles.folds:
        others = np.setdiff1d(np.arange(len(best)), fold.rows)
        if not clearly_above(profiles.profile.taking(others), (beta - best)[others]):
            found[fold.rows] = beta[fold.rows]
    return found


def _held_out(profiles: Profiles, choose: Choice) -> Floats:
    return profiles.held_out(lambda chooser: choose(chooser)[1])


def _choices(profiles: Profiles, steps: int, names: Sequence[str]) -> dict[str, Choice]:
    """By name what a chooser makes of the budget."""

    def fixed(schedule: Schedule, share: Share | None = None) -> Choice:
        return lambda chooser: (schedule, chooser.setting(schedule, steps, share=share))

    def beta(chooser: Chooser) -> tuple[Schedule, Setting]:
        return chooser.best_beta(steps), chooser.of_beta(steps)

    def optimum(chooser: Chooser) -> tuple[Schedule, Setting]:
        return chooser.optimum(steps), chooser.of_optimum(steps)

    found = {"linear": fixed(Linear()), "squared-sine": fixed(SquaredSine())}
    found |= {name: fixed(parse_schedule(name)) for name in names}
    found |= {"beta": beta, "optimum": optimum}
    blocks, tuned = profiles.pricer.blocks, profiles.shares_steps
    if blocks > 1 and steps % blocks == 0:  # else there is one way to share the steps out
        kind = "equal" if tuned else "tuned"

        def share(chooser: Chooser) -> Share:
            return equal_shares if tuned else chooser.steps_of_blocks

        def other_beta(chooser: Chooser) -> tuple[Schedule, Setting]:
            best = chooser.best_beta(steps, share(chooser))
            return best, chooser.setting(best, steps, share=share(chooser))

        def other_linear(chooser: Chooser) -> tuple[Schedule, Setting]:
            return Linear(), chooser.setting(Linear(), steps, share=share(chooser))

        found |= {f"linear_{kind}": other_linear, f"beta_{kind}": other_beta}
    return found


def _rounded(differences: Floats, lowest: float) -> Floats:
    """Without differences of rounding size, of the polished ancestral grids most of all."""
    return np.where(np.abs(differences) < ROUND_OFF * lowest, 0.0, differences)


def _one_by_one(profiles: Profiles) -> Floats:
    """NELBO by example of one token per step."""
    return profiles.profile.prices_of(np.ones)


def _linear(chooser: Chooser, steps: int) -> Setting:
    return chooser.setting(Linear(), steps)


def _linear_steps(profiles: Profiles, prices: Floats) -> tuple[int | None, tuple[int | None, int | None] | None]:
    """The fewest steps at which linear costs at most ``prices`` (examples,), and the range in which they may lie."""
    blocks, profile = profiles.pricer.blocks, profiles.profile
    every = 1 if profiles.shares_steps else blocks
    fewest: list[int | None] = [None, None, None]
    more = profile.estimated(0 * prices)
    for steps in range(blocks, min(profiles.limit, TRIED) + 1, every):
        linear = profiles.held_out(partial(_linear, steps=steps))
        more = profile.estimated(linear - prices)
        low, high = more.ci or (more.value, more.value)
        slack = 1e-9 * max(1.0, abs(float(prices.mean())))
        for place, value in enumerate((low, more.value, high)):
            if fewest[place] is None and value <= slack:
                fewest[place] = steps
        if fewest[2] is not None:
            break
    return fewest[1], None if more.ci is None else (fewest[0], fewest[2])


def write_profile(
    priced: Sequence[tuple[Profiles, Sequence[PricedBudget]]],
    told: Record,
    folder: RunFolder,
) -> Record:
    """Write profile.json and two schedule files, the best Beta and the optimum of every budget; returns the JSON.

    priced: the same budgets in each kind of blocks. told: what else the JSON has, ``warnings`` among it.
    The files have each budget in the blocks where it costs least.
    """
    names = {kind: f"profile-{kind}.yaml" for kind in ("beta", "optimum")}
    files = {"profile": "profile.json", **names}
    paths = {"run": str(folder.path), **{kind: str(folder.path / name) for kind, name in files.items()}}
    first, *others = (_profile_record(profiles, budgets) for profiles, budgets in priced)
    spent = sum((profiles.spent for profiles, _ in priced), Cost()).to_json()
    record = {**first, "other_block_lengths": others, **spent, **told, "files": paths}
    folder.open()
    folder.write_json(files["profile"], record)
    for kind, name in names.items():
        budgets = zip(*(budgets for _, budgets in priced), strict=True)
        entries = [_best_of(priced[0][0], [budget.schedules[kind] for budget in same]) for same in budgets]
        folder.write_schedule(schedule_file_record(priced[0][0].run, entries) | {"warnings": told["warnings"]}, name)
    return record


def _best_of(profiles: Profiles, kinds: Sequence[Priced]) -> Record:
    """The cheapest of one schedule in several kinds of blocks; its price is on examples that did not choose them."""
    best = min(kinds, key=lambda each: each.nelbo.value)
    prices, number = best.prices.copy(), len(best.prices)
    for fold in profiles.folds:  # the same examples in all kinds of blocks
        others = np.setdiff1d(np.arange(number), fold.rows)
        prices[fold.rows] = min(kinds, key=lambda each: float(each.prices[others].mean())).prices[fold.rows]
    return _schedule_entry(best, profiles.profile.priced(prices))


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
        "cross_entropy_ci": None if profile.intervals is None else profile.intervals.tolist(),
        "cross_entropy_no_interval": profile.no_interval,
        "content": None if profile.apart is None else [row[0] for row in finite_lists(profile.apart)],
        "end_of_text": None if profile.apart is None else [row[1] for row in finite_lists(profile.apart)],
        "one_token_per_step": _nelbo(profile.priced(_one_by_one(profiles))),
        "held_out": None if profile.exact else bool(profiles.folds),
        "budgets": [_budget_record(budget) for budget in budgets],
        "optimum_nelbo": None if profiles.pricer.bernoulli else _frontier(profiles),
        "worse_than_uniform": None if worse is None else list(worse),
        "rises": [vars(rise) for rise in profile.rises()],
        "precision": profile.precision,
        "energies": _least_energies(profile.vocab_size, profile.length),
        "reused": profiles.reused,
        "measured": profiles.cost.to_json(),
        **profiles.spent.to_json(),
    }


def _frontier(profiles: Profiles) -> list[float | None]:
    """NELBO of the optimum at 1, 2, .. steps, on examples that did not choose; None where blocks need more steps."""
    blocks, most = profiles.pricer.blocks, len(profiles.chooser.sweep.nelbo)

    def price(steps: int) -> float:
        choose = lambda chooser: chooser.setting(Counts(chooser.sweep.counts(steps)), steps)  # noqa: E731
        return float(profiles.held_out(choose).mean())

    return [price(steps) if steps >= blocks else None for steps in range(1, most + 1)]


def _budget_record(budget: PricedBudget) -> Record:
    records = {}
    for name, priced in budget.schedules.items():
        record = {**_nelbo(priced.nelbo), "minus_linear": _nelbo(priced.minus_linear), "interpolation": priced.between}
        shape = {"a": priced.schedule.a, "b": priced.schedule.b} if isinstance(priced.schedule, Beta) else {}
        records[name] = {
            **shape,
            **PlanRecord.of(priced.setting).to_json(),
            **record,
            "energy": _energies(priced.schedule),
        }
    beta, best = budget.schedules["beta"], budget.schedules["optimum"]
    records["optimum"]["same_counts_as"] = "beta" if beta.setting.key == best.setting.key else None
    more = beta.minus_linear
    gap = {
        "nelbo": budget.gap.value,
        "excess_ratio": budget.excess_ratio,
        "measured": _nelbo(budget.gap),
        "on_choosing_curve": budget.gap_on_curve,
        "optimum_over_all": PlanRecord.of(budget.free).to_json(),
    }
    return {
        "steps": budget.steps,
        **records,
        "gap": gap,
        "linear_steps_for_same_nelbo": budget.linear_steps,
        "linear_steps_range": None if budget.linear_range is None else list(budget.linear_range),
        "gain_expected": more.value < 0 if more.no_interval == "exact" else more.ci is not None and more.ci[1] < 0,
        "block_steps": budget.shared,
    }


@lru_cache(maxsize=256)  # hand-made schedules have the same at every budget
def _energies(schedule: Schedule) -> Record:
    """By the schedule that is optimal for the weight: the energy in multiples of the least, null where it is infinite.

    All three energies have the same multiples: they differ by factors that no schedule changes.
    """
    return {weight.name: finite_or_none(path_energy(schedule, weight) / LEAST) for weight in WEIGHTS}


def _least_energies(vocab: int, length: int) -> Record:
    """The least of the three energies of a sequence, whatever the weight: the others by their ratios, as log2."""
    conditional, kinetic = log2_ratios(vocab, length)
    return {
        "least_geodesic": length * LEAST,
        "log2_conditional_over_geodesic": conditional,
        "log2_kinetic_over_conditional": kinetic,
    }


def _schedule_entry(priced: Priced, nelbo: Estimate) -> Record:
    return {
        "steps": priced.setting.steps,
        "schedule": priced.schedule.name,
        **PlanRecord.of(priced.setting).to_json(),
        "revealed_share_after_step": [round(share, 4) for share in priced.setting.revealed],
        "nfe": priced.setting.nfe,
        "metric": "nelbo",
        "direction": "minimize",
        "value": nelbo.value,
        "ci": None if nelbo.ci is None else list(nelbo.ci),
        "no_interval": nelbo.no_interval,
        "split": "tune",
    }


def _nelbo(price: Estimate) -> Record:
    ends = None if price.ci is None else list(price.ci)
    return {"nelbo": price.value, "ci": ends, "no_interval": price.no_interval}
