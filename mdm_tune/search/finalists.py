"""The candidates on the choose split, which are baselines and the best trials, and the rule that chooses the winner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.config.file import PolicyKind
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Key, Policy, Setting
from mdm_tune.schedules.box import distance_to_named
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.search.outcomes import Ended, Ending

__all__ = ["Candidate", "Lineup", "Study", "Trial"]


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        number: The trial's number within its study, from 0.
        policy: The schedule, or the adaptive policy with its value.
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
        policy: The schedule, or the adaptive policy with its value.
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


@dataclass(frozen=True)
class Lineup:
    """The candidates of a budget: the baselines of every block length, then the best trials.

    Baselines come first, so that they win against finalists that are no better.

    Attributes:
        studies: The studies of the budget.
        named: The baselines.
        finalists: The best trials.
    """

    studies: Sequence[Study]
    named: Sequence[Candidate]
    finalists: Sequence[Candidate]

    @classmethod
    def of(cls, studies: Sequence[Study], steps: int, finalists: int) -> Lineup:
        """The candidates of finished studies.

        Every kind of policy has a finalist, even if they are then more than ``finalists``.

        Args:
            studies: The studies of the budget.
            steps: The step budget.
            finalists: Most trials among the candidates.
        """
        named = _baseline_candidates(studies, steps)
        if not finalists:
            return cls(studies, named, [])
        known, direction = {candidate.setting.key for candidate in named}, studies[0].evaluator.metric.direction
        trials = [*_finalist_candidates(studies, steps, known, direction)]
        firsts = {candidate.study.kind: place for place, candidate in reversed([*enumerate(trials)])}
        chosen = {*firsts.values()} if len(firsts) > 1 else set[int]()
        for place in range(len(trials)):
            if len(chosen) < finalists:
                chosen.add(place)
        return cls(studies, named, [trials[place] for place in sorted(chosen)])

    @property
    def candidates(self) -> list[Candidate]:
        """The baselines, then the finalists."""
        return [*self.named, *self.finalists]

    @property
    def compared(self) -> list[Candidate]:
        """The candidates to score on the choose split; [] if all of them have the same counts."""
        candidates = self.candidates
        return candidates if len({candidate.setting.key for candidate in candidates}) > 1 else []

    @property
    def kinds(self) -> list[PolicyKind]:
        """The kinds of policy that were tried."""
        return [*dict.fromkeys(study.kind for study in self.studies)]

    def scores_on_choose(self, score: Callable[[Sequence[Setting]], list[Scores]]) -> list[Scores]:
        """The scores of ``compared`` on the choose split, computed without sampling where their study can.

        Args:
            score: Scores settings on the choose split.
        """
        compared = self.compared
        if not compared or compared[0].study.choose is None:
            return score([candidate.setting for candidate in compared])
        return [
            candidate.study.choose(candidate.setting) for candidate in compared if candidate.study.choose is not None
        ]

    def winner(self, chosen: Sequence[Scores], kind: PolicyKind | None = None) -> Candidate:
        """The best baseline or the best finalist, whichever is better on the choose split.

        Args:
            chosen: The result of ``scores_on_choose``.
            kind: Only finalists of this kind of policy; None for all.
        """
        best = self._best_finalist(chosen, kind)
        if not chosen or best is None:
            return self.best_baseline(chosen)
        places = [*range(len(self.named)), best]
        return self.candidates[max(places, key=lambda place: (self._on_choose(chosen, place), -place))]

    def best_baseline(self, chosen: Sequence[Scores], name: str | None = None) -> Candidate:
        """The baseline that is best on the choose split.

        Args:
            chosen: The result of ``scores_on_choose``.
            name: Only baselines of this name, which differ in their block lengths; None for all.
        """
        places = [place for place, candidate in enumerate(self.named) if name in (None, candidate.name)]
        if not chosen:
            return self.named[places[0]]
        return self.named[max(places, key=lambda place: (self._on_choose(chosen, place), -place))]

    def best_of_kinds(self, chosen: Sequence[Scores]) -> dict[PolicyKind, Candidate]:
        """The best candidate of each kind of policy that has one; {} if one kind was tried.

        That of ``counts`` is the winner among its own finalists and the baselines, which have fixed counts too: what a
        search over counts alone chooses.

        Args:
            chosen: The result of ``scores_on_choose``.
        """
        if len(self.kinds) == 1:
            return {}
        best = dict[PolicyKind, Candidate]()
        for kind in self.kinds:
            place = self._best_finalist(chosen, kind)
            if kind == "counts":
                best[kind] = self.winner(chosen, kind)
            elif place is not None:
                best[kind] = self.candidates[place]
        return best

    def _best_finalist(self, chosen: Sequence[Scores], kind: PolicyKind | None = None) -> int | None:
        """The place of the finalist with the best mean over the tune and choose splits; None if there is none.

        The tune split serves here, since it favours all finalists alike. It would favour a finalist against a baseline.
        """
        candidates = self.candidates

        def value(place: int) -> float:
            candidate = candidates[place]
            assert candidate.tuned is not None
            if not chosen:
                return self._sign * candidate.tuned
            on_choose, count = self._on_choose(chosen, place), chosen[place].count
            if count is None:
                return on_choose
            tuned = len(candidate.study.evaluator.split("tune").ids) if candidate.study.choose is None else count
            return (tuned * self._sign * candidate.tuned + count * on_choose) / (tuned + count)

        finalists = range(len(self.named), len(candidates))
        places = [place for place in finalists if kind in (None, candidates[place].study.kind)]
        return max(places, key=lambda place: (value(place), -place), default=None)

    def _on_choose(self, chosen: Sequence[Scores], place: int) -> float:
        """The value of a candidate on the choose split; larger is better."""
        return self._sign * chosen[place].estimate.value

    @property
    def _sign(self) -> int:
        return sign_of(self.studies[0].evaluator.metric.direction)


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
