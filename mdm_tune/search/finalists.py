"""The candidates on the choose split, which are baselines and the best trials, and the rule that chooses the winner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.evaluator import Cost, Evaluator, Scores
from mdm_tune.evaluation.settings import Key, Setting
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.schedules.flat import distance_to_named
from mdm_tune.search.outcomes import Ended, Ending

__all__ = ["BlockSearch", "Candidate", "Trial", "candidates_of", "chosen_from", "scores_on_choose", "winner_of"]


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        number: The trial's number within its budget, from 0.
        schedule: The schedule.
        key: The key of its setting.
        value: Its value on the tune split; if it was dropped, the value that ``carried`` estimates.
        fresh: Whether its counts were scored for the first time.
        cost: Its cost.
        dropped: Whether it was dropped before all examples were scored.
        cut: Whether it was dropped for lack of rows or time, not because it could hardly win.
        examples: The examples that were scored for it; None if values are exact, or if it was not fresh.
    """

    number: int
    schedule: Beta
    key: Key
    value: float
    fresh: bool
    cost: Cost
    dropped: bool = False
    cut: bool = False
    examples: int | None = None


@dataclass(frozen=True)
class BlockSearch:
    """The result of a budget's trials in one block length.

    Attributes:
        evaluator: The evaluator for this block length.
        trials: The finished trials.
        baselines: The baselines by name, including linear.
        choose: Computes scores on the choose split without sampling; None to sample.
        ended: Why there are fewer trials than requested; None if there are not.
    """

    evaluator: Evaluator
    trials: Sequence[Trial]
    baselines: Mapping[str, Schedule]
    choose: Callable[[Setting], Scores] | None = None
    ended: Ended | None = None

    @property
    def ending(self) -> Ending | None:
        """Why the trials ended early; None if all requested trials were run."""
        return None if self.ended is None else self.ended.ending


@dataclass(frozen=True)
class Candidate:
    """A baseline or a finalist.

    Attributes:
        schedule: The schedule.
        setting: Its setting.
        side: The search in its block length.
        name: The name of a baseline; "" for a finalist.
        tuned: A finalist's value on the tune split; None for a baseline.
    """

    schedule: Schedule
    setting: Setting
    side: BlockSearch
    name: str = ""
    tuned: float | None = None


def scores_on_choose(
    candidates: Sequence[Candidate], score: Callable[[Sequence[Setting]], list[Scores]]
) -> list[Scores]:
    """The scores of candidates on the choose split, computed without sampling where their side can.

    Args:
        candidates: The result of ``chosen_from``.
        score: Scores settings on the choose split.
    """
    if not candidates or candidates[0].side.choose is None:
        return score([candidate.setting for candidate in candidates])
    return [candidate.side.choose(candidate.setting) for candidate in candidates if candidate.side.choose is not None]


def winner_of(candidates: Sequence[Candidate], chosen: Sequence[Scores], direction: Direction) -> int:
    """Find the winner: the best baseline or the best finalist, whichever is better on the choose split.

    The best finalist is the one with the best mean over the tune and choose splits. The tune split serves here, since
    it favours all finalists alike. It would favour a finalist against a baseline.

    Args:
        candidates: Baselines first, then finalists.
        chosen: Their scores on the choose split.
        direction: The metric's direction.

    Returns:
        The winner's place among the candidates.
    """
    sign = sign_of(direction)

    def on_choose(place: int) -> float:
        return sign * chosen[place].estimate.value

    def on_both(place: int) -> float:
        candidate, scores = candidates[place], chosen[place]
        if candidate.tuned is None or scores.count is None:
            return on_choose(place)
        tuned = len(candidate.side.evaluator.split("tune").ids) if candidate.side.choose is None else scores.count
        return (tuned * sign * candidate.tuned + scores.count * on_choose(place)) / (tuned + scores.count)

    places = [place for place, candidate in enumerate(candidates) if candidate.tuned is None]
    if len(places) < len(candidates):
        places.append(max(range(len(places), len(candidates)), key=lambda place: (on_both(place), -place)))
    return max(places, key=lambda place: (on_choose(place), -place))


def candidates_of(sides: Sequence[BlockSearch], steps: int, finalists: int) -> tuple[list[Candidate], list[Candidate]]:
    """The baselines of every block length, and all candidates: the baselines, then the best trials.

    Baselines come first, so that they win against finalists that are no better.

    Args:
        sides: The search in each block length.
        steps: The step budget.
        finalists: Most trials among the candidates.

    Returns:
        The baselines, and all candidates.
    """
    direction = sides[0].evaluator.metric.direction
    named = _baseline_candidates(sides, steps)
    finalist_candidates = _finalist_candidates(sides, steps, {candidate.setting.key for candidate in named}, direction)
    return named, [*named, *islice(finalist_candidates, finalists)]


def chosen_from(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates to score on the choose split; [] if all of them have the same counts."""
    return [*candidates] if len({candidate.setting.key for candidate in candidates}) > 1 else []


def _baseline_candidates(sides: Sequence[BlockSearch], steps: int) -> list[Candidate]:
    """The baselines of every block length."""
    return [
        Candidate(schedule=schedule, setting=side.evaluator.setting(schedule, steps, name), side=side, name=name)
        for side in sides
        for name, schedule in side.baselines.items()
    ]


def _finalist_candidates(
    sides: Sequence[BlockSearch], steps: int, known: set[Key], direction: Direction
) -> Iterator[Candidate]:
    """Yield the trials that were scored on all examples, best first, once per key and without the ``known`` keys.

    The sampler cannot tell trials of one key apart. Of these, the schedule nearest to a hand-made one is taken.
    """
    trials = [(trial, side) for side in sides for trial in side.trials if not trial.dropped]
    seen = set(known)
    for trial, side in sorted(trials, key=lambda pair: (-sign_of(direction) * pair[0].value, pair[0].number)):
        if trial.key not in seen:
            seen.add(trial.key)
            schedule = _nearest_to_named([other.schedule for other in side.trials if other.key == trial.key])
            yield Candidate(schedule, side.evaluator.setting(schedule, steps), side, tuned=trial.value)


def _nearest_to_named(schedules: Sequence[Beta]) -> Beta:
    """The schedule whose a and b are nearest to those of a hand-made one, in log scale; the first of several."""
    return min(schedules, key=lambda schedule: distance_to_named((schedule.a, schedule.b)))
