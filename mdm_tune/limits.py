"""What a search may take: the rows of each phase, known beforehand, and the time that is left for trials."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from mdm_tune.build import Run
from mdm_tune.datasets import Use
from mdm_tune.evaluation import Cost
from mdm_tune.proposals import START
from mdm_tune.schedules import Linear
from mdm_tune.search import PILOT, reference_of

__all__ = ["Timetable", "phase_rows", "pilot_rows"]


def phase_rows(run: Run, use: Use, schedules: int, steps: Sequence[int]) -> int:
    """Denoiser rows, at most, of so many schedules at each of these budgets on a split; 0 where values are exact."""
    evaluator = run.evaluator
    if evaluator.exact:
        return 0
    calls = sum(evaluator.setting(Linear(), budget).nfe for budget in steps)
    rows = schedules * len(evaluator.split(use).ids) * calls
    if use == "report" and (reference := reference_of(evaluator, run.config.sampler.steps)) is not None:
        setting, examples = reference
        rows += setting.nfe * examples
    return math.ceil(rows)


def pilot_rows(run: Run, steps: Sequence[int]) -> int:
    """Denoiser rows, at most, that say what the report split can show, before the first trial of each budget."""
    examples = 0 if run.evaluator.exact else len(run.evaluator.split("tune").ids)
    return math.ceil(phase_rows(run, "tune", len(START), steps) * min(PILOT, examples) / max(1, examples))


class Timetable:
    """Shares a command's seconds among its budgets and keeps what their confirmations need.

    timeout: seconds from now; None for no limit.
    """

    def __init__(self, run: Run, timeout: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self.clock = run, clock
        self.end = None if timeout is None else clock() + timeout

    def trials_of(self, place: int) -> Callable[[Sequence[Cost]], bool]:
        """Whether the budget at this place of the config has time for one more batch, given the cost of all before.

        A batch is expected to take as long as the longest so far; the first one of several candidates, as long as they
        would take without a race, going by the pilot. The confirmations of this budget and of those after it are
        expected to cost what their rows cost in the trials. The costs are those of the pilot, of linear, which is a
        batch of its own, and of the trials after that.
        """
        budgets, settings = self.run.config.sampler.steps[place:], self.run.search
        compared = settings.finalists + len(settings.baselines)
        rows = phase_rows(self.run, "choose", compared, budgets)
        rows += phase_rows(self.run, "report", 1 + len(settings.baselines), budgets)
        examples = 0 if self.run.evaluator.exact else len(self.run.evaluator.split("tune").ids)
        pilots = settings.together / len(START) * examples / max(1, min(PILOT, examples))  # that make up such a batch
        began = self.clock()

        def in_time(costs: Sequence[Cost]) -> bool:
            if self.end is None:
                return True
            spent = sum(costs, Cost())
            speed = spent.seconds / spent.denoiser_rows if spent.denoiser_rows else 0.0  # seconds a row
            share = (self.end - began - rows * speed) / len(budgets)
            longest = max((cost.seconds for cost in costs), default=0.0)
            if len(costs) == 2:
                longest = max(longest, pilots * costs[0].seconds)
            return self.clock() - began + longest <= share

        return in_time
