"""What a search would cost and what it could show, from two batches of the real thing."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from mdm_tune.build import build
from mdm_tune.config import Config
from mdm_tune.datasets import USES
from mdm_tune.evaluation import Cost, Scores
from mdm_tune.records import Record, cost_record
from mdm_tune.results import RunFolder
from mdm_tune.schedules import Beta, Linear
from mdm_tune.search import reachable_counts
from mdm_tune.statistics import detectable_gain

__all__ = ["dry_run"]


def dry_run(config: Config) -> Record:
    """Load everything, time two real batches and price the search; nothing is written.

    The phases are upper bounds: counts that come up again cost nothing. ``seconds`` per phase assume the speed of the
    two batches. ``detectable_gain`` is estimated from linear against squared-sine on the same batch.
    """
    folder = RunFolder(config.output)
    run = build(config)
    evaluator, settings = run.evaluator, run.search
    first = config.sampler.steps[0]
    trials = {"linear": evaluator.setting(Linear(), first), "squared-sine": evaluator.setting(Beta(1.0, 1.0), first)}
    examples: dict[str, int] = {}
    detectable = None
    if evaluator.exact:
        timed = [evaluator.score(setting, "tune") for setting in trials.values()]
    else:
        splits = {use: evaluator.split(use) for use in USES}
        examples = {use: len(split.ids) for use, split in splits.items()}
        pilot = splits["tune"].first(config.sampler.batch)
        timed = [evaluator.measure_on(setting, pilot) for setting in trials.values()]
        deviation = float(np.std(_values_of(timed[0]) - _values_of(timed[1]), ddof=1))
        detectable = detectable_gain(deviation, examples["report"])
    spent = timed[0].cost + timed[1].cost
    schedules = {
        "tune": settings.trials,
        "choose": settings.finalists + len(settings.baselines),
        "report": 1 + len(settings.baselines),
    }
    phases = []
    for use, count in schedules.items():
        rows = count * examples.get(use, 0) * sum(config.sampler.steps)
        pace = spent.seconds / spent.denoiser_rows if spent.denoiser_rows else 0.0
        exact_seconds = count * len(config.sampler.steps) * spent.seconds / 2 if evaluator.exact else 0.0
        phases.append(
            {
                "phase": use,
                "schedules": count,
                **cost_record(Cost(rows, rows * evaluator.length, rows * pace + exact_seconds)),
            }
        )
    return {
        "phases": phases,
        "reachable_counts": {
            str(steps): None if evaluator.sampler.bernoulli else len(set(reachable_counts(evaluator, steps, settings)))
            for steps in config.sampler.steps
        },
        "detectable_gain": detectable,
        "peak_memory_bytes": _peak_memory(),
        "already_holds_search": folder.holds_search,
        **cost_record(spent),
    }


def _values_of(scores: Scores) -> NDArray[np.float64]:
    """The per-example values, which sample metrics always have."""
    assert scores.values is not None
    return scores.values


def _peak_memory() -> int | None:
    """Peak resident size of this process in bytes; None on Windows, which has no such count."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the kernel of Linux counts in KiB
