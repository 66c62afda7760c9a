"""The candidates on the choose split, which are baselines and the best trials, and the rule that chooses the winner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.config.file import PolicyKind
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Key, Policy, Setting
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.schedules.flat import distance_to_named
from mdm_tune.search.outcomes import Ended, Ending

__all__ = [
    "Candidate",
    "Study",
    "Trial",
    "best_finalist",
    "candidates_of",
    "chosen_from",
    "reported_of",
    "scores_on_choose",
    "winner_of",
]


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        number: The trial's number within its study, from 0.
        policy: The schedule, or the adaptive plan with its value.
        key: The key of its setting.
        value: Its value on the tune split; if it was dropped, the value that ``carried`` estimates.
        fresh: Whether its counts were scored for the first time.
        cost: Its cost.
        dropped: Whether it was dropped before all examples were scored.
        cut: Whether it was dropped for lack of rows or time, not because it could hardly win.
        examples: The examples that were scored for it; None if values are exact, or if it was not fresh.
        calls: Mean denoiser calls on the scored tune examples; None for a schedule, whose calls are known.
        unreachable: Why the policy cannot make the calls of the budget; None if it can. Its value is then infinite.
    """

    number: int
    policy: Policy
    key: Key
    value: float
    fresh: bool
    cost: Cost
    dropped: bool = False
    cut: bool = False
    examples: int | None = None
    calls: float | None = None
    unreachable: str | None = None


@dataclass(frozen=True)
class Study:
    """The trials of one kind of policy at a budget and block length.

    Attributes:
        evaluator: The evaluator for this block length.
        trials: The finished trials.
        baselines: The baselines by name, including linear; {} for all kinds but the first.
        choose: Computes scores on the choose split without sampling; None to sample.
        ended: Why there are fewer trials than requested; None if there are not.
        kind: The kind of policy that was tried.
    """

    evaluator: Evaluator
    trials: Sequence[Trial]
    baselines: Mapping[str, Schedule]
    choose: Callable[[Setting], Scores] | None = None
    ended: Ended | None = None
    kind: PolicyKind = "counts"

    @property
    def block_length(self) -> int:
        """Positions per block."""
        return self.evaluator.block_length

    @property
    def ending(self) -> Ending | None:
        """Why the trials ended early; None if all requested trials were run."""
        return None if self.ended is None else self.ended.ending


@dataclass(frozen=True)
class Candidate:
    """A baseline or a finalist.

    Attributes:
        policy: The schedule, or the adaptive plan with its value.
        setting: Its setting.
        study: The study to which it belongs.
        name: The name of a baseline; "" for a finalist.
        tuned: A finalist's value on the tune split; None for a baseline.
    """

    policy: Policy
    setting: Setting
    study: Study
    name: str = ""
    tuned: float | None = None


def scores_on_choose(
    candidates: Sequence[Candidate], score: Callable[[Sequence[Setting]], list[Scores]]
) -> list[Scores]:
    """The scores of candidates on the choose split, computed without sampling where their study can.

    Args:
        candidates: The result of ``chosen_from``.
        score: Scores settings on the choose split.
    """
    if not candidates or candidates[0].study.choose is None:
        return score([candidate.setting for candidate in candidates])
    return [candidate.study.choose(candidate.setting) for candidate in candidates if candidate.study.choose is not None]


def winner_of(candidates: Sequence[Candidate], chosen: Sequence[Scores], direction: Direction) -> int:
    """Find the winner: the best baseline or the best finalist, whichever is better on the choose split.

    Args:
        candidates: Baselines first, then finalists.
        chosen: Their scores on the choose split.
        direction: The metric's direction.

    Returns:
        The winner's place among the candidates.
    """
    places = [place for place, candidate in enumerate(candidates) if candidate.tuned is None]
    best = best_finalist(candidates, chosen, direction)
    sign = sign_of(direction)
    return max(
        [*places, *([] if best is None else [best])], key=lambda place: (sign * chosen[place].estimate.value, -place)
    )


def best_finalist(
    candidates: Sequence[Candidate], chosen: Sequence[Scores], direction: Direction, kind: PolicyKind | None = None
) -> int | None:
    """Find the finalist with the best mean over the tune and choose splits.

    The tune split serves here, since it favours all finalists alike. It would favour a finalist against a baseline.

    Args:
        candidates: Baselines and finalists.
        chosen: Their scores on the choose split; () if all candidates have the same counts.
        direction: The metric's direction.
        kind: Only finalists of this kind of policy; None for all.

    Returns:
        The finalist's place among the candidates; None if there is none.
    """
    sign = sign_of(direction)

    def value(place: int) -> float:
        candidate = candidates[place]
        assert candidate.tuned is not None
        if not chosen:
            return sign * candidate.tuned
        on_choose, count = sign * chosen[place].estimate.value, chosen[place].count
        if count is None:
            return on_choose
        tuned = len(candidate.study.evaluator.split("tune").ids) if candidate.study.choose is None else count
        return (tuned * sign * candidate.tuned + count * on_choose) / (tuned + count)

    places = [
        place
        for place, candidate in enumerate(candidates)
        if candidate.tuned is not None and kind in (None, candidate.study.kind)
    ]
    return max(places, key=lambda place: (value(place), -place), default=None)


def reported_of(
    studies: Sequence[Study], candidates: Sequence[Candidate], chosen: Sequence[Scores], direction: Direction
) -> tuple[dict[PolicyKind, Candidate], Candidate]:
    """The candidates that are scored on the report split besides the baselines.

    Args:
        studies: The studies.
        candidates: Baselines first, then finalists.
        chosen: Their scores on the choose split; () if all candidates have the same counts.
        direction: The metric's direction.

    Returns:
        The best of each kind of policy, {} if there is one kind; and the winner.
    """
    won = candidates[winner_of(candidates, chosen, direction) if chosen else 0]
    kinds = [*dict.fromkeys(study.kind for study in studies)]
    if len(kinds) == 1:
        return {}, won
    places = {kind: best_finalist(candidates, chosen, direction, kind) for kind in kinds}
    best = {kind: candidates[place] for kind, place in places.items() if place is not None}
    if "counts" in kinds and "counts" not in best:  # no trial has counts of its own: a hand-made schedule is the best
        named = [place for place, candidate in enumerate(candidates) if candidate.name]
        sign = sign_of(direction)
        by_value = max(named, key=lambda i: (sign * chosen[i].estimate.value, -i)) if chosen else 0
        best["counts"] = candidates[by_value]
    return best, won


def candidates_of(studies: Sequence[Study], steps: int, finalists: int) -> tuple[list[Candidate], list[Candidate]]:
    """The baselines of every block length, and all candidates: the baselines, then the best trials.

    Baselines come first, so that they win against finalists that are no better. Every kind of policy has a finalist,
    even if they are then more than ``finalists``.

    Args:
        studies: The studies of the budget.
        steps: The step budget.
        finalists: Most trials among the candidates.

    Returns:
        The baselines, and all candidates.
    """
    direction = studies[0].evaluator.metric.direction
    named = _baseline_candidates(studies, steps)
    trials = [*_finalist_candidates(studies, steps, {candidate.setting.key for candidate in named}, direction)]
    if not finalists:
        return named, named
    firsts = {candidate.study.kind: place for place, candidate in reversed([*enumerate(trials)])}
    chosen = {*firsts.values()} if len(firsts) > 1 else set[int]()
    for place in range(len(trials)):
        if len(chosen) < finalists:
            chosen.add(place)
    return named, [*named, *(trials[place] for place in sorted(chosen))]


def chosen_from(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates to score on the choose split; [] if all of them have the same counts."""
    return [*candidates] if len({candidate.setting.key for candidate in candidates}) > 1 else []


def _baseline_candidates(studies: Sequence[Study], steps: int) -> list[Candidate]:
    """The baselines of every block length."""
    return [
        Candidate(policy=schedule, setting=study.evaluator.setting(schedule, steps, name), study=study, name=name)
        for study in studies
        for name, schedule in study.baselines.items()
    ]


def _finalist_candidates(
    studies: Sequence[Study], steps: int, known: set[Key], direction: Direction
) -> Iterator[Candidate]:
    """Yield the trials that were scored on all examples, best first, once per key and without the ``known`` keys.

    The sampler cannot tell trials of one key apart. Of these, the schedule nearest to a hand-made one is taken.
    """
    trials = [(trial, study) for study in studies for trial in study.trials if not trial.dropped]
    seen = set(known)
    for trial, study in sorted(trials, key=lambda pair: (-sign_of(direction) * pair[0].value, pair[0].number)):
        if trial.key not in seen:
            seen.add(trial.key)
            same = [other.policy for other in study.trials if other.key == trial.key]
            betas = [policy for policy in same if isinstance(policy, Beta)]
            policy = _nearest_to_named(betas) if betas else trial.policy
            yield Candidate(policy, study.evaluator.setting(policy, steps), study, tuned=trial.value)


def _nearest_to_named(schedules: Sequence[Beta]) -> Beta:
    """The schedule whose a and b are nearest to those of a hand-made one, in log scale; the first of several."""
    return min(schedules, key=lambda schedule: distance_to_named((schedule.a, schedule.b)))
