"""What a search takes besides its denoiser rows, timed with the real thing: proposals, records and intervals.

For a large model all of it is nothing; for a tiny one it is nearly everything.
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
from mdm_tune.evaluation.evaluator import Cost, ScoreBook
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.proposals import possible_gain, propose
from mdm_tune.search.space import BudgetOutlook, given_points
from mdm_tune.search.stopping import SETTLING
from mdm_tune.search.storage import open_storage

__all__ = ["Speed", "concluding", "deciding", "speed_of"]

CHEAP = 0.5  # seconds of a batch: where it takes less it is repeated, since what it takes varies
REPEATS = 3
INTERVALS = 24  # of a budget's report besides one for each schedule: gains, diversity, losses


@dataclass(frozen=True)
class Speed:
    """Seconds of a denoiser row with its part of the metric, and of what follows for each schedule that is compared."""

    row: float
    schedule: float


def speed_of(run: Run, settings: Sequence[Setting], pilot: Split, spent: Sequence[Cost]) -> Speed:
    """The speed of batches; spent: what measuring the settings on the pilot took, one after the other.

    A first batch also pays for what a library sets up. So the faster of them counts, and cheap ones are timed again, as
    trials make them.
    """
    if not all(cost.denoiser_rows for cost in spent):
        return Speed(0.0, 0.0)
    if min(cost.seconds for cost in spent) > CHEAP:
        return Speed(min(cost.seconds / cost.denoiser_rows for cost in spent), 0.0)
    evaluator, rows, rests = run.evaluator, [], []
    for _ in range(REPEATS):
        fresh = replace(evaluator, book=ScoreBook())  # a trial would find there what was timed, and cost nothing
        whole = [evaluator.measure_on(setting, pilot).cost for setting in settings]
        parts = [fresh.together([setting], "tune", len(pilot.ids))[1] for setting in settings]
        row = sum(cost.seconds for cost in parts) / sum(cost.denoiser_rows for cost in parts)
        rows.append(row)
        rests.append(sum(cost.seconds - cost.denoiser_rows * row for cost in whole) / len(settings))
    return Speed(median(rows), max(0.0, median(rests)))


def deciding(run: Run, reach: Sequence[BudgetOutlook]) -> float:
    """Seconds of choosing and recording the trials of all budgets: proposals, whether to end, the journal."""
    search, seed = run.config.search, run.config.seed
    record, scan = _recording(run), _timed(lambda: [len(given_points(search, seed, each.steps)) for each in reach])
    return scan + sum(_study(run, each) + trials_of(run, each) * record for each in reach)


def concluding(run: Run, use: str, schedules: int, examples: int, pilot: int, speed: Speed) -> float:
    """Seconds of the intervals of one budget's comparison on a split."""
    if run.evaluator.exact:
        return 0.0
    each = speed.schedule * max(1.0, examples / max(1, pilot))
    values = np.random.default_rng(0).normal(size=max(2, examples))
    return schedules * each + (INTERVALS * _timed(lambda: estimate(values)) if use == "report" else 0.0)


def trials_of(run: Run, reach: BudgetOutlook) -> int:
    """The trials of a budget at most: none where nothing can be tuned, and few where few counts can be reached."""
    most = run.config.search.trials
    if reach.counts is None or reach.counts > most:
        return most
    return 0 if reach.counts == 1 else min(most, 2 * reach.counts)  # some proposals reach counts that are known


def _study(run: Run, reach: BudgetOutlook) -> float:
    """The proposals of one budget, and looking whether more of them are worth it."""
    search, seed, trials = run.config.search, run.config.seed, trials_of(run, reach)
    given = given_points(search, seed, reach.steps)
    if search.strategy not in ("gp", "tpe") or trials <= len(given):
        return 0.0
    middle = (len(given) + trials) // 2
    chance = np.random.default_rng(0)
    low, high = np.log([search.space.a, search.space.b]).T
    points = np.exp(low + (high - low) * chance.random((middle, 2))).tolist()
    direction, priced = run.evaluator.metric.direction, run.evaluator.exact or run.priced_by_profile
    # A smooth valley with some noise, as values are.
    known = [(Beta(a, b), math.hypot(math.log(a) + 0.3, math.log(b)) + 0.01 * chance.normal()) for a, b in points]

    def ask() -> object:
        return propose(search, seed, reach.steps, middle, known, (), direction, exact=priced)

    first, later = _timed(ask), min(_timed(ask), _timed(ask))  # the first one loads what the others use
    seconds = first + later * (trials - len(given) - 1)
    if search.auto_stop and not priced and trials > SETTLING:
        looks = (trials - SETTLING) // search.together
        seconds += looks * _timed(lambda: possible_gain(search, seed, reach.steps, known, direction))
    return seconds


def _recording(run: Run) -> float:
    """One trial in a journal, on this machine's disk for temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(open_storage(Path(folder) / "study.journal"), "timing")

        def record() -> None:
            ranges = run.config.search.space.ranges
            ledger.write(str(next(numbers)), 1.0, {"key": [], "values": None}, Beta(1.0, 1.0).parameters, ranges)

        numbers = iter(range(REPEATS))
        return median([_timed(record) for _ in range(REPEATS)])


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
