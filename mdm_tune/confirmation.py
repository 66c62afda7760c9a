"""An honest end of a search: finalists and baselines meet on unseen examples, the winner is reported on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from mdm_tune.claims import Diversity, Gain, NoWorse, diversity_of, gain_of, no_worse
from mdm_tune.datasets import Use
from mdm_tune.evaluation import Cost, Evaluator, Scores
from mdm_tune.metrics import Direction, ExactMetric
from mdm_tune.schedules import Beta, Schedule
from mdm_tune.settings import Setting
from mdm_tune.statistics import corrected, detectable_gain

__all__ = ["EXHAUSTED", "Budget", "Comparing", "Frontier", "Pair", "Trial", "confirm", "frontier_of"]

EXHAUSTED = "every count vector that a scan of the box finds was scored"

Score = Callable[[Sequence[Setting], Use], list[Scores]]


@dataclass(frozen=True)
class Trial:
    """A finished trial. key: of its setting. fresh: False where its counts were scored before.

    dropped: on some of the examples, since it could hardly win; its value is then no mean over all of them.
    """

    number: int
    schedule: Beta
    key: tuple[float, ...]
    value: float
    fresh: bool
    cost: Cost
    dropped: bool = False


@dataclass(frozen=True)
class Comparing:
    """A schedule that is about to be scored on the ``choose`` or ``report`` split."""

    use: Use
    setting: Setting
    done: int
    total: int


@dataclass(frozen=True)
class Budget:
    """The outcome of one budget, every value on the report split.

    winner: the schedule that was best on the choose split, of those in chosen_from. gain: over linear. claims: budgets
    of the search, by which the gain's interval is corrected. diversity: beside reference, linear at many steps, and the
    data; None where the metric has no such figures. data: the data's own score. detectable: smallest gain over linear
    that the report split shows with 80 % power, corrected likewise; None where values are exact or nothing differs from
    linear. trials: finished ones, among them reused and dropped. ended: why there are fewer than were asked for. cost:
    of the budget, pilot and tuning (the trials) included.
    """

    steps: int
    schedule: Schedule
    winner: Scores
    baselines: dict[str, Scores]
    gain: Gain
    claims: int
    diversity: Diversity | None
    reference: Setting | None
    chosen_from: tuple[Scores, ...]
    data: Scores | None
    detectable: float | None
    trials: int
    reused: int
    dropped: int
    ended: str | None
    tuning: Cost
    cost: Cost
    pilot: Cost = field(default_factory=Cost)

    @property
    def flags(self) -> tuple[str, ...]:
        """What to know before the gain is believed: ``less-diverse:FIGURE``, ``less-diverse-than-data:FIGURE``."""
        return () if self.diversity is None else self.diversity.flags

    @property
    def beats_linear(self) -> bool:
        """Whether the winner may be called better than linear."""
        return self.gain.shown and not (self.diversity is not None and self.diversity.blocks)


def confirm(
    evaluator: Evaluator,
    steps: int,
    trials: Sequence[Trial],
    baselines: dict[str, Schedule],
    finalists: int,
    score: Score,
    *,
    claims: int = 1,
    reference: Scores | None = None,
    diversity_loss: float = 0.05,
    choose: Callable[[Setting], Scores] | None = None,
    ended: str | None = None,
) -> Budget:
    """The best ``finalists`` trials and the baselines on the choose split, then winner and baselines on the report one.

    baselines: by name, linear among them. score(settings, split): their scores, at no cost where they were known.
    claims: budgets of the search. reference: linear at many steps on the first report examples. diversity_loss: the
    share of a diversity figure that the winner may lose. choose: a score on the choose split that needs no sampling,
    where there is one. ended: passed on.
    """
    sign = 1 if evaluator.metric.direction == "maximize" else -1
    named = {name: evaluator.setting(schedule, steps, name) for name, schedule in baselines.items()}
    named_keys = {setting.key for setting in named.values()}
    distinct: dict[tuple[float, ...], Schedule] = {}
    for trial in sorted(trials, key=lambda trial: (-sign * trial.value, trial.number)):
        if trial.key not in named_keys and not trial.dropped:  # linear and squared-sine are compared anyway
            distinct.setdefault(trial.key, trial.schedule)
    # Baselines first: where a finalist is no better than a schedule with a name, the name wins.
    best_trials = list(distinct.values())[:finalists]
    candidates = [*baselines.values(), *best_trials]
    settings = [*named.values(), *(evaluator.setting(schedule, steps) for schedule in best_trials)]
    chosen = score(settings, "choose") if choose is None else [choose(setting) for setting in settings]
    best = max(range(len(candidates)), key=lambda i: (sign * chosen[i].estimate.value, -i))
    winner, *others = score([settings[best], *named.values()], "report")
    reported = dict(zip(named, others, strict=True))
    linear, data = reported["linear"], evaluator.data("report")
    tuning = sum((trial.cost for trial in trials), Cost())
    return Budget(
        steps,
        candidates[best],
        winner,
        reported,
        gain_of(winner, linear, evaluator.metric.direction, claims),
        claims,
        _diversity(evaluator, winner, linear, reference, data, diversity_loss),
        None if reference is None else reference.setting,
        tuple(chosen),
        data,
        _detectable(linear, [winner, *others], claims),
        len(trials),
        sum(not trial.fresh for trial in trials),
        sum(trial.dropped for trial in trials),
        ended,
        tuning,
        sum((scores.cost for scores in (*chosen, winner, *others)), tuning),
    )


def _diversity(
    evaluator: Evaluator,
    winner: Scores,
    linear: Scores,
    reference: Scores | None,
    data: Scores | None,
    threshold: float,
) -> Diversity | None:
    """All figures on the examples that the reference has, since they depend on the number of samples."""
    metric = evaluator.metric
    if isinstance(metric, ExactMetric) or winner.count is None:
        return None
    count = winner.count if reference is None or reference.count is None else min(winner.count, reference.count)
    split = evaluator.split("report").first(count)
    drawn = {"winner": winner, "linear": linear, "reference": reference, "data": data}
    figures = {
        who: metric.diversity(scores.tokens[:count], split)
        for who, scores in drawn.items()
        if scores is not None and scores.tokens is not None
    }
    return diversity_of(figures, count, threshold) if figures.get("winner") else None


def _detectable(linear: Scores, others: Sequence[Scores], claims: int) -> float | None:
    """From the pairs that were compared: linear and the first schedule with other counts."""
    other = next((scores for scores in others if scores.setting.key != linear.setting.key), None)
    if other is None or other.values is None or linear.values is None:
        return None
    return detectable_gain(float(np.std(other.values - linear.values, ddof=1)), len(linear.values), corrected(claims))


@dataclass(frozen=True)
class Pair:
    """A budget's winner beside linear at a larger budget.

    ratio: how many times fewer denoiser calls. found: whether the winner is no worse. linear_too: whether linear at the
    winner's own budget is none the worse either, so that the saving is not the schedule's.
    """

    budget: Budget
    larger: Budget
    found: NoWorse
    linear_too: bool

    @property
    def ratio(self) -> float:
        return self.larger.baselines["linear"].nfe / self.budget.winner.nfe


@dataclass(frozen=True)
class Frontier:
    """Quality against denoiser calls over the budgets of a search.

    margin: the share of |linear's value| that counts as no loss. confidence: of each pair's one-sided bound, so that
    all of them hold together at 95 %. pairs: by budget, then by linear's.
    """

    margin: float
    confidence: float
    pairs: tuple[Pair, ...]

    @property
    def headline(self) -> Pair | None:
        """The pair that saves most calls, of those that hold; None where none does."""
        return max((pair for pair in self.pairs if pair.found.holds), key=lambda pair: pair.ratio, default=None)


def frontier_of(budgets: Sequence[Budget], direction: Direction, margin: float) -> Frontier:
    """Which winner is no worse than linear at which larger budget, on the same report examples with the same noise.

    Every winner is tested against linear at each budget with more denoiser calls (non-inferiority), each test at the
    one-sided level 0.05 / number of tests (Bonferroni), so that any of them holds wrongly in 5 % of searches at most.
    """
    pairs = [
        (one, two)
        for one, two in combinations(sorted(budgets, key=lambda budget: budget.steps), 2)
        if two.baselines["linear"].nfe > one.winner.nfe
    ]
    confidence = corrected(max(1, len(pairs)))

    def test(scores: Scores, larger: Budget) -> NoWorse:
        return no_worse(scores, larger.baselines["linear"], direction, margin, 1 - confidence)

    found = [Pair(one, two, test(one.winner, two), test(one.baselines["linear"], two).holds) for one, two in pairs]
    return Frontier(margin, confidence, tuple(found))
