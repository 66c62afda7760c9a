"""When two policies are compared at equal cost."""

from __future__ import annotations

import pytest

from mdm_tune.schedules.equal_cost import equal_cost


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
