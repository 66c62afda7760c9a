"""Tokens per forward, the Pareto front, and the area under accuracy and parallelism."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mdm_tune.core.statistics import Estimate
from mdm_tune.evaluation.parallelism import (
    Measured,
    area_under,
    areas,
    filled_tokens,
    pareto_front,
    tokens_per_forward,
)
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting

Values = NDArray[np.float64]


def scored(values: Values, calls: Values | float, groups: tuple[str, ...] | None = None) -> Scores:
    several = None if isinstance(calls, float) else calls
    return Scores(
        setting=Setting("linear", 4, 8, counts=(2, 2, 2, 2)),
        estimate=Estimate(float(np.mean(values)), None),
        nfe=float(np.mean(calls)),
        cost=Cost(),
        use="report",
        values=values,
        calls=several,
        groups=groups,
        bounds=(0.0, 1.0),
    )


def test_the_area_of_a_curve_worked_by_hand() -> None:
    """Best 80; at 2 tokens 76: w = exp(-3/20); at 4 tokens 74 is over 5 below the first point and is left out."""
    w = math.exp(-3 * (1 - 76 / 80))
    assert area_under([1.0, 2.0], [80.0, 76.0], 80.0) == pytest.approx(80 + (80 + 76 * w) / 2)
    assert area_under([4.0, 2.0, 1.0], [74.0, 76.0, 80.0], 80.0) == pytest.approx(80 + (80 + 76 * w) / 2)
    assert area_under([1.0, 2.0, 3.0], [80.0, 74.9, 80.0], 80.0) == pytest.approx(80 + 2 * 80)  # without the second
    assert area_under([1.0, 2.0], [80.0, 75.0], 80.0) > 80  # exactly 5 below counts
    better = 90 * math.exp(-3 * (1 - 90 / 100))
    first = 80 * math.exp(-3 * (1 - 80 / 100))
    assert area_under([0.5, 2.5], [80.0, 90.0], 100.0) == pytest.approx(0.5 * 80 + 2 * (first + better) / 2)


def test_areas_begin_at_one_token_per_step_and_have_bootstrap_intervals() -> None:
    rng = np.random.default_rng(0)
    base = (rng.random(400) < 0.9).astype(float)
    worse = np.where(rng.random(400) < 0.03, 0.0, base)
    calls = rng.integers(6, 12, 400).astype(float)
    filled = np.full(400, 32.0)
    reference, point = Measured(scored(base, 32.0), filled), Measured(scored(worse, calls), filled)
    found = areas([[point], []], reference)
    assert found is not None
    accuracy, best = [100 * base.mean(), 100 * worse.mean()], 100 * base.mean()
    assert found[0].value == pytest.approx(area_under([1.0, 32 / calls.mean()], accuracy, best))
    assert found[1].value == pytest.approx(100 * base.mean())

    def once() -> float:
        drawn = rng.integers(0, 400, 400)
        y = [100 * base[drawn].mean(), 100 * worse[drawn].mean()]
        return area_under([1.0, 32 / calls[drawn].mean()], y, max(y))

    low, high = np.percentile([once() for _ in range(1000)], [2.5, 97.5])
    assert found[0].ci == pytest.approx((low, high), abs=0.12 * (high - low))
    assert areas([[point], []], reference) == found  # the same every time


def test_areas_are_for_shares_only_and_count_groups() -> None:
    values, filled = np.r_[np.ones(30), np.zeros(10)], np.full(40, 8.0)
    groups = tuple(str(place // 5) for place in range(40))
    grouped = Measured(scored(values, 8.0, groups), filled)
    found = areas([[grouped]], grouped)
    assert found is not None and found[0].ci is None and found[0].count == 8  # 8 groups are too few
    nothing = Measured(scored(np.zeros(40), 8.0), filled)
    assert areas([[nothing]], nothing) is None


def test_tokens_per_forward_divides_sums_and_is_exact_where_nothing_varies() -> None:
    filled, calls = np.array([8.0, 4.0] * 20), np.array([2.0, 4.0] * 20)
    found = tokens_per_forward(scored(np.ones(40), calls), filled)
    assert found.value == 2.0 and found.ci is not None and found.ci[0] < 2.0 < found.ci[1]
    exact = tokens_per_forward(scored(np.ones(40), 4.0), np.full(40, 8.0))
    assert exact.value == 2.0 and exact.exact
    alike = tokens_per_forward(scored(np.ones(40), np.full(40, 4.0)), np.full(40, 8.0))  # they may differ in other rows
    assert alike.ci is not None and alike.ci[0] < 2.0 < alike.ci[1]


def test_tokens_behind_the_end_of_a_row_that_stops_do_not_count() -> None:
    hidden = torch.tensor([[False, True, True, True], [False, True, True, False], [True] * 4])
    tokens = torch.tensor([[9, 1, 9, 9], [9, 2, 3, 9], [9, 9, 9, 9]])
    assert filled_tokens(hidden, tokens, [9], stops=False).tolist() == [3, 2, 4]
    assert filled_tokens(hidden, tokens, [9], stops=True).tolist() == [2, 2, 1]
    assert filled_tokens(hidden, tokens, [], stops=True).tolist() == [3, 2, 4]


def test_the_front_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for direction, sign in (("maximize", 1), ("minimize", -1)):
        calls, values = rng.integers(1, 6, 30).tolist(), rng.integers(0, 6, 30).tolist()
        expected = [True] * 30
        for mine, other in product(range(30), repeat=2):
            no_worse = calls[other] <= calls[mine] and sign * values[other] >= sign * values[mine]
            if no_worse and (calls[other], values[other]) != (calls[mine], values[mine]):
                expected[mine] = False
        assert pareto_front(calls, values, direction) == expected  # type: ignore[arg-type]
    assert pareto_front([1.0, 2.0], [math.nan, 0.5], "maximize") == [False, True]
