"""From a curve to its grid and to integer counts, against brute force."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.counts import (
    CountRule,
    _isotonic,
    _isotonic_rows,
    alpha_grid,
    beta_grids,
    counts_of_grids,
    to_counts,
)
from mdm_tune.schedules.curves import Beta, Counts, CurveValues, Linear, MaskgitCosine, Schedule, Sine, SquaredSine
from tests.support.curves import COUNTS, PLAIN

RULES: list[CountRule] = ["one-per-step", "cumulative"]
betas = st.builds(Beta, st.floats(0.05, 20), st.floats(0.05, 20))
schedules = betas | st.sampled_from(PLAIN)


@settings(deadline=None, max_examples=100)
@given(schedule=schedules | st.sampled_from(COUNTS), steps=st.integers(1, 300))
def test_grid_never_decreases_and_has_exact_ends(schedule: Schedule, steps: int) -> None:
    alphas = alpha_grid(schedule, steps)
    assert alphas.shape == (steps + 1,)
    assert (alphas[0], alphas[-1]) == (0.0, 1.0)
    assert (np.diff(alphas) >= 0).all()
    np.testing.assert_allclose(alphas, [schedule.alpha(i / steps) for i in range(steps + 1)], rtol=1e-14, atol=0)


@dataclass(frozen=True)
class Noisy(Schedule):
    """Nearly linear, with inexact ends and a dip at 1/2: the rounding noise of a special function, made visible."""

    name: ClassVar[str] = "noisy"

    def dual(self) -> Noisy:
        return self

    def _values_at(self, t: NDArray[np.float64]) -> CurveValues:
        return replace(Linear().at(t), alpha=np.where(t == 0.5, 0.3, t * (1 - 1e-9) + 1e-16))


def test_grid_never_decreases_even_where_alpha_does() -> None:
    alphas = alpha_grid(Noisy(), 8)
    assert (alphas[0], alphas[-1]) == (0.0, 1.0)
    assert alphas[3] == alphas[4] < alphas[5]


@settings(deadline=None, max_examples=200)
@given(schedule=schedules, steps=st.integers(1, 64), length=st.integers(1, 300))
def test_counts_add_up_and_follow_the_curve(schedule: Schedule, steps: int, length: int) -> None:
    even = to_counts(schedule, steps, length)
    assert sum(even) == length and min(even) >= 1 and len(even) == min(steps, length)
    rounded = to_counts(schedule, steps, length, "cumulative")
    assert sum(rounded) == length and min(rounded) >= 0 and len(rounded) == steps
    assert all(type(count) is int for count in (*even, *rounded))
    error = np.cumsum(rounded) - length * alpha_grid(schedule, steps)[1:]
    assert (error > -0.5 - 1e-8).all() and (error <= 0.5 + 1e-8).all()
    if min(rounded) >= 1:  # then the nearest totals already reveal at every step
        assert even == rounded


def least_squares(target: NDArray[np.float64], length: int) -> tuple[float, NDArray[np.int64]]:
    """Over every choice of increasing totals: the least sum of squares and the largest totals that attain it."""
    steps = len(target) - 1
    totals = np.array(list(itertools.combinations(range(1, length), steps - 1)), dtype=int)
    loss = ((totals - target[1:-1]) ** 2).sum(axis=1)
    best = totals[loss <= loss.min() + 1e-7]
    return float(loss.min()), best.max(axis=0)


@pytest.mark.parametrize(
    "schedule",
    [*PLAIN, *(Beta(a, b) for a in (0.1, 0.5, 1.0, 3.0) for b in (0.1, 0.7, 2.0)), Beta(20, 0.05), Beta(0.05, 20)],
    ids=lambda s: s.name,
)
def test_one_per_step_is_the_least_squares_optimum(schedule: Schedule) -> None:
    """Every composition of every length up to 11 is tried; ties go to the totals that are ahead at every step."""
    for length in range(1, 12):
        for steps in range(1, length + 1):
            target = length * alpha_grid(schedule, steps)
            _, want = least_squares(target, length)
            got = np.cumsum(to_counts(schedule, steps, length))[:-1]
            np.testing.assert_array_equal(got, want, err_msg=f"L={length} K={steps}")


def least_squares_by_table(target: NDArray[np.float64], length: int) -> float:
    """The same least sum of squares by dynamic programming over (step, total), for sizes beyond brute force."""
    totals = np.arange(length + 1)
    cost = np.where(totals == 0, 0.0, np.inf)
    for value in target[1:-1]:
        before = np.concatenate([[np.inf], np.minimum.accumulate(cost)[:-1]])
        cost = before + (totals - value) ** 2
    return float(cost[:-1].min())


@pytest.mark.parametrize(("length", "steps"), [(64, 16), (64, 60), (200, 50), (33, 32)])
def test_one_per_step_is_optimal_at_real_sizes(length: int, steps: int) -> None:
    for a, b in itertools.product([0.1, 0.4, 1.0, 2.5, 10.0], repeat=2):
        target = length * alpha_grid(Beta(a, b), steps)
        totals = np.cumsum([0, *to_counts(Beta(a, b), steps, length)])
        assert ((totals - target) ** 2).sum() == pytest.approx(least_squares_by_table(target, length), abs=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_exact_halves_round_up(rule: CountRule) -> None:
    assert to_counts(Linear(), 4, 10, rule) == (3, 2, 3, 2)  # totals 2.5, 5, 7.5, 10
    assert to_counts(Beta(0.5, 0.5), 4, 10, rule) == (3, 2, 3, 2)
    assert to_counts(Sine(), 3, 7, rule)[0] == 4  # sin(pi/6) is 1/2, in floats 0.49999999999999994
    assert to_counts(SquaredSine(), 2, 7, rule) == (4, 3)  # sin^2(pi/4)
    assert to_counts(MaskgitCosine(), 3, 7, rule) == (1, 3, 3)  # 1 - cos(pi/3) is 1/2
    for length in range(3, 200, 2):
        assert to_counts(Linear(), 2, length, rule) == ((length + 1) // 2, length // 2)
        assert to_counts(Beta(3.3, 3.3), 2, length, rule) == ((length + 1) // 2, length // 2)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("steps", "length"), [(1, 1), (1, 9), (2, 9), (5, 5), (7, 3), (8, 32), (16, 64), (50, 64)])
def test_many_schedules_at_once_are_as_one_by_one(rule: CountRule, steps: int, length: int) -> None:
    points = [*itertools.product([0.05, 0.5, 1, 3.3, 20], repeat=2), (0.736, 0.430)]
    grids = beta_grids(*np.array(points).T, steps)
    assert grids.shape == (len(points), steps + 1)
    np.testing.assert_array_equal(grids, [alpha_grid(Beta(a, b), steps) for a, b in points])
    before = grids.copy()
    counts = counts_of_grids(grids, length, rule)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, [to_counts(Beta(a, b), steps, length, rule) for a, b in points])
    np.testing.assert_array_equal(grids, before)
    others = np.stack([alpha_grid(schedule, steps) for schedule in PLAIN])
    expected = [to_counts(schedule, steps, length, rule) for schedule in PLAIN]
    np.testing.assert_array_equal(counts_of_grids(others, length, rule), expected)


def test_rules_differ_where_a_step_would_be_empty() -> None:
    assert to_counts(SquaredSine(), 8, 8, "cumulative") == (0, 1, 1, 2, 2, 1, 1, 0)
    assert to_counts(SquaredSine(), 8, 8) == (1,) * 8
    assert to_counts(Linear(), 4, 32) == (8, 8, 8, 8)
    assert to_counts(SquaredSine(), 4, 32) == (5, 11, 11, 5)
    assert to_counts(Beta(0.736, 0.430), 8, 32) == (1, 2, 2, 3, 4, 5, 6, 9)  # the optimum of a flip-0.05 Markov chain


def test_fewer_tokens_than_steps() -> None:
    assert to_counts(Linear(), 5, 3) == (1, 1, 1)
    assert to_counts(Linear(), 6, 3, "cumulative") == (1, 0, 1, 0, 1, 0)
    assert to_counts(Beta(9, 0.1), 1, 7) == (7,)
    assert to_counts(Beta(9, 0.1), 1, 1) == (1,)


@pytest.mark.parametrize("rule", RULES)
def test_counts_are_their_own_result(rule: CountRule) -> None:
    for counts in ((3, 5, 9, 15), (0, 5, 0, 3), (0, 0, 1)):
        assert to_counts(Counts(counts), len(counts), sum(counts), rule) == counts
    with pytest.raises(InputError, match="reveals 8 tokens but the sequence has 32"):
        to_counts(Counts((3, 5)), 2, 32, rule)
    with pytest.raises(InputError, match="has 2 steps but the budget is 4"):
        to_counts(Counts((3, 5)), 4, 8, rule)


@pytest.mark.parametrize("bad", [0, -3, 2.0, None])
def test_sizes_below_one_are_refused(bad: int) -> None:
    with pytest.raises(InputError, match="steps must be"):
        to_counts(Linear(), bad, 4)
    with pytest.raises(InputError, match="length must be"):
        to_counts(Linear(), 4, bad)
    with pytest.raises(InputError, match="steps must be"):
        alpha_grid(Linear(), bad)
    with pytest.raises(InputError, match="steps must be"):
        beta_grids([1.0], [1.0], bad)
    with pytest.raises(InputError, match="one-per-step, cumulative"):
        to_counts(Linear(), 4, 4, "nearest")  # type: ignore[arg-type]


@pytest.mark.parametrize(("rule", "distinct"), [("one-per-step", 92), ("cumulative", 100)])
def test_how_many_of_the_papers_grid_points_differ(rule: CountRule, distinct: int) -> None:
    """The search grid of arXiv:2509.13866, a and b from 0.1 to 1.0, at 64 tokens and 16 steps."""
    values = [i / 10 for i in range(1, 11)]
    assert len({to_counts(Beta(a, b), 16, 64, rule) for a in values for b in values}) == distinct


def test_isotonic_rows_are_those_of_scipy() -> None:
    """One row takes our own loop, several take SciPy's together; both must equal SciPy's row by row."""
    rng = np.random.default_rng(4)
    for shape in ((1, 1), (1, 40), (5, 7), (200, 31)):
        rows = np.round(rng.normal(0, 3, shape) + np.linspace(0, 2, shape[1]), 1)  # rounded, so that some are equal
        rows[-1].sort()
        want = np.stack([isotonic_regression(row).x for row in rows])
        np.testing.assert_allclose(_isotonic_rows(rows), want, rtol=0, atol=1e-10)
        np.testing.assert_allclose(np.stack([_isotonic(row) for row in rows]), want, rtol=0, atol=1e-10)
