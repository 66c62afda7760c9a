"""An honest end of a search: finalists and baselines meet on unseen examples, the winner is reported on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mdm_tune.evaluation import Cost, Evaluator, Scores, Setting, gain, less_diverse
from mdm_tune.schedules import Beta, Schedule
from mdm_tune.statistics import Estimate, detectable_gain

__all__ = ["Budget", "Comparing", "Trial", "confirm"]


@dataclass(frozen=True)
class Trial:
    """A finished trial. key: of its setting. fresh: False where its counts were scored before."""

    number: int
    schedule: Beta
    key: tuple[float, ...]
    value: float
    fresh: bool
    cost: Cost


@dataclass(frozen=True)
class Comparing:
    """A schedule that is about to be scored on the ``choose`` or ``report`` split."""

    use: Literal["choose", "report"]
    setting: Setting
    done: int
    total: int


@dataclass(frozen=True)
class Budget:
    """The outcome of one budget, every value on the report split.

    winner: the schedule that was best on the choose split, of those in chosen_from. gain: over linear, positive is
    better. flags: diversity figures of the winner below linear's interval. beats_linear: the gain's interval excludes
    zero (or the exact gain is positive) and there is no flag. data: the data's own score. detectable: smallest gain
    over linear that the report split shows with 80 % power; None where values are exact or nothing differs from linear.
    """

    steps: int
    schedule: Schedule
    winner: Scores
    baselines: dict[str, Scores]
    gain: Estimate
    beats_linear: bool
    flags: tuple[str, ...]
    chosen_from: tuple[Scores, ...]
    data: Scores | None
    detectable: float | None
    trials: int
    reused: int
    exhausted: bool
    cost: Cost


def confirm(
    evaluator: Evaluator,
    steps: int,
    trials: Sequence[Trial],
    baselines: dict[str, Schedule],
    finalists: int,
    exhausted: bool,
    notify: Callable[[Comparing], None],
    choose: Callable[[Setting], Scores] | None = None,
) -> Budget:
    """The best ``finalists`` trials and the baselines on the choose split, then winner and baselines on the report one.

    baselines: by name, linear among them. exhausted: passed on. choose: a score on the choose split that needs no
    sampling, where there is one.
    """
    sign = 1 if evaluator.metric.direction == "maximize" else -1
    named = {name: evaluator.setting(schedule, steps, name) for name, schedule in baselines.items()}
    named_keys = {setting.key for setting in named.values()}
    distinct: dict[tuple[float, ...], Schedule] = {}
    for trial in sorted(trials, key=lambda trial: (-sign * trial.value, trial.number)):
        if trial.key not in named_keys:  # linear and squared-sine were trials, and are compared anyway
            distinct.setdefault(trial.key, trial.schedule)
    # Baselines first: where a finalist is no better than a schedule with a name, the name wins.
    best_trials = list(distinct.values())[:finalists]
    candidates = [*baselines.values(), *best_trials]
    settings = [*named.values(), *(evaluator.setting(schedule, steps) for schedule in best_trials)]
    cost = sum((trial.cost for trial in trials), Cost())

    def score(settings: Sequence[Setting], use: Literal["choose", "report"]) -> list[Scores]:
        nonlocal cost
        results = []
        for done, setting in enumerate(settings):
            if not evaluator.exact and not evaluator.known(setting, use):
                notify(Comparing(use, setting, done, len(settings)))
            results.append(evaluator.score(setting, use))
            cost += results[-1].cost
        return results

    chosen = score(settings, "choose") if choose is None else [choose(setting) for setting in settings]
    best = max(range(len(candidates)), key=lambda i: (sign * chosen[i].estimate.value, -i))
    winner, *others = score([settings[best], *named.values()], "report")
    reported = dict(zip(named, others, strict=True))
    linear = reported["linear"]
    better, flags = gain(winner, linear, evaluator.metric), less_diverse(winner, linear)
    low = better.value if better.ci is None else better.ci[0]
    return Budget(
        steps,
        candidates[best],
        winner,
        reported,
        better,
        low > 1e-12 and not flags,
        flags,
        tuple(chosen),
        evaluator.data("report"),
        _detectable(linear, [winner, *others]),
        len(trials),
        sum(not trial.fresh for trial in trials),
        exhausted,
        cost,
    )


def _detectable(linear: Scores, others: Sequence[Scores]) -> float | None:
    """From the pairs that were compared: linear and the first schedule with other counts."""
    other = next((scores for scores in others if scores.setting.key != linear.setting.key), None)
    if other is None or other.values is None or linear.values is None:
        return None
    return detectable_gain(float(np.std(other.values - linear.values, ddof=1)), len(linear.values))
