"""An honest end of a search: finalists and baselines meet on unseen examples, the winner is reported on others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from mdm_tune.core.statistics import grouped
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.evaluator import Cost, Evaluator, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.schedules.curves import Linear, Schedule
from mdm_tune.search.claims import Diversity, Gain, diversity_of, gain_of, outcome_of
from mdm_tune.search.finalists import BlockSearch, Trial, candidates_of, chosen_from, winner_of
from mdm_tune.search.outcomes import Ended, Ending, Outcome
from mdm_tune.search.power import detectable

__all__ = [
    "Budget",
    "Loser",
    "Trial",
    "confirm",
]

Score = Callable[[Sequence[Setting], Use], list[Scores]]


@dataclass(frozen=True)
class Loser:
    """The schedule that was chosen, where the report split shows it to be worse than linear.

    gain: over the linear that is returned in its place.
    """

    schedule: Schedule
    scores: Scores
    gain: Gain


@dataclass(frozen=True)
class Budget:
    """The outcome of one budget, every value on the report split.

    winner: what the search returns, the schedule that was chosen among those in chosen_from, which is empty where all
    have the same counts; linear in its place where that one is a ``loser``. baselines: by name in the
    kind of blocks in which linear was best there too, in others with these in the name. gain: of the winner over that
    linear. gain_over_first: over linear in the first kind of blocks, where that is another. claims: budgets of the
    search, by which the gain's interval is corrected. diversity: beside reference, linear at many steps, and the data;
    None where the metric has no such figures. data: the data's own score. detectable: smallest gain over linear that
    the report split shows with 80 % power, corrected likewise; infinite where it can show none, and None where values
    are exact or nothing differs from linear. trials: finished ones, among them reused, dropped and cut. ended: why
    fewer than were requested; exhausted: because no counts are left. cost: of the budget, pilot and tuning (the trials)
    included. codes: of the warnings that concern the winner at this budget. alike: other schedules with its plan.
    """

    steps: int
    schedule: Schedule
    winner: Scores
    baselines: dict[str, Scores]
    gain: Gain
    gain_over_first: Gain | None
    claims: int
    diversity: Diversity | None
    reference: Setting | None
    chosen_from: tuple[Scores, ...]
    data: Scores | None
    detectable: float | None
    trials: int
    reused: int
    dropped: int
    cut: int
    ended: Ended | None
    exhausted: bool
    tuning: Cost
    cost: Cost
    pilot: Cost = field(default_factory=Cost)
    loser: Loser | None = None
    codes: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()

    @property
    def judged(self) -> Gain:
        """The gain of the schedule that was chosen on the choose split, whether it is returned or not.

        Its interval is as good as it says over all searches; that of the returned schedule's gain alone is not, since
        the report split has taken part in the choice.
        """
        return self.gain if self.loser is None else self.loser.gain

    @property
    def reported(self) -> tuple[Scores, ...]:
        """All scores on the report split."""
        return (*self.baselines.values(), self.winner, *(() if self.loser is None else (self.loser.scores,)))

    @property
    def flags(self) -> tuple[str, ...]:
        """What to know before the gain is believed: ``less-diverse:FIGURE`` and the like, and codes."""
        return (*self.codes, *(() if self.diversity is None else self.diversity.flags))

    @property
    def beats_linear(self) -> bool:
        """Whether the winner may be called better than linear."""
        return self.outcome is Outcome.BETTER

    @property
    def outcome(self) -> Outcome:
        """What the comparison with linear shows."""
        blocked = self.diversity is not None and self.diversity.blocks
        return outcome_of(self.gain, lost=self.loser is not None, blocked=blocked)


def confirm(
    sides: Sequence[BlockSearch],
    steps: int,
    finalists: int,
    score: Score,
    *,
    claims: int = 1,
    reference: Scores | None = None,
    diversity_loss: float = 0.05,
) -> Budget:
    """The best ``finalists`` trials and the baselines on the choose split, then winner and baselines on the report one.

    Who wins: see ``winner_of``. sides: one for each kind of blocks; the winner is compared with the linear that was
    best on the choose split, so that what better blocks bring is not called the schedule's. score(settings, split):
    their scores, at no cost where they were known. claims: budgets of the search. reference: linear at many steps on
    the first report examples. diversity_loss: the share of a diversity figure that the winner may lose.
    """
    evaluator = sides[0].evaluator
    direction = evaluator.metric.direction
    sign = sign_of(direction)
    named, candidates = candidates_of(sides, steps, finalists)
    meeting, chosen = chosen_from(candidates), list[Scores]()
    if sides[0].choose is None:
        chosen = score([each.setting for each in meeting], "choose")
    else:
        chosen = [each.side.choose(each.setting) for each in meeting if each.side.choose is not None]

    def best(places: Iterable[int]) -> int:
        return max(places, key=lambda i: (sign * chosen[i].estimate.value, -i)) if chosen else min(places)

    won = candidates[winner_of(candidates, chosen, direction) if chosen else 0]
    against = named[best(i for i, each in enumerate(named) if each.name == "linear")].side
    *others, scored = score([*(each.setting for each in named), won.setting], "report")
    linears = [scores for each, scores in zip(named, others, strict=True) if each.name == "linear"]  # of each side
    winner, place = _returned(scored, linears, sides.index(against), direction, claims)
    against = sides[place]
    names = [each.name if each.side is against else each.setting.label for each in named]
    reported = dict(zip(names, others, strict=True))
    linear, data = reported["linear"], evaluator.data("report")
    first = None if against is sides[0] else linears[0]
    lost = winner is not scored
    trials = [trial for side in sides for trial in side.trials]
    tuning = sum((trial.cost for trial in trials), Cost())
    return Budget(
        steps=steps,
        schedule=Linear() if lost else won.schedule,
        winner=winner,
        baselines=reported,
        gain=gain_of(winner, linear, direction, claims),
        gain_over_first=None if first is None else gain_of(winner, first, direction, claims),
        claims=claims,
        diversity=_diversity(evaluator, winner, linear, reference, data, diversity_loss),
        reference=None if reference is None else reference.setting,
        chosen_from=tuple(chosen),
        data=data,
        detectable=_detectable(linear, [scored, *others], claims),
        trials=len(trials),
        reused=sum(not trial.fresh for trial in trials),
        dropped=sum(trial.dropped and not trial.cut for trial in trials),
        cut=sum(trial.cut for trial in trials),
        ended=_ended(sides),
        exhausted=all(side.ending in (Ending.EXHAUSTED, Ending.NOTHING_TO_TUNE) for side in sides),
        tuning=tuning,
        cost=sum((scores.cost for scores in (*chosen, scored, *others)), tuning),
        alike=_alike(winner.setting, Linear() if lost else won.schedule, sides),
        loser=Loser(won.schedule, scored, gain_of(scored, linear, direction, claims)) if lost else None,
    )


def _alike(winner: Setting, schedule: Schedule, sides: Sequence[BlockSearch]) -> tuple[str, ...]:
    """The other schedules, baselines and trials, whose plan is the winner's: of those the named one is reported."""
    found = set()
    for side in sides:
        named = {
            name: side.evaluator.setting(each, winner.steps).key
            for name, each in side.baselines.items()
            if each != schedule
        }
        tried = {trial.schedule.name: trial.key for trial in side.trials if trial.schedule != schedule}
        found |= {name for name, key in (tried | named).items() if key == winner.key}
    return tuple(sorted(found))


def _returned(
    winner: Scores, linears: Sequence[Scores], best: int, direction: Direction, claims: int
) -> tuple[Scores, int]:
    """What a search hands out and the place of the linear that it is compared with: linear for what is shown to lose.

    linears: of every kind of blocks. best: of which the winner is compared with. What is worse than the first of them,
    which the user would have without a search, is not handed out either.
    """
    if gain_of(winner, linears[best], direction, claims).loss:
        winner = linears[best]
    if best and gain_of(winner, linears[0], direction, claims).loss:
        return linears[0], 0
    return winner, best


def _ended(sides: Sequence[BlockSearch]) -> Ended | None:
    """Why trials ended, of each kind of blocks where the reasons differ."""
    reasons = {side.ended for side in sides}
    if len(reasons) == 1:
        return reasons.pop()
    told = [(side.evaluator.labelled("trials", side.evaluator.block_length), side.ended) for side in sides]
    return Ended(Ending.BY_BLOCKS, "; ".join(f"{what}: {why.text}" for what, why in told if why is not None))


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
    return diversity_of(figures, count, threshold, split.shared) if figures.get("winner") else None


def _detectable(linear: Scores, others: Sequence[Scores], claims: int) -> float | None:
    """From the pairs that were compared: linear and the first schedule with other counts.

    None where their differences are all equal: such a split says nothing of what it can show.
    """
    other = next((scores for scores in others if scores.setting.key != linear.setting.key), None)
    if other is None or other.values is None or linear.values is None:
        return None
    found = detectable(linear, other, len(grouped(linear.values, linear.groups)), claims)
    return None if found is None else found.gain
