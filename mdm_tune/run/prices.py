"""What a profile says of a budget: hand-made schedules, the best of the family and the best of all, side by side."""

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

TRIED = 1024  # steps at most at which linear is tried
ROUND_OFF = 1e-7  # relative: differences below it are rounding, of the polished ancestral grids most of all
WEIGHTS = (Linear(), SquaredSine())  # whose interpolation schedules are the weights of energies

Floats = NDArray[np.float64]
Record = dict[str, Any]
Choice = Callable[[Chooser], tuple[Schedule, Setting]]


@dataclass(frozen=True)
class Priced:
    """One schedule's NELBO, nats per sequence, and what it costs more than linear, paired over the examples.

    prices (examples,): of each example, by what was chosen without it; a single one if exact. between: how far
    interpolation between the measured points can have moved the price, for a curve that never rises. energies: in
    multiples of the least, by the name of the schedule that is optimal for the weight; infinite where a step is.
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
        """What the sampler gets."""
        return PlanRecord.of(self.setting)

    def to_json(self) -> Record:
        """Parameters, plan and prices, all beside one another."""
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

    @property
    def beta(self) -> Priced:
        """The best Beta(a, b)."""
        return self.schedules["beta"]

    @property
    def optimum(self) -> Priced:
        """What ``optimum`` stands for: the optimum over all, or the best Beta where that is not clearly better."""
        return self.schedules["optimum"]

    @property
    def optimum_is_beta(self) -> bool:
        """Whether the sampler cannot tell the optimum from the best Beta."""
        return self.beta.setting.key == self.optimum.setting.key

    @property
    def gain_expected(self) -> bool:
        """Whether the best Beta costs clearly less than linear."""
        more = self.beta.minus_linear
        return more.value < 0 if more.exact else more.ci is not None and more.ci[1] < 0

    @property
    def distance(self) -> Estimate:
        """How far the best Beta lies from the optimum over all, above or below it."""
        return self.gap.negated if self.gap.value < 0 else self.gap

    @property
    def within_noise(self) -> bool:
        """Whether the best Beta and the optimum over all may cost the same."""
        return self.distance.ci is None or self.distance.ci[0] <= 0

    def to_json(self) -> Record:
        """Every schedule by name, and how they compare."""
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
    found = price.to_json()
    return {"nelbo": found["value"], "ci": found["ci"], "no_interval": found["no_interval"]}


def price_budget(profiles: Profiles, steps: int, names: Sequence[str]) -> PricedBudget:
    """Price one budget.

    The best Beta and the optimum are chosen on the curve that never rises (unless ``profile.monotone`` is off). What is
    returned is chosen on all examples; its price is that of what the others choose, example by example, on the losses.

    Args:
        profiles: the profile in one kind of blocks.
        steps: the budget.
        names: hand-made schedules besides linear and squared-sine.

    Returns:
        Every schedule with its price, and how they compare.

    Raises:
        InputError: the steps are fewer than the blocks.
    """
    profile, chooser, choices = profiles.profile, profiles.chooser, _choices(profiles, steps, names)
    found = {name: choose(chooser) for name, choose in choices.items()}
    prices = {name: _held_out(profiles, choose) for name, choose in choices.items()}
    free, gap = found["optimum"][1], _rounded(prices["beta"] - prices["optimum"], chooser.pricer.floor)
    lost, least = (float((prices[name] - one_by_one(profiles)).mean()) for name in ("beta", "optimum"))
    if not profiles.keeps_optimum(steps):
        found["optimum"] = (explicit(found["beta"][1]), replace(found["beta"][1], name="optimum"))
    prices["optimum"] = _kept(profiles, prices["beta"], prices["optimum"])
    priced = {}
    for name, (schedule, setting) in found.items():
        more = profile.mean_price(prices[name] - prices["linear"])
        between = float(weights_of(setting) @ profile.bracket * profile.scale)
        priced[name] = Priced(
            schedule=schedule,
            setting=setting,
            nelbo=profile.mean_nelbo(prices[name]),
            minus_linear=more,
            between=between,
            prices=prices[name],
            energies=_energies(schedule),
        )
    curve, lowest = chooser.pricer.curve, chooser.pricer.floor
    on_curve = float((weights_of(found["beta"][1]) - weights_of(free)) @ curve)
    linear_steps, linear_range = _linear_steps(profiles, prices["beta"])
    return PricedBudget(
        steps=steps,
        schedules=priced,
        free=free,
        gap=profile.mean_price(gap),
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
        if not clearly_above(profiles.profile.of_examples(others), (beta - best)[others]):
            found[fold.rows] = beta[fold.rows]
    return found


def _held_out(profiles: Profiles, choose: Choice) -> Floats:
    return profiles.held_out(lambda chooser: choose(chooser)[1])


def _choices(profiles: Profiles, steps: int, names: Sequence[str]) -> dict[str, Choice]:
    """By name what a chooser makes of the budget."""

    def fixed(schedule: Schedule, share: ShareRule | None = None) -> Choice:
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

        def share(chooser: Chooser) -> ShareRule:
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


def one_by_one(profiles: Profiles) -> Floats:
    """NELBO by example of one token per step."""
    return profiles.profile.prices_by_size(np.ones)


def _linear(chooser: Chooser, steps: int) -> Setting:
    return chooser.setting(Linear(), steps)


def _linear_steps(profiles: Profiles, prices: Floats) -> tuple[int | None, tuple[int | None, int | None] | None]:
    """The fewest steps at which linear costs at most ``prices`` (examples,), and the range in which they may lie."""
    blocks, profile = profiles.pricer.blocks, profiles.profile
    every = 1 if profiles.shares_steps else blocks
    fewest: list[int | None] = [None, None, None]
    more = profile.mean_price(0 * prices)
    for steps in range(blocks, min(profiles.limit, TRIED) + 1, every):
        linear = profiles.held_out(partial(_linear, steps=steps))
        more = profile.mean_price(linear - prices)
        low, high = more.ci or (more.value, more.value)
        slack = 1e-9 * max(1.0, abs(float(prices.mean())))
        for place, value in enumerate((low, more.value, high)):
            if fewest[place] is None and value <= slack:
                fewest[place] = steps
        if fewest[2] is not None:
            break
    return fewest[1], None if more.ci is None else (fewest[0], fewest[2])


@lru_cache(maxsize=256)  # hand-made schedules have the same at every budget
def _energies(schedule: Schedule) -> dict[str, float]:
    """By the schedule that is optimal for the weight: the energy in multiples of the least.

    All three energies have the same multiples: they differ by factors that no schedule changes.
    """
    return {weight.name: path_energy(schedule, weight) / LEAST_ENERGY for weight in WEIGHTS}
