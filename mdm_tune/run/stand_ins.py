"""The stand-ins of the budgets of a run: for each budget's winner, and for the one schedule of all budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mdm_tune.run.build import Run
from mdm_tune.run.page_records import gains_over_baselines
from mdm_tune.run.profiles import Profiles
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.stand_ins import Place, StandIns, rounder_at

if TYPE_CHECKING:  # it loads optuna
    from mdm_tune.search.shared import SharedSearch

__all__ = ["stand_ins_of", "with_stand_ins"]


def stand_ins_of(run: Run, budgets: Sequence[Budget], profiles: Mapping[int, Profiles]) -> list[StandIns]:
    """The stand-ins of one winner at each of its budgets.

    Args:
        run: The run.
        budgets: Outcomes with the same winner: one of a search at each budget, or all of a search for one schedule.
        profiles: By block length.
    """
    winner = budgets[0].policy
    places = [_place(run, budget, winner, profiles) for budget in budgets] if isinstance(winner, Beta) else []
    box = tuple(run.config.search.space.ranges.values())
    rounder = rounder_at(places, (box[0], box[1])) if places else None
    direction, found = run.evaluator.metric.direction, list[StandIns]()
    for place, budget in enumerate(budgets):
        gains = {"linear": budget.gain, **gains_over_baselines(budget, direction)}
        own = budget.winner.setting.key
        others = {name: gain for name, gain in gains.items() if budget.baselines[name].setting.key != own}
        found.append(StandIns.of(None if rounder is None else rounder[place], others, budget.gain.value))
    return found


def with_stand_ins(run: Run, shared: SharedSearch, profiles: Mapping[int, Profiles]) -> SharedSearch:
    """The outcome of a search for one schedule, with the stand-ins of this schedule at each budget."""
    found = stand_ins_of(run, [budget.shared for budget in shared.budgets], profiles)
    budgets = (
        replace(budget, shared=replace(budget.shared, stand_ins=each))
        for budget, each in zip(shared.budgets, found, strict=True)
    )
    return replace(shared, budgets=tuple(budgets))


def _place(run: Run, budget: Budget, winner: Beta, profiles: Mapping[int, Profiles]) -> Place:
    size = budget.winner.setting.block_length
    evaluator = run.evaluator.in_blocks(size if size in run.evaluator.block_lengths else run.evaluator.block_length)
    chooser = profiles[evaluator.block_length].chooser if run.priced_by_profile else None
    return Place(evaluator=evaluator, winner=winner, steps=budget.steps, gain=budget.gain.value, chooser=chooser)
