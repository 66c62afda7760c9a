"""The value of an adaptive policy at which it makes as many denoiser calls as a budget has, inside a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mdm_tune.evaluation.cost_matching import Match, Matching, Scale, Stage, match
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting, calls_in_advance
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.schedules.curves import Linear
from mdm_tune.search.stored_scores import StoredScores

__all__ = ["EqualCalls", "Matched", "linear_calls", "rows_of_looking"]

STAGES = (Stage(examples=16, tries=8, tolerance=0.05), Stage(examples=64, tries=2, tolerance=0.03))
CORRECTION = Stage(examples=64, tries=2, tolerance=0.01, enough=0.03)  # on all tune examples


def rows_of_looking(examples: int, *, again: bool = True) -> float:
    """The most rows of a trial of an adaptive policy, as a multiple of scoring a schedule on all tune examples.

    The calls of the values that are tried lie on both sides of the budget's. Where they jump, it may take more.

    Args:
        examples: The tune examples.
        again: Whether each stage tries as many values again, since it is far off after its tries, which is rare.
    """
    tries = sum(stage.tries * min(stage.examples, examples) for stage in STAGES) / max(1, examples)
    return (CORRECTION.tries + tries) * (2 if again else 1)


@dataclass(frozen=True)
class Matched:
    """A policy whose value was looked for.

    Attributes:
        setting: Its setting, with the value that comes closest to the budget.
        match: How close it comes.
        unreachable: Why no value makes the calls of the budget; None if one does.
    """

    setting: Setting
    match: Match
    unreachable: str | None


@dataclass(frozen=True)
class EqualCalls:
    """Finds values of adaptive policies on the tune split, for several policies side by side.

    Attributes:
        evaluator: The evaluator for the block length.
        steps: The step budget.
        target: Linear's mean calls on the first so many tune examples in random order.
        setting: Returns the setting of a policy that has its value.
    """

    evaluator: Evaluator
    steps: int
    target: Callable[[int], float]
    setting: Callable[[AdaptiveName], Setting]

    def find(
        self,
        plans: Mapping[int, AdaptiveName],
        guess: float | None,
        promising: Callable[[Setting, int], bool] = lambda setting, examples: True,
    ) -> tuple[dict[int, Matched], Cost]:
        """Find the values on few examples, and then on more. Where few examples do not meet the budget, more may.

        Args:
            plans: The policies without a value, by number.
            guess: The value to try first; None if nothing is known.
            promising: Whether a setting may still win, by its scores on the first so many examples. The values of
                others are not looked for on more.

        Returns:
            The policies with their values, by number, and the cost.
        """
        most, cost = len(self.evaluator.split("tune").ids), Cost()
        found: dict[int, Match] = {}
        going_on = dict(plans)
        for stage in STAGES:
            here = replace(stage, examples=min(most, stage.examples))
            searches = {
                number: match(self.target(here.examples), here, Scale(plan), guess, found.get(number))
                for number, plan in going_on.items()
            }
            matches, spent = self._together(plans, searches)
            found |= matches
            cost += spent
            going_on = {
                number: plan
                for number, plan in going_on.items()
                if not found[number].reached  # on so few examples, which decides nothing
                or promising(self.setting(plan.at(found[number].value)), here.examples)
            }
        return {number: self._matched(plan, found[number]) for number, plan in plans.items()}, cost

    def _together(
        self, plans: Mapping[int, AdaptiveName], searches: Mapping[int, Matching]
    ) -> tuple[dict[int, Match], Cost]:
        """Run searches side by side, so that the rows they need next are filled together."""
        wanted, matches, cost = (
            {number: next(search) for number, search in searches.items()},
            dict[int, Match](),
            Cost(),
        )
        while wanted:
            (examples,) = {examples for _, examples in wanted.values()}
            settings = {number: self.setting(plans[number].at(value)) for number, (value, _) in wanted.items()}
            cost += self.evaluator.together([*settings.values()], "tune", examples)[1]
            for number, setting in settings.items():
                try:
                    wanted[number] = searches[number].send(self.calls(setting, examples))
                except StopIteration as end:
                    matches[number] = end.value
                    del wanted[number]
        return matches, cost

    def correct(self, plan: AdaptiveName, found: Matched) -> tuple[Matched, Cost]:
        """Correct the value of a policy that was scored on all tune examples, if it misses the budget there.

        Args:
            plan: The policy without a value.
            found: What ``find`` found.

        Returns:
            What comes closest to the budget on all tune examples, and the cost. It is scored on all of them.
        """
        stage = replace(CORRECTION, examples=len(self.evaluator.split("tune").ids))
        search = match(self.target(stage.examples), stage, Scale(plan), earlier=found.match)
        matches, cost = self._together({0: plan}, {0: search})
        return self._matched(plan, matches[0]), cost

    def calls(self, setting: Setting, examples: int) -> float:
        """The mean calls of a setting on the first tune examples, on which it was scored."""
        return float(self.evaluator.book.calls(setting, "tune")[:examples].mean())

    def _matched(self, plan: AdaptiveName, match: Match) -> Matched:
        return Matched(self.setting(plan.at(match.value)), match, match.unreachable(self.steps))


def linear_calls(scores: StoredScores, evaluator: Evaluator, steps: int) -> tuple[Callable[[int], float], Cost]:
    """Linear's mean calls on the first so many tune examples, in random order.

    They follow from the lengths of the rows, unless answers may end early. They are then measured once and stored.

    Args:
        scores: Holds the storage.
        evaluator: The evaluator for the block length.
        steps: The step budget.

    Returns:
        A function of the number of examples, and the cost of measuring.
    """
    linear, split = evaluator.setting(Linear(), steps), evaluator.split("tune").shuffled()
    cost = Cost()
    known = calls_in_advance(linear, split.hidden.sum(1), evaluator.sampler)
    if known is None:
        name = f"calls of linear {steps} {evaluator.block_length}"

        def measure() -> dict[str, Any]:
            filled = evaluator.fill([linear], split.start, split.seeds)
            return {"calls": filled.nfe.tolist(), "cost": [filled.denoiser_rows, filled.denoiser_tokens]}

        record = scores.state.once(name, measure)
        calls, cost = np.array(record["calls"], dtype=np.float64), Cost(*record["cost"])
    else:
        calls = known
    return (lambda examples: float(calls[:examples].mean())), cost
