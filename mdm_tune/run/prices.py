"""Prices of schedules at a budget: hand-made ones, the best of the Beta family and the best of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.json_record import as_json
from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.profile_choice import Chooser, clearly_above, explicit, weights_of
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.profiles import Profiles
from mdm_tune.run.record_parts import PlanRecord
from mdm_tune.schedules.blocks import ShareRule, equal_shares
from mdm_tune.schedules.curves import Beta, Linear, Schedule, SquaredSine, parse_schedule
from mdm_tune.schedules.energy import LEAST_ENERGY, path_energy

__all__ = ["Priced", "PricedBudget", "nelbo_json", "one_by_one", "price_budget"]

MOST_LINEAR_STEPS = 1024  # the most steps at which linear is priced
ROUND_OFF = 1e-7  # relative; smaller differences are rounding, which is largest for polished ancestral grids
WEIGHTS = (Linear(), SquaredSine())  # their interpolation schedules are the weights of energies

Floats = NDArray[np.float64]
Record = dict[str, Any]
Choice = Callable[[Chooser], tuple[Schedule, Setting]]


@dataclass(frozen=True)
class Priced:
    """The NELBO of one schedule at one budget.

    Attributes:
        schedule: The schedule.
        setting: The setting that the sampler receives.
        nelbo: NELBO, nats per sequence.
        minus_linear: NELBO minus that of linear, paired over the examples.
        between: The largest error of the price from interpolation between measured points, nats per sequence, for a
            curve that never rises.
        prices: (examples,) NELBO of each example, for what was chosen without it; a single entry if exact.
        energies: Energies in multiples of the least energy, by the name of the schedule that is optimal for the weight;
            infinite if the schedule jumps.
    """

    schedule: Schedule
    setting: Setting
    nelbo: Estimate
    minus_linear: Estimate
    between: float
    prices: Floats
    energies: Mapping[str, float]

    @property
    def parameters(self) -> dict[str, float]:
        """a and b of a schedule of the Beta family; empty for others."""
        return self.schedule.parameters if isinstance(self.schedule, Beta) else {}

    @property
    def plan(self) -> PlanRecord:
        """What the sampler receives."""
        return PlanRecord.of(self.setting)

    def to_json(self) -> Record:
        """Parameters, plan and prices, in one object."""
        return {
            **self.parameters,
            **self.plan.to_json(),
            **nelbo_json(self.nelbo),
            "minus_linear": nelbo_json(self.minus_linear),
            "interpolation": self.between,
            "energy": as_json(self.energies),
        }


@dataclass(frozen=True)
class PricedBudget:
    """The prices of schedules at one budget.

    Attributes:
        steps: The budget.
        schedules: By name: linear, squared-sine, other hand-made ones, ``beta`` and ``optimum``. With blocks also
            linear and beta with the steps divided the other way, if the blocks can share them equally:
            ``linear_tuned`` and ``beta_tuned`` if ``shared`` is equal, else ``linear_equal`` and ``beta_equal``.
        free: The optimum over all schedules. ``optimum`` is this one if it is clearly better than the best Beta, else
            the best Beta.
        gap: NELBO of the best Beta minus that of ``free``, nats per sequence, on examples that chose neither.
        excess_ratio: NELBO of the best Beta above that of one token per step, divided by that of the optimum over all;
            None if the latter is 0.
        gap_on_curve: The gap on the curve on which both were chosen; never negative.
        linear_steps: The fewest steps at which linear costs no more than the best Beta; None if more than were tried.
        linear_range: The fewest steps at which linear may cost no more, and at which it clearly costs no more; None if
            exact.
        shared: How the blocks share the steps; None without blocks.
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

    @property
    def beta(self) -> Priced:
        """The best Beta(a, b)."""
        return self.schedules["beta"]

    @property
    def optimum(self) -> Priced:
        """The optimum over all schedules, or the best Beta if the optimum is not clearly better."""
        return self.schedules["optimum"]

    @property
    def optimum_is_beta(self) -> bool:
        """Whether the sampler does the same with the optimum and with the best Beta."""
        return self.beta.setting.key == self.optimum.setting.key

    @property
    def gain_expected(self) -> bool:
        """Whether the best Beta costs clearly less than linear."""
        difference = self.beta.minus_linear
        return difference.value < 0 if difference.exact else difference.ci is not None and difference.ci[1] < 0

    @property
    def distance(self) -> Estimate:
        """The absolute difference between the best Beta and the optimum over all."""
        return self.gap.negated if self.gap.value < 0 else self.gap

    @property
    def within_noise(self) -> bool:
        """Whether the best Beta and the optimum over all do not differ clearly."""
        return self.distance.ci is None or self.distance.ci[0] <= 0

    def to_json(self) -> Record:
        """The schedules by name, and their comparison."""
        records = {name: priced.to_json() for name, priced in self.schedules.items()}
        records["optimum"]["same_counts_as"] = "beta" if self.optimum_is_beta else None
        gap = {
            "nelbo": self.gap.value,
            "excess_ratio": self.excess_ratio,
            "measured": nelbo_json(self.gap),
            "on_choosing_curve": self.gap_on_curve,
            "optimum_over_all": PlanRecord.of(self.free).to_json(),
        }
        return {
            "steps": self.steps,
            **records,
            "gap": gap,
            "linear_steps_for_same_nelbo": self.linear_steps,
            "linear_steps_range": None if self.linear_range is None else list(self.linear_range),
            "gain_expected": self.gain_expected,
            "block_steps": self.shared,
        }


def nelbo_json(price: Estimate) -> Record:
    """A price as JSON: nelbo in nats per sequence, ci and no_interval."""
    estimate = price.to_json()
    return {"nelbo": estimate["value"], "ci": estimate["ci"], "no_interval": estimate["no_interval"]}


def price_budget(profiles: Profiles, steps: int, names: Sequence[str]) -> PricedBudget:
    """Price the schedules of one budget.

    The best Beta and the optimum are chosen on the curve that never rises, unless ``profile.monotone`` is off. The
    schedules that are returned are chosen on all examples. An example's price is that of the schedule that other
    examples choose, computed from the example's losses.

    Args:
        profiles: The profile at one block length.
        steps: The budget.
        names: Hand-made schedules besides linear and squared-sine.

    Returns:
        The schedules with their prices, and their comparison.

    Raises:
        InputError: If there are fewer steps than blocks.
    """
    profile, chooser, choices = profiles.profile, profiles.chooser, _choices(profiles, steps, names)
    chosen = {name: choose(chooser) for name, choose in choices.items()}
    prices = {name: _held_out_prices(profiles, choose) for name, choose in choices.items()}
    free, gap = chosen["optimum"][1], _without_rounding(prices["beta"] - prices["optimum"], chooser.pricer.floor)
    beta_excess, optimum_excess = (float((prices[name] - one_by_one(profiles)).mean()) for name in ("beta", "optimum"))
    if not profiles.keeps_optimum(steps):
        chosen["optimum"] = (explicit(chosen["beta"][1]), replace(chosen["beta"][1], name="optimum"))
    prices["optimum"] = _optimum_or_beta_prices(profiles, prices["beta"], prices["optimum"])
    priced = {}
    for name, (schedule, setting) in chosen.items():
        minus_linear = profile.mean_price(prices[name] - prices["linear"])
        between = float(weights_of(setting) @ profile.bracket * profile.scale)
        priced[name] = Priced(
            schedule=schedule,
            setting=setting,
            nelbo=profile.mean_nelbo(prices[name]),
            minus_linear=minus_linear,
            between=between,
            prices=prices[name],
            energies=_energies(schedule),
        )
    curve, lowest = chooser.pricer.curve, chooser.pricer.floor
    gap_on_curve = float((weights_of(chosen["beta"][1]) - weights_of(free)) @ curve)
    linear_steps, linear_range = _linear_steps(profiles, prices["beta"])
    return PricedBudget(
        steps=steps,
        schedules=priced,
        free=free,
        gap=profile.mean_price(gap),
        excess_ratio=beta_excess / optimum_excess if optimum_excess > ROUND_OFF * max(1.0, lowest) else None,
        gap_on_curve=0.0 if abs(gap_on_curve) < ROUND_OFF * lowest else gap_on_curve,
        linear_steps=linear_steps,
        linear_range=linear_range,
        shared=chooser.sharing(steps),
    )


def _optimum_or_beta_prices(profiles: Profiles, beta: Floats, optimum: Floats) -> Floats:
    """The prices (examples,) of ``optimum``. In each fold, the other examples decide whether the best Beta replaces it.

    beta, optimum: (examples,) the prices of both.
    """
    if profiles.profile.exact or not profiles.folds:
        return optimum if profiles.profile.exact else beta
    prices = optimum.copy()
    for fold in profiles.folds:
        others = np.setdiff1d(np.arange(len(optimum)), fold.rows)
        if not clearly_above(profiles.profile.of_examples(others), (beta - optimum)[others]):
            prices[fold.rows] = beta[fold.rows]
    return prices


def _held_out_prices(profiles: Profiles, choose: Choice) -> Floats:
    return profiles.held_out(lambda chooser: choose(chooser)[1])


def _choices(profiles: Profiles, steps: int, names: Sequence[str]) -> dict[str, Choice]:
    """How each schedule of a budget is chosen, by name."""

    def fixed(schedule: Schedule, share: ShareRule | None = None) -> Choice:
        return lambda chooser: (schedule, chooser.setting(schedule, steps, share=share))

    def beta(chooser: Chooser) -> tuple[Schedule, Setting]:
        return chooser.best_beta(steps), chooser.of_beta(steps)

    def optimum(chooser: Chooser) -> tuple[Schedule, Setting]:
        return chooser.optimum(steps), chooser.of_optimum(steps)

    choices = {"linear": fixed(Linear()), "squared-sine": fixed(SquaredSine())}
    choices |= {name: fixed(parse_schedule(name)) for name in names}
    choices |= {"beta": beta, "optimum": optimum}
    blocks, tuned = profiles.pricer.blocks, profiles.shares_steps
    if blocks > 1 and steps % blocks == 0:  # else there is one way to divide the steps among the blocks
        kind = "equal" if tuned else "tuned"

        def share(chooser: Chooser) -> ShareRule:
            return equal_shares if tuned else chooser.steps_of_blocks

        def other_beta(chooser: Chooser) -> tuple[Schedule, Setting]:
            best = chooser.best_beta(steps, share(chooser))
            return best, chooser.setting(best, steps, share=share(chooser))

        def other_linear(chooser: Chooser) -> tuple[Schedule, Setting]:
            return Linear(), chooser.setting(Linear(), steps, share=share(chooser))

        choices |= {f"linear_{kind}": other_linear, f"beta_{kind}": other_beta}
    return choices


def _without_rounding(differences: Floats, lowest: float) -> Floats:
    """Replace differences that are mere rounding by 0."""
    return np.where(np.abs(differences) < ROUND_OFF * lowest, 0.0, differences)


def one_by_one(profiles: Profiles) -> Floats:
    """The NELBO (examples,) of one token per step, nats per sequence."""
    return profiles.profile.prices_by_size(np.ones)


def _linear(chooser: Chooser, steps: int) -> Setting:
    return chooser.setting(Linear(), steps)


def _linear_steps(profiles: Profiles, prices: Floats) -> tuple[int | None, tuple[int | None, int | None] | None]:
    """Find the fewest steps at which linear costs at most ``prices`` (examples,).

    Returns:
        These steps, None if there are none up to the limit; and the fewest at which linear may cost no more and at
        which it clearly costs no more, None if the profile is exact.
    """
    blocks, profile = profiles.pricer.blocks, profiles.profile
    stride = 1 if profiles.shares_steps else blocks
    fewest: list[int | None] = [None, None, None]  # by the low end of the interval, the value, and the high end
    difference = profile.mean_price(0 * prices)
    for steps in range(blocks, min(profiles.limit, MOST_LINEAR_STEPS) + 1, stride):
        linear = profiles.held_out(partial(_linear, steps=steps))
        difference = profile.mean_price(linear - prices)
        low, high = difference.ci or (difference.value, difference.value)
        slack = 1e-9 * max(1.0, abs(float(prices.mean())))
        for index, value in enumerate((low, difference.value, high)):
            if fewest[index] is None and value <= slack:
                fewest[index] = steps
        if fewest[2] is not None:
            break
    return fewest[1], None if difference.ci is None else (fewest[0], fewest[2])


@lru_cache(maxsize=256)  # a hand-made schedule has the same energies at every budget
def _energies(schedule: Schedule) -> dict[str, float]:
    """Energies in multiples of the least energy, by the name of the schedule that is optimal for the weight.

    The multiples are the same for all three energies, whose ratios do not depend on the schedule.
    """
    return {weight.name: path_energy(schedule, weight) / LEAST_ENERGY for weight in WEIGHTS}
