"""When two policies are compared at equal cost."""

from __future__ import annotations

import pytest

from mdm_tune.schedules.equal_cost import equal_cost, nearest_budgets


@pytest.mark.parametrize(
    ("calls", "linear", "more"),
    [(16.0, 16.0, False), (16.32, 16.0, False), (16.33, 16.0, True), (8.0, 16.0, False), (10.2, 10.0, False)],
)
def test_over_two_percent_more_calls_are_flagged_and_fewer_are_not(calls: float, linear: float, more: bool) -> None:
    found = equal_cost(calls, linear)
    assert found.ratio == pytest.approx(calls / linear) and found.more == more
    assert found.flag == ("more-calls" if more else None)


def test_the_ratio_is_said_in_words() -> None:
    assert equal_cost(17.0, 16.0).text == "6.2 % more calls than linear"
    assert equal_cost(4.16, 4.0, (0.99, 1.09)).text == "4 [-1, 9] % more calls than linear"


def test_more_calls_may_be_so_on_these_examples_alone() -> None:
    verdicts = [equal_cost(4.16, 4.0, ci).verdict for ci in (None, (0.99, 1.09), (1.01, 1.07), (1.03, 1.05))]
    unsure, sure = "not surely a gain at equal cost", "no gain at equal cost"
    assert verdicts == [sure, unsure, unsure, sure]
    assert not equal_cost(4.04, 4.0, (1.005, 1.015)).surely_more


def test_a_plan_that_is_the_same_at_every_budget_belongs_to_the_budget_nearest_to_its_calls() -> None:
    measured = [
        (name, steps, 11.0) for name in ("threshold:0.9", "linear", "threshold", "x.yaml") for steps in (4, 8, 16)
    ]
    measured += [("quota:linear#8@0.9 in blocks of 8", steps, 5.0) for steps in (8, 4)]
    assert nearest_budgets(measured) == {"threshold:0.9": 8, "quota:linear#8@0.9 in blocks of 8": 4}
    assert (
        nearest_budgets([("cap:linear@0.9", 4, 3.0), ("cap:linear@0.9", 8, 3.0)]) == {}
    )  # its counts follow the budget
