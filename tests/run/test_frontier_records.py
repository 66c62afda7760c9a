"""The record of the frontier: policies, their order, the sentence, and reading it back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mdm_tune.core.statistics import Estimate, estimate
from mdm_tune.evaluation.parallelism import Measured
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.frontier_records import Point, PolicyFrontierRecord, policy_of
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.search.gains import Loss

Values = NDArray[np.float64]
N = 600
CALLS = np.array([6.0, 8.0, 10.0] * 200)


def setting(name: str, steps: int, *, block: int = 0) -> Setting:
    plan = parse_adaptive(name)
    if plan is None:
        return Setting(name, steps, 32, counts=(1,) * 32, block_length=block, says_blocks=block > 0)
    return Setting.of_adaptive(plan, steps, 32, block_length=block, says_blocks=block > 0)


def point(name: str, steps: int, wrong: int, calls: Values | None = None) -> Point:
    values = np.ones(N)
    values[:wrong] = 0
    scores = Scores(
        setting=setting(name, steps),
        estimate=estimate(values, bounds=(0.0, 1.0)),
        nfe=float(steps) if calls is None else float(calls.mean()),
        cost=Cost(),
        use="report",
        values=values,
        calls=calls,
        bounds=(0.0, 1.0),
    )
    return Point(Measured(scores, np.full(N, 32.0)), Cost(100, 3200, 2.0))


REFERENCE = point("linear", 32, 30)
POINTS = [
    *(point("linear", 8, 200), point("linear", 16, 33)),
    *(point("threshold:0.5", 16, 300, CALLS / 2), point("threshold:0.9", 16, 32, CALLS)),
]


def record(points: list[Point], margin: float = 0.05) -> PolicyFrontierRecord:
    return PolicyFrontierRecord.of(points, REFERENCE, "maximize", margin, equal_calls=True)


def test_policies_have_all_their_values_and_budgets_in_the_order_of_the_tests() -> None:
    found = record(POINTS)
    assert [(each.policy, each.schedule, each.steps, each.no_worse) for each in found.points] == [
        ("linear", "linear", 16, True),
        ("linear", "linear", 8, False),
        ("threshold", "threshold:0.9", 16, True),
        ("threshold", "threshold:0.5", 16, False),
    ]
    assert [each.on_front for each in found.points] == [False, False, True, True]
    assert found.reference.on_front and found.reference.no_worse is None
    assert [(each.policy, each.steps, each.calls and each.calls.nfe) for each in found.policies] == [
        *(("linear", 16, 16.0), ("threshold", 16, 8.0))
    ]
    tpf = found.points[2].tpf
    assert tpf.value == pytest.approx(4.0) and tpf.ci is not None and tpf.ci[0] < 4.0 < tpf.ci[1]
    assert found.points[0].tokens_per_second == pytest.approx(N * 32 / 2)
    areas = [each.aup for each in found.policies]
    assert areas[0] is not None and areas[1] is not None and areas[1].value > areas[0].value > 95.0


def test_the_sentence_names_the_cheapest_policy_with_its_calls_for_all_tests_together() -> None:
    found = record(POINTS)
    assert found.cheapest is not None and found.cheapest.calls.nfe_ci is not None
    own = estimate(CALLS, 1 - 0.05 / 4, (1.0, 32.0)).ci
    assert own is not None and found.cheapest.calls.nfe_ci == pytest.approx(own)
    low, high = own
    assert found.sentence == (
        "of 4 points measured at 8 and 16 steps, "
        "the cheapest schedule or policy whose quality is within 5 % of one token per step: threshold:0.9, "
        f"8.00 [{low:.2f}, {high:.2f}] calls in place of 32; linear needs 16 (95 % sure, also of the calls, corrected "
        "for 4 tests)"
    )
    assert found.cheapest.ratio == 4.0 and found.cheapest.linear == 16.0
    assert record(POINTS[:2]).sentence.startswith(
        "of 2 points measured at 8 and 16 steps, "
        "the cheapest schedule or policy whose quality is within 5 % of one token per step: linear, "
        "16 calls in place of 32 ("
    )
    assert record(POINTS[:1]).sentence == (
        "no schedule or policy is shown to be within 5 % of one token per step (32 calls; 95 % sure, "
        "corrected for 1 test)"
    )
    assert record([REFERENCE]).sentence == "nothing makes fewer calls than one token per step (32 calls)"


def test_what_was_not_measured_below_the_cheapest_is_said() -> None:
    between = "no budget between 8 and 16 steps was measured, where fewer calls may do: try others, such as 12 "
    assert record(POINTS[:2]).hint == f"{between}(sampler.steps)"
    assert record([*POINTS[:2], point("linear", 15, 200)]).hint == ""
    assert record(POINTS[1:2]).hint.startswith("no budget below 16 steps was measured, where fewer calls may do: try")
    assert record(POINTS[:1]).hint == ""  # nothing is named
    same = [point("threshold:0.9", steps, 32, CALLS) for steps in (8, 16)]
    others = "was measured between 4 and 8 calls, and fewer may do: try others"
    assert record([POINTS[2], *same]).hint == f"no value of threshold {others}"
    assert record(same).hint == "no value of threshold was measured below 8 calls, and fewer may do: try others"


def test_the_sentence_says_what_the_named_policy_loses_in_diversity() -> None:
    loss = Loss("token_entropy", "reference", 0.123, 0.0, flagged=True, blocks=True)
    found = record([replace(each, losses=(loss,)) if each is POINTS[3] else each for each in POINTS])
    assert found.cheapest is not None and found.cheapest.losses == (loss,)
    assert found.sentence.endswith("4 tests); but its samples are less diverse: token entropy by 12.3 %")
    assert [each.losses for each in found.points] == [(), (), (loss,), ()]


def test_equal_measurements_of_a_policy_stand_once_and_the_reference_may_be_among_them() -> None:
    again = replace(POINTS[3].scores, setting=setting("threshold:0.9", 8))
    found = record([*POINTS, Point(Measured(again, np.full(N, 32.0)), Cost(100, 3200, 2.0)), REFERENCE])
    assert [(each.schedule, each.steps) for each in found.points] == [
        *(("linear", 32), ("linear", 16), ("linear", 8), ("threshold:0.9", 16), ("threshold:0.5", 16))
    ]
    assert found.points[0].no_worse is None and found.tests == 4


def test_a_policy_is_its_plan_without_the_value() -> None:
    names = {"threshold:0.9": "threshold", "quota:linear#32@0.5": "quota:linear", "beta:0.5,0.7": "beta:0.5,0.7"}
    names |= {"klass@0.9": "klass", "klass:0.01@0.9": "klass", "klass:0.05@0.9": "klass:0.05"}
    for name, policy in names.items():
        assert policy_of(setting(name, 8)) == policy
        assert policy_of(setting(name, 8, block=16)) == f"{policy} in blocks of 16"
    held = replace(setting("threshold:0.9", 8), name="runs/x/schedule.yaml")  # a file is one, whatever its budgets hold
    assert policy_of(held) == "runs/x/schedule.yaml"


def test_the_boldest_entropy_bound_is_the_largest() -> None:
    points = [point("entropy-bound:2", 16, 300, CALLS / 2), point("entropy-bound:0.1", 16, 32, CALLS)]
    assert [each.schedule for each in record(points).points] == ["entropy-bound:0.1", "entropy-bound:2"]


def test_too_few_examples_are_said_and_the_record_reads_back() -> None:
    found = record(POINTS)
    assert PolicyFrontierRecord.from_json(found.to_json()) == found

    def first(point: Point) -> Point:
        scores = point.scores
        assert scores.values is not None
        few = replace(scores, values=scores.values[-9:], calls=None, estimate=Estimate(1.0, None, 9))
        return Point(Measured(few, np.full(9, 32.0)), point.spent)

    few = PolicyFrontierRecord.of([first(POINTS[1])], first(REFERENCE), "maximize", 0.05, equal_calls=False)
    assert few.sentence == (
        "untested, too few examples: whether a schedule or policy is within 5 % of one token per step (32 calls)"
    )
    assert few.policies[0].aup is not None and few.policies[0].aup.ci is None
