"""The end of a search: finalists and baselines are compared on unseen examples, the winner is reported on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mdm_tune.core.statistics import grouped
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Policy, Setting
from mdm_tune.schedules.curves import Linear
from mdm_tune.schedules.equal_cost import CallRatio, equal_cost
from mdm_tune.search.comparing import Comparer, PolicyOutcome, outcomes_of_kinds
from mdm_tune.search.finalists import Candidate, Lineup, Study
from mdm_tune.search.gains import Diversity, Gain, calls_interval, gain_of, outcome_of
from mdm_tune.search.outcomes import Ended, Ending, Outcome
from mdm_tune.search.power import detectable
from mdm_tune.search.stand_ins import StandIns

__all__ = ["Budget", "Loser", "confirm"]

Score = Callable[[Sequence[Setting], Use], list[Scores]]
Measured = tuple[Candidate, Scores]  # a candidate with its scores on the report split


@dataclass(frozen=True)
class Loser:
    """The chosen policy, if the report split shows that it is worse than linear.

    Attributes:
        policy: The policy.
        scores: Its scores on the report split.
        gain: Its gain over the linear that is returned in its place.
    """

    policy: Policy
    scores: Scores
    gain: Gain


@dataclass(frozen=True)
class Budget:
    """The outcome of one budget. All values are on the report split, except those of ``chosen_from``.

    Attributes:
        steps: The step budget.
        policy: The policy that the search returns.
        winner: Its scores: those of the policy chosen on the choose split, or linear if that one is a ``loser``.
        baselines: Scores by name. The name has no block length in the blocks in which linear was best on the choose
            split; in other blocks it has.
        gain: The winner's gain over the best linear.
        gain_over_first: Its gain over linear in the first block length; None if that is the best linear.
        claims: Budgets of the search times kinds of policy, for which the gain's interval is corrected.
        diversity: The diversity compared with the reference and the data; None if the metric has no figures.
        reference: Linear at many steps; None if there is no reference.
        chosen_from: Scores of the candidates on the choose split; () if all have the same counts.
        data: The scores of the references of the data; None if the metric cannot score them.
        detectable: The smallest gain over linear that the report split shows with 80 % power, corrected as ``gain``;
            infinite if it can show none; None if values are exact or nothing differs from linear.
        trials: Finished trials.
        reused: Those of them whose counts were scored before.
        dropped: Those that were dropped since they could hardly win.
        cut: Those that were dropped for lack of rows or time.
        ended: Why there are fewer trials than requested; None if there are not.
        exhausted: Whether no counts were left to score.
        tuning: The cost of the trials.
        cost: The cost of the budget, with trials and pilot.
        pilot: The cost of the pilot.
        loser: The chosen policy if it is worse than linear; otherwise None.
        codes: Codes of the warnings about the winner at this budget.
        alike: Names of other policies with the winner's counts or alphas.
        studies: The studies of the budget, with their finished trials.
        stand_ins: What may stand in for the winner; None until it is known.
        policies: The best of each kind of policy; () if there is one kind.
        unreachable: The policies of further trials, each with the reason why it cannot make the calls of the budget.
    """

    steps: int
    policy: Policy
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
    studies: tuple[Study, ...] = ()
    stand_ins: StandIns | None = None
    policies: tuple[PolicyOutcome, ...] = ()
    unreachable: tuple[str, ...] = ()

    @property
    def judged(self) -> Gain:
        """The gain of the policy chosen on the choose split, whether it is returned or not.

        Over all searches this interval has its nominal coverage. The interval of the returned policy's gain has not,
        since the report split takes part in the choice of what is returned.
        """
        return self.gain if self.loser is None else self.loser.gain

    @property
    def reported(self) -> tuple[Scores, ...]:
        """All scores on the report split."""
        best = [outcome.best.scores for outcome in self.policies if outcome.best is not None]
        return (*self.baselines.values(), *best, self.winner, *(() if self.loser is None else (self.loser.scores,)))

    @property
    def flags(self) -> tuple[str, ...]:
        """The warnings about the gain: codes, and flags of diversity such as ``less-diverse:FIGURE``."""
        flag = self.call_ratio.flag
        own = self.codes if flag is None else (*self.codes, flag)
        return (*own, *(() if self.diversity is None else self.diversity.flags))

    @property
    def call_ratio(self) -> CallRatio:
        """The winner's calls on the report split, compared with those of linear."""
        linear = self.baselines["linear"]
        return equal_cost(self.winner.nfe, linear.nfe, calls_interval(self.winner, linear))

    @property
    def beats_linear(self) -> bool:
        """Whether the claim that the winner is better than linear is permitted."""
        return self.outcome is Outcome.BETTER

    @property
    def outcome(self) -> Outcome:
        """What the comparison with linear shows."""
        blocked = self.diversity is not None and self.diversity.blocks
        return outcome_of(self.gain, lost=self.loser is not None, blocked=blocked, more_calls=self.call_ratio.more)


def confirm(
    studies: Sequence[Study],
    steps: int,
    finalists: int,
    score: Score,
    *,
    claims: int = 1,
    reference: Scores | None = None,
    diversity_loss: float = 0.05,
) -> Budget:
    """Compare the best trials and the baselines on the choose split, then report the winner on the report split.

    The winner is that of ``Lineup.winner``. It is compared with the linear that was best on the choose split, so that
    the gain of a better block length is not attributed to the policy.

    Args:
        studies: The studies of the budget.
        steps: The step budget.
        finalists: The number of trials on the choose split.
        score: Scores settings on a split; known scores cost nothing.
        claims: Budgets of the search.
        reference: Linear at many steps on the first report examples; None for no reference.
        diversity_loss: The share of a diversity figure that the winner may lose.
    """
    evaluator = studies[0].evaluator
    direction = evaluator.metric.direction
    lineup = Lineup.of(studies, steps, finalists)
    chosen = lineup.scores_on_choose(lambda settings: score(settings, "choose"))
    claims *= len(lineup.kinds)
    named, best, won = lineup.named, lineup.best_of_kinds(chosen), lineup.winner(chosen)
    against = lineup.best_baseline(chosen, "linear").study
    found = score([candidate.setting for candidate in (*named, *best.values(), won)], "report")
    others, scored = found[: len(named)], found[-1]
    pairs = zip(named, others, strict=True)
    linears = [pair for pair in pairs if pair[0].name == "linear"]  # one per study
    first = studies.index(against)
    kinds = {kind: (best[kind], scores) for kind, scores in zip(best, found[len(named) : -1], strict=True)}
    if "counts" in kinds:  # linear stands in for what is worse, as for the winner
        kinds["counts"], _ = _returned(kinds["counts"], linears, first, direction, claims)
    (_, winner), place = _returned((won, scored), linears, first, direction, claims)
    against = studies[place]
    names = [candidate.name if candidate.study is against else candidate.setting.label for candidate in named]
    reported = dict(zip(names, others, strict=True))
    linear, data = reported["linear"], evaluator.data("report")
    comparer = Comparer(
        evaluator=evaluator, linear=linear, claims=claims, reference=reference, data=data, diversity_loss=diversity_loss
    )
    lost = winner is not scored
    returned = Linear() if lost else won.policy
    trials = [trial for study in studies for trial in study.trials]
    tuning = sum((trial.cost for trial in trials), Cost())
    return Budget(
        steps=steps,
        policy=returned,
        winner=winner,
        baselines=reported,
        gain=comparer.gain(winner),
        gain_over_first=None if against is studies[0] else gain_of(winner, linears[0][1], direction, claims),
        claims=claims,
        diversity=comparer.diversity(winner),
        reference=None if reference is None else reference.setting,
        chosen_from=tuple(chosen),
        data=data,
        detectable=_detectable(linear, [scored, *others], claims),
        trials=len(trials),
        reused=sum(not trial.fresh for trial in trials),
        dropped=sum(trial.dropped and not trial.cut and trial.unreachable is None for trial in trials),
        cut=sum(trial.cut for trial in trials),
        ended=_ended(studies),
        exhausted=all(study.ending in (Ending.EXHAUSTED, Ending.NOTHING_TO_TUNE) for study in studies),
        tuning=tuning,
        cost=sum((scores.cost for scores in (*chosen, *found)), tuning),
        alike=_alike(winner.setting, returned, studies),
        loser=Loser(won.policy, scored, comparer.gain(scored)) if lost else None,
        studies=tuple(studies),
        policies=outcomes_of_kinds(studies, kinds, comparer),
        unreachable=tuple(f"{trial.policy.name} {why}" for trial in trials if (why := trial.unreachable) is not None),
    )


def _alike(winner: Setting, policy: Policy, studies: Sequence[Study]) -> tuple[str, ...]:
    """The names of other baselines and trials that have the winner's counts or alphas, sorted."""
    names = set()
    for study in studies:
        named = {
            name: study.evaluator.setting(baseline, winner.steps).key
            for name, baseline in study.baselines.items()
            if baseline != policy
        }
        tried = {trial.policy.name: trial.key for trial in study.trials if trial.policy != policy}
        names |= {name for name, key in (tried | named).items() if key == winner.key}
    return tuple(sorted(names))


def _returned(
    chosen: Measured, linears: Sequence[Measured], best: int, direction: Direction, claims: int
) -> tuple[Measured, int]:
    """What a search returns: the chosen policy, or linear if that policy is shown to be worse.

    The policy must not be worse than linear in the first block length either, which is the choice without a search.

    Args:
        chosen: The policy that was chosen, with its scores.
        linears: Linear in each block length.
        best: The place of the linear that the policy is compared with.
        direction: The metric's direction.
        claims: Budgets of the search times kinds of policy.

    Returns:
        The policy with its scores, and the place of the linear that they are compared with.
    """
    if gain_of(chosen[1], linears[best][1], direction, claims).loss:
        chosen = linears[best]
    if best and gain_of(chosen[1], linears[0][1], direction, claims).loss:
        return linears[0], 0
    return chosen, best


def _ended(studies: Sequence[Study]) -> Ended | None:
    """Why trials ended early; for each kind of policy and block length if the reasons differ."""
    reasons = {study.ended for study in studies}
    if len(reasons) == 1:
        return reasons.pop()
    if len({study.kind for study in studies}) > 1:
        named = {study.evaluator.labelled(f"trials of {study.kind}", study.block_length): study for study in studies}
        texts = (f"{what}: {study.ended.text}" for what, study in named.items() if study.ended is not None)
        return Ended(Ending.BY_KIND, "; ".join(texts))
    named_reasons = [(study.evaluator.labelled("trials", study.block_length), study.ended) for study in studies]
    return Ended(Ending.BY_BLOCKS, "; ".join(f"{what}: {why.text}" for what, why in named_reasons if why is not None))


def _detectable(linear: Scores, others: Sequence[Scores], claims: int) -> float | None:
    """The smallest gain that the report split shows, from linear and the first policy with another key.

    None if their differences are all equal, since these give no estimate of the noise.
    """
    other = next((scores for scores in others if scores.setting.key != linear.setting.key), None)
    if other is None or other.values is None or linear.values is None:
        return None
    power = detectable(linear, other, len(grouped(linear.values, linear.groups)), claims)
    return None if power is None else power.gain
