"""The seconds of a search besides its denoiser rows, timed on this machine: proposals, records and intervals.

They do not matter for a large model. For a tiny model they are most of the time.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from mdm_tune.core.statistics import estimate
from mdm_tune.datasets.splits import Split
from mdm_tune.evaluation.scores import Cost, ScoreBook
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.proposals import BetaSpace
from mdm_tune.search.space import BudgetOutlook, given_points
from mdm_tune.search.stopping import SETTLING
from mdm_tune.search.storage import open_storage

__all__ = ["Speed", "comparison_overhead", "speed_of", "trial_overhead"]

CHEAP = 0.5  # seconds; a batch that takes less is timed again, since its time varies
REPEATS = 3
INTERVALS = 24  # intervals in the report of a budget besides one per policy: gains, diversity, losses


@dataclass(frozen=True)
class Speed:
    """Seconds of denoiser rows and of schedules.

    Attributes:
        row: Seconds of a denoiser row with its part of the metric.
        policy: Seconds for each compared policy besides those of its rows.
    """

    row: float
    policy: float


def speed_of(run: Run, settings: Sequence[Setting], pilot: Split, spent: Sequence[Cost]) -> Speed:
    """The speed of batches.

    The first batch includes the time in which libraries set themselves up. So the fastest batch counts, and cheap
    batches are timed again in the way of trials.

    Args:
        run: The run.
        settings: The settings that were measured.
        pilot: The examples on which they were measured.
        spent: The cost of each measurement, in order.
    """
    if not all(cost.denoiser_rows for cost in spent):
        return Speed(0.0, 0.0)
    if min(cost.seconds for cost in spent) > CHEAP:
        return Speed(min(cost.seconds / cost.denoiser_rows for cost in spent), 0.0)
    evaluator, rows, rests = run.evaluator, [], []
    for _ in range(REPEATS):
        fresh = replace(evaluator, book=ScoreBook())  # with the old book a trial would cost nothing
        whole = [evaluator.measure_on(setting, pilot).cost for setting in settings]
        parts = [fresh.together([setting], "tune", len(pilot.ids))[1] for setting in settings]
        row = sum(cost.seconds for cost in parts) / sum(cost.denoiser_rows for cost in parts)
        rows.append(row)
        rests.append(sum(cost.seconds - cost.denoiser_rows * row for cost in whole) / len(settings))
    return Speed(median(rows), max(0.0, median(rests)))


def trial_overhead(run: Run, outlooks: Sequence[BudgetOutlook]) -> float:
    """The seconds of proposing and recording the trials of all budgets, and of deciding when to stop."""
    search, seed = run.config.search, run.config.seed
    record = _record_seconds(run)
    scan = _seconds(lambda: [len(given_points(search, seed, outlook.steps)) for outlook in outlooks])
    return scan + sum(_proposal_seconds(run, outlook) + most_trials(run, outlook) * record for outlook in outlooks)


def comparison_overhead(run: Run, use: str, policies: int, examples: int, pilot: int, speed: Speed) -> float:
    """The seconds of the comparison of one budget on a split, besides those of its rows.

    Args:
        run: The run.
        use: The split, ``choose`` or ``report``.
        policies: The number of compared policies.
        examples: Examples of the split.
        pilot: Examples on which the speed was measured; 0 if none.
        speed: The measured speed.
    """
    if run.evaluator.exact:
        return 0.0
    per_policy = speed.policy * max(1.0, examples / max(1, pilot))
    values = np.random.default_rng(0).normal(size=max(2, examples))
    return policies * per_policy + (INTERVALS * _seconds(lambda: estimate(values)) if use == "report" else 0.0)


def most_trials(run: Run, outlook: BudgetOutlook) -> int:
    """The most trials of a budget: none if nothing can be tuned, and few if few counts can be reached."""
    most = run.config.search.trials
    if outlook.counts is None or outlook.counts > most:
        return most
    return 0 if outlook.counts == 1 else min(most, 2 * outlook.counts)  # some proposals have counts that are known


def _proposal_seconds(run: Run, outlook: BudgetOutlook) -> float:
    """The seconds of the proposals of one budget, and of deciding whether more of them are worth it."""
    search, trials = run.config.search, most_trials(run, outlook)
    space = BetaSpace(search, outlook.steps, run.config.seed)
    fixed = len(space.given(()))
    if search.strategy not in ("gp", "tpe") or trials <= fixed:
        return 0.0
    middle = (fixed + trials) // 2
    rng = np.random.default_rng(0)
    low, high = np.log([search.space.a, search.space.b]).T
    points = np.exp(low + (high - low) * rng.random((middle, 2))).tolist()
    direction, priced = run.evaluator.metric.direction, run.evaluator.exact or run.priced_by_profile
    # Values of trials are like a smooth valley with noise.
    known = [(Beta(a, b), math.hypot(math.log(a) + 0.3, math.log(b)) + 0.01 * rng.normal()) for a, b in points]

    together = 1 if priced else search.together

    def next_batch() -> object:
        return space.propose(range(middle, middle + together), known, (), direction, exact=priced)

    # The first proposals also load the libraries.
    first, later = _seconds(next_batch), min(_seconds(next_batch), _seconds(next_batch))
    seconds = first + later * max(0.0, (trials - fixed) / together - 1)
    if search.auto_stop and not priced and trials > SETTLING:
        looks = (trials - SETTLING) // together
        seconds += looks * _seconds(lambda: space.possible_gain(known, direction))
    return seconds


def _record_seconds(run: Run) -> float:
    """The seconds of writing one trial to a journal in the folder for temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(open_storage(Path(folder) / "study.journal"), "timing")

        def record() -> None:
            ranges = run.config.search.space.ranges
            ledger.write(str(next(numbers)), 1.0, {"key": [], "values": None}, Beta(1.0, 1.0).parameters, ranges)

        numbers = iter(range(REPEATS))
        return median([_seconds(record) for _ in range(REPEATS)])


def _seconds(work: Callable[[], object]) -> float:
    """The seconds that one call takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began
