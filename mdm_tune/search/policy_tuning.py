"""The trials of one kind of adaptive policy at one budget. Each trial makes as many denoiser calls as linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Policy, Setting
from mdm_tune.schedules.adaptive_names import AdaptiveName
from mdm_tune.search.equal_calls import EqualCalls
from mdm_tune.search.events import TrialDone, TrialsProposed
from mdm_tune.search.finalists import Trial
from mdm_tune.search.ledger import Ledger
from mdm_tune.search.policies import PlanSpace
from mdm_tune.search.scoring import CandidateScore, InTime, can_hardly_win
from mdm_tune.search.space import Guide
from mdm_tune.search.tuning import Prepared, TrialRunner, Tuned, run_trials

__all__ = ["tune_plan"]


def tune_plan(
    evaluator: Evaluator,
    space: PlanSpace,
    ledger: Ledger,
    target: Callable[[int], float],
    notify: Callable[[TrialsProposed | TrialDone], None],
    guide: Guide,
    in_time: InTime | None,
) -> Tuned:
    """Run the trials of an adaptive policy that the ledger lacks.

    Args:
        evaluator: The evaluator for the block length.
        space: The policies to propose.
        ledger: The ledger of the trials.
        target: Linear's mean calls on the first so many tune examples in random order.
        notify: Called with each batch of proposed trials, and with each finished trial.
        guide: Its points are proposed early by a quota or a cap.
        in_time: As in ``tune``.

    Returns:
        The trials, and why they ended early.
    """
    return run_trials(_PlanRunner(evaluator, space, ledger, target, guide, in_time), notify)


class _PlanRunner(TrialRunner):
    """Runs the batches of one kind of adaptive policy."""

    def __init__(
        self,
        evaluator: Evaluator,
        space: PlanSpace,
        ledger: Ledger,
        target: Callable[[int], float],
        guide: Guide,
        in_time: InTime | None,
    ) -> None:
        super().__init__(evaluator, space, ledger, Guide(guide.points), in_time)
        self.plans = space
        self.equal_calls = EqualCalls(evaluator=evaluator, steps=space.steps, target=target, setting=self.setting)

    def distinct(self) -> None:
        return None  # the predictions decide the counts

    def setting(self, plan: AdaptiveName) -> Setting:
        """The setting of a policy that has its value."""
        return self.evaluator.setting(plan, self.steps)

    def prepare(self, proposed: Mapping[int, Policy], before: Sequence[Trial]) -> Prepared:
        plans = {number: self.plans.unvalued(policy) for number, policy in proposed.items()}
        reached = [trial.policy for trial in before if trial.unreachable is None]
        guess = reached[-1].value if reached and isinstance(reached[-1], AdaptiveName) else None
        incumbent = self._incumbent(before) if self.search.racing else None

        def promising(setting: Setting, examples: int) -> bool:
            """Whether the race would keep a setting by its first examples."""
            if incumbent is None:
                return True
            values = self.evaluator.book.first(setting, "tune")[:examples]
            return not can_hardly_win(self.evaluator.split("tune").shuffled(), values, incumbent, self.sign)

        matched, cost = self.equal_calls.find(plans, guess, promising)
        return Prepared({number: found.setting for number, found in matched.items()}, cost, matched)

    def corrected(
        self, prepared: Prepared, scored: dict[int, CandidateScore]
    ) -> tuple[Prepared, dict[int, CandidateScore]]:
        settings, matched, cost = dict(prepared.settings), dict(prepared.matched), prepared.cost
        most = len(self.evaluator.split("tune").ids)
        for number, score in scored.items():
            if score.dropped is not None:
                continue
            before = matched[number].setting
            assert before.adaptive is not None
            matched[number], more = self.equal_calls.correct(self.plans.unvalued(before.adaptive), matched[number])
            settings[number] = setting = matched[number].setting
            cost += more
            if setting.key != before.key:
                (values,), _ = self.evaluator.together([setting], "tune", most)
                scored = {**scored, number: replace(score, value=float(values.mean()), values=values)}
        return Prepared(settings, cost, matched), scored

    def noted(self, setting: Setting, unreachable: str | None) -> dict[str, Any]:
        calls = self.evaluator.book.calls(setting, "tune")
        return {
            "policy": setting.name,
            "calls": float(calls.mean()) if len(calls) else None,
            "unreachable": unreachable,
        }
