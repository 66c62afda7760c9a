"""Who meets on the choose split, the best trials and the baselines, and who of them wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.evaluator import Cost, Evaluator, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.search.outcomes import Ended, Ending

__all__ = ["BlockSearch", "Candidate", "Trial", "candidates_of", "chosen_from", "winner_of"]


@dataclass(frozen=True)
class Trial:
    """A finished trial. key: of its setting. fresh: False where its counts were scored before.

    dropped: on some of the examples, since it could hardly win; its value is then no mean over all of them. cut:
    dropped for want of rows or time instead.
    """

    number: int
    schedule: Beta
    key: tuple[float, ...]
    value: float
    fresh: bool
    cost: Cost
    dropped: bool = False
    cut: bool = False


@dataclass(frozen=True)
class BlockSearch:
    """What a budget's search in one kind of blocks brings to the comparison.

    evaluator: for these blocks. baselines: by name, linear among them. choose: a score on the choose split that needs
    no sampling, where there is one. ended: why there are fewer trials than were requested.
    """

    evaluator: Evaluator
    trials: Sequence[Trial]
    baselines: Mapping[str, Schedule]
    choose: Callable[[Setting], Scores] | None = None
    ended: Ended | None = None

    @property
    def ending(self) -> Ending | None:
        """Why the trials ended early, without the numbers; None where all that were requested were run."""
        return None if self.ended is None else self.ended.ending


@dataclass(frozen=True)
class Candidate:
    """A baseline or a finalist. name: of a baseline. tuned: a finalist's value on the tune split."""

    schedule: Schedule
    setting: Setting
    side: BlockSearch
    name: str = ""
    tuned: float | None = None


def winner_of(candidates: Sequence[Candidate], chosen: Sequence[Scores], direction: Direction) -> int:
    """The place of the best baseline or of the best finalist, whichever is better on the choose split.

    Finalists are told apart by all examples that they were scored on: the tune split's are no worse than the choose
    split's for that, since all of them were selected there. Against a baseline they would be too good.
    """
    sign = sign_of(direction)

    def on_choose(place: int) -> float:
        return sign * chosen[place].estimate.value

    def on_both(place: int) -> float:
        one, scores = candidates[place], chosen[place]
        if one.tuned is None or scores.count is None:
            return on_choose(place)
        tuned = len(one.side.evaluator.split("tune").ids) if one.side.choose is None else scores.count
        return (tuned * sign * one.tuned + scores.count * on_choose(place)) / (tuned + scores.count)

    places = [place for place, each in enumerate(candidates) if each.tuned is None]
    if len(places) < len(candidates):
        places.append(max(range(len(places), len(candidates)), key=lambda place: (on_both(place), -place)))
    return max(places, key=lambda place: (on_choose(place), -place))


def candidates_of(sides: Sequence[BlockSearch], steps: int, finalists: int) -> tuple[list[Candidate], list[Candidate]]:
    """The baselines of every side, and these with the best ``finalists`` trials.

    Baselines come first: where a finalist is no better than a schedule with a name, the name wins.
    """
    direction = sides[0].evaluator.metric.direction
    named = _named_of(sides, steps)
    best = _finalists_of(sides, steps, {each.setting.key for each in named}, direction)
    return named, [*named, *islice(best, finalists)]


def chosen_from(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that meet on the choose split; none where all of them have the same counts."""
    return [*candidates] if len({each.setting.key for each in candidates}) > 1 else []


def _named_of(sides: Sequence[BlockSearch], steps: int) -> list[Candidate]:
    """The baselines of every side."""
    return [
        Candidate(schedule=schedule, setting=side.evaluator.setting(schedule, steps, name), side=side, name=name)
        for side in sides
        for name, schedule in side.baselines.items()
    ]


def _finalists_of(
    sides: Sequence[BlockSearch], steps: int, known: set[tuple[float, ...]], direction: Direction
) -> Iterator[Candidate]:
    """The trials that were scored on all examples and have counts of their own, best first."""
    trials = [(trial, side) for side in sides for trial in side.trials if not trial.dropped]
    seen = set(known)  # linear and squared-sine are compared anyway
    for trial, side in sorted(trials, key=lambda pair: (-sign_of(direction) * pair[0].value, pair[0].number)):
        if trial.key not in seen:
            seen.add(trial.key)
            setting = side.evaluator.setting(trial.schedule, steps)
            yield Candidate(trial.schedule, setting, side, tuned=trial.value)
