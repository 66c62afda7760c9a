"""Adaptive policies at the cost of a budget."""

from __future__ import annotations

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.evaluation.adaptive import AdaptiveRequest, calibrated, usual_fills, usual_rows
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import parse_schedule
from tests.evaluation.test_dealing import Backwards, evaluator


def asked(here: Evaluator, name: str, steps: int) -> AdaptiveRequest:
    plan = parse_adaptive(name)
    assert plan is not None

    def setting_at(schedule: str, number: int) -> Setting:
        return here.setting(parse_schedule(schedule), number)

    return AdaptiveRequest(evaluator=here, plan=plan, steps=steps, setting_at=setting_at)


def test_the_name_of_a_plan_that_was_found_repeats_it() -> None:
    """A quota is found with the counts of twice the budget's steps, which its name says."""
    here, _, _ = evaluator(Backwards)
    names = ("threshold", "entropy-bound", "quota:linear", "quota:beta:0.9,0.3#6", "quota:counts:2,3,4,4,3#5")
    requests = [asked(here, name, 4) for name in names]
    found = [measurement for measurement, _ in calibrated(requests, "report")]
    again = [asked(here, measurement.setting.name, 4) for measurement in found]
    repeated = [measurement for measurement, _ in calibrated(again, "report")]
    assert [one.setting for one in repeated] == [one.setting for one in found]
    bases = [one.setting.base.steps for one in repeated if one.setting.base is not None]
    assert bases == [8, 6, 5] and found[2].setting.name.startswith("quota:linear#8@0.")
    first, second = (
        here.measure_on(found[2].setting, here.split("report")),
        here.measure_on(repeated[2].setting, here.split("report")),
    )
    assert first.values is not None and second.values is not None and first.calls is not None
    assert first.values.tolist() == second.values.tolist() and first.nfe == second.nfe
    with pytest.raises(InputError, match=r"twice the budget's 4 steps.*or other steps, as in quota:counts:2,3,4,4,3#4"):
        calibrated([asked(here, "quota:counts:2,3,4,4,3", 4)], "report")


def test_adaptive_policies_are_looked_for_side_by_side() -> None:
    """The values are those that each finds alone, in as many rounds as the longest search has, and at the same cost."""
    names = [("threshold", 4), ("entropy-bound", 4), ("threshold", 6), ("threshold:0.5", 4), ("quota:linear", 4)]
    names += [("cap:linear", 4), ("klass:0.5", 6)]
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


def test_a_budget_between_two_jumps_is_refused_and_the_rows_that_are_left_are_foreseen() -> None:
    """The law has few probabilities: its calls jump from 7 to more than 9."""
    here, _, denoiser = evaluator(Backwards)
    words = r"^threshold cannot make 8 calls at 8 steps: its calls jump from 7 \(at .*\) to 9\..* as in threshold:0\.7"
    with pytest.raises(InputError, match=words):
        calibrated([asked(here, "threshold", 8)], "report")
    here, _, denoiser = evaluator(Backwards)
    left: list[float] = []
    calibrated([asked(here, "entropy-bound", 4), asked(here, "cap:linear", 4)], "report", left.append)
    assert left[-1] == 0 and all(rows > 0 for rows in left[:-1])
    assert 0.4 < 2 * usual_rows(here, 4) / denoiser.rows < 2.5


def test_the_rows_that_are_left_follow_the_tries_so_far() -> None:
    """Of 6 tries on 16 examples and 3 on 64, whose first fills 48, at least 3 and 2.3 are left while they go on."""
    assert usual_fills(64) == usual_fills(64, 16) == 6 * 16 + 48 + 2 * 64
    assert usual_fills(64, 16, 2) == 4 * 16 + 48 + 2 * 64 and usual_fills(64, 16, 9) == 3 * 16 + 48 + 2 * 64
    assert [usual_fills(64, 64, tries) for tries in range(4)] == pytest.approx([48 + 2 * 64, *3 * [2.3 * 64]])
    assert usual_fills(32, 32) == 16 + 2 * 32 and usual_fills(8, 8) == 6 * 8 + 2 * 8
