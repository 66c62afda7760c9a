"""Adaptive plans at the cost of a budget."""

from __future__ import annotations

from mdm_tune.evaluation.adaptive import AdaptiveRequest, calibrated
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Linear
from tests.evaluation.test_dealing import Backwards, evaluator


def test_adaptive_plans_are_looked_for_side_by_side() -> None:
    """The values are those that each finds alone, in as many rounds as the longest search has, and at the same cost."""

    def asked(here: Evaluator, name: str, steps: int) -> AdaptiveRequest:
        plan = parse_adaptive(name)
        assert plan is not None

        def setting_at(schedule: str, number: int) -> Setting:
            return here.setting(Linear(), number)

        return AdaptiveRequest(evaluator=here, plan=plan, steps=steps, setting_at=setting_at)

    names = [("threshold", 4), ("entropy-bound", 4), ("threshold", 8), ("threshold:0.5", 4), ("quota:linear", 4)]
    alone, rounds = [], []
    for name, steps in names:
        here, pool, _ = evaluator(Backwards)
        alone += calibrated([asked(here, name, steps)], "report")
        rounds.append(len(pool.deals))
    here, pool, denoiser = evaluator(Backwards)
    together = calibrated([asked(here, name, steps) for name, steps in names], "report")
    for (one, spent), (other, cost) in zip(alone, together, strict=True):
        assert one.setting == other.setting and cost.denoiser_rows == spent.denoiser_rows
    assert len(pool.deals) == max(rounds) and rounds[3] == 0
    assert sum(cost.denoiser_rows for _, cost in together) == denoiser.rows
