"""Policies compared with linear on the report split: the winner, and the best of each kind of policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mdm_tune.config.file import PolicyKind
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.scores import Scores
from mdm_tune.evaluation.settings import Policy
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.schedules.equal_cost import CallRatio, equal_cost
from mdm_tune.search.finalists import Candidate, Study
from mdm_tune.search.gains import Diversity, Gain, calls_interval, diversity_of, gain_of, outcome_of
from mdm_tune.search.outcomes import Outcome

__all__ = ["Compared", "Comparer", "PolicyOutcome", "compared_diversity", "outcomes_of_kinds"]


@dataclass(frozen=True)
class Compared:
    """A policy compared with linear on the report split.

    Attributes:
        policy: The policy.
        scores: Its scores.
        gain: Its gain over linear, corrected for all budgets and kinds.
        calls: Its calls, compared with linear's.
        diversity: Its diversity compared with the reference and the data; None if the metric has no figures.
    """

    policy: Policy
    scores: Scores
    gain: Gain
    calls: CallRatio
    diversity: Diversity | None

    @property
    def beats_linear(self) -> bool:
        """Whether the claim that it is better than linear is permitted."""
        blocked = self.diversity is not None and self.diversity.blocks
        return outcome_of(self.gain, lost=False, blocked=blocked, more_calls=self.calls.more) is Outcome.BETTER

    @property
    def flags(self) -> tuple[str, ...]:
        """The warnings about the gain, as those of a budget."""
        flag = self.calls.flag
        return (*(() if flag is None else (flag,)), *(() if self.diversity is None else self.diversity.flags))


@dataclass(frozen=True)
class Comparer:
    """Compares scores on the report split with those of linear.

    Attributes:
        evaluator: The evaluator.
        linear: The scores of linear.
        claims: Claims of the search, for which gains are corrected.
        reference: Linear at many steps on the first report examples; None if there is none.
        data: The scores of the references of the data; None if the metric cannot score them.
        diversity_loss: The share of a diversity figure that may be lost.
    """

    evaluator: Evaluator
    linear: Scores
    claims: int
    reference: Scores | None
    data: Scores | None
    diversity_loss: float

    def gain(self, scores: Scores) -> Gain:
        """The gain over linear."""
        return gain_of(scores, self.linear, self.evaluator.metric.direction, self.claims)

    def diversity(self, scores: Scores) -> Diversity | None:
        """The diversity of the samples, see ``compared_diversity``."""
        return compared_diversity(self.evaluator, scores, self.linear, self.reference, self.data, self.diversity_loss)

    def compared(self, policy: Policy, scores: Scores) -> Compared:
        """A policy with these scores, compared with linear."""
        return Compared(
            policy=policy,
            scores=scores,
            gain=self.gain(scores),
            calls=equal_cost(scores.nfe, self.linear.nfe, calls_interval(scores, self.linear)),
            diversity=self.diversity(scores),
        )


def compared_diversity(
    evaluator: Evaluator,
    winner: Scores,
    linear: Scores,
    reference: Scores | None,
    data: Scores | None,
    threshold: float,
) -> Diversity | None:
    """Compare diversity figures on the examples of the reference, since figures depend on the number of samples."""
    metric = evaluator.metric
    if isinstance(metric, ExactMetric) or winner.count is None:
        return None
    count = winner.count if reference is None or reference.count is None else min(winner.count, reference.count)
    split = evaluator.split("report").first(count)
    drawn = {"winner": winner, "linear": linear, "reference": reference, "data": data}
    figures = {
        source: metric.diversity(scores.tokens[:count], split)
        for source, scores in drawn.items()
        if scores is not None and scores.tokens is not None
    }
    return diversity_of(figures, count, threshold, split.shared) if figures.get("winner") else None


@dataclass(frozen=True)
class PolicyOutcome:
    """The best of one kind of policy at a budget.

    Attributes:
        kind: The kind.
        best: The best of this kind, see ``Lineup.best_of_kinds``; None if there is none. Linear stands in for counts
            that the report split shows to be worse.
        trials: Finished trials of this kind.
        why: Why there is none; None if there is one.
    """

    kind: PolicyKind
    best: Compared | None
    trials: int
    why: str | None = None


def outcomes_of_kinds(
    studies: Sequence[Study], best: Mapping[PolicyKind, tuple[Candidate, Scores]], comparer: Comparer
) -> tuple[PolicyOutcome, ...]:
    """The outcomes of all kinds of policy; () if there is one kind.

    Args:
        studies: The studies.
        best: The best candidate of each kind that has one, with its scores on the report split.
        comparer: Compares scores with those of linear.
    """
    kinds = [*dict.fromkeys(study.kind for study in studies)]
    if len(kinds) == 1:
        return ()
    outcomes = []
    for kind in kinds:
        trials = [trial for study in studies if study.kind == kind for trial in study.trials]
        if kind in best:
            candidate, scores = best[kind]
            outcomes.append(
                PolicyOutcome(kind=kind, best=comparer.compared(candidate.policy, scores), trials=len(trials))
            )
            continue
        reasons = dict.fromkeys(trial.unreachable for trial in trials if trial.unreachable is not None)
        why = "; ".join(reasons) or "no trial was scored on all tune examples"
        same = any(not trial.dropped for trial in trials)
        why = "all trials have the same value, so that none was compared" if same else why
        outcomes.append(PolicyOutcome(kind=kind, best=None, trials=len(trials), why=why))
    return tuple(outcomes)
