from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from mdm_tune.pages.scales import Scale, log_ticks, round_ticks, shown, spread, tick_labels, with_interval


def test_places_on_a_scale_by_closed_form() -> None:
    line = Scale(low=-1, high=3, start=10, end=50)
    assert [line.at(each) for each in (-1, 0, 3)] == [10, 20, 50]
    up = Scale(low=1, high=1000, start=300, end=0, log=True)
    assert [up.at(each) for each in (1, 10, 1000)] == pytest.approx([300, 200, 0])
    assert up.at(0) is None and up.at(math.nan) is None and line.at(math.inf) is None
    assert line.at(5) == 70 and line.inside(5) == 50 and line.inside(-9) == 10 and line.inside(math.nan) is None


@pytest.mark.parametrize(
    ("low", "high", "about", "ticks"),
    [
        (0, 1, 5, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (0.756, 0.961, 5, (0.8, 0.85, 0.9, 0.95)),
        (-0.3, 0.7, 5, (-0.2, 0, 0.2, 0.4, 0.6)),
        (3, 197, 4, (50, 100, 150)),
        (1e-7, 5e-7, 4, (1e-7, 2e-7, 3e-7, 4e-7, 5e-7)),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, about: int, ticks: tuple[float, ...]) -> None:
    assert round_ticks(low, high, about) == pytest.approx(ticks, rel=1e-12, abs=1e-15)


def test_any_range_has_two_or_more_round_ticks() -> None:
    draw = np.random.default_rng(0)
    for _ in range(300):
        low = float(draw.normal() * 10 ** draw.uniform(-4, 4))
        high = low + float(10 ** draw.uniform(-4, 4)) * max(abs(low), 1e-3)
        found = round_ticks(low, high)
        assert 2 <= len(found) <= 6 and found[0] >= low - 1e-9 * abs(low) and found[-1] <= high + 1e-9 * abs(high)
        mantissa = (found[1] - found[0]) / 10 ** math.floor(math.log10((found[1] - found[0]) * 1.0000001))
        assert min(abs(mantissa - each) for each in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.1, 10, (0.1, 0.2, 0.5, 1, 2, 5, 10)),
        (0.09, 1100, (0.1, 1, 10, 100, 1000)),
        (20, 42, (20, 25, 30, 35, 40)),
        (0.5, 30, (0.5, 1, 2, 5, 10, 20)),
    ],
)
def test_ticks_of_a_logarithmic_axis(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_many_powers_of_ten_are_thinned_out() -> None:
    assert len(log_ticks(1e-12, 1e12)) <= 7


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((0, 0.25, 0.5), ("0.00", "0.25", "0.50")),
        ((-1, 0, 1), ("\u22121", "0", "1")),
        ((0.1, 0.2, 0.5, 1, 10), ("0.1", "0.2", "0.5", "1", "10")),
        ((1000, 2000), ("1,000", "2,000")),
        ((0, 2e6, 4e6), ("0", "2\u00d710\u2076", "4\u00d710\u2076")),
        ((1e-7, 2e-7), ("10\u207b\u2077", "2\u00d710\u207b\u2077")),
        ((1_234_000, 1_236_000), ("1.234\u00d710\u2076", "1.236\u00d710\u2076")),
        ((0,), ("0",)),
        ((), ()),
    ],
)
def test_labels_have_the_digits_that_they_need(values: tuple[float, ...], labels: tuple[str, ...]) -> None:
    assert tick_labels(values) == labels


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.90412, False, "0.9041"),
        (-0.04, False, "\u22120.04"),
        (0.04, True, "+0.04"),
        (123456.7, False, "123,457"),
        (1.5e-9, False, "1.5\u00d710\u207b\u2079"),
        (16, False, "16"),
        (0, False, "0"),
        (0, True, "0"),
        (9999.49, False, "9,999"),
        (9999.96, True, "+10,000"),
        (math.nan, False, "none"),
        (-math.inf, False, "\u2212\u221e"),
    ],
)
def test_values_in_words(value: float, signed: bool, text: str) -> None:
    assert shown(value, signed) == text


def test_places_are_spread_with_the_least_moves() -> None:
    """Against a general optimiser."""
    wanted, gap = [50.0, 10.0, 52.0, 49.0, 90.0, 12.0], 10.0
    found = spread(wanted, gap, 0, 100)
    order = np.argsort(wanted)
    limits = [{"type": "ineq", "fun": lambda y, n=n: y[order[n + 1]] - y[order[n]] - gap} for n in range(5)]
    best = minimize(lambda y: ((y - wanted) ** 2).sum(), wanted, bounds=[(0, 100)] * 6, constraints=limits)
    assert found == pytest.approx(best.x, abs=1e-3)


def test_places_stay_inside_and_apart_as_far_as_there_is_room() -> None:
    assert spread([], 10, 0, 100) == []
    assert spread([-5, -4], 10, 0, 100) == [0, 10]
    assert spread([100, 100, 100], 10, 0, 100) == [80, 90, 100]
    assert spread([1, 1, 1], 10, 0, 10) == [0, 5, 10]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.04, 0.0251, 0.0549), "+0.040 [0.025, 0.055]"),
        ((-10.4, -12.5, -8.0), "\u221210.4 [\u221212.5, \u22128.0]"),
        ((1234.5, 1000, 1500), "+1,234 [1,000, 1,500]"),
        ((0.5, None, None), "+0.5"),
        ((0.5, 0.4, math.nan), "+0.5"),
        ((0, -0.01, 0.01), "0.000 [\u22120.010, 0.010]"),
        ((3.21e9, 3.2e9, 3.22e9), "+3.21\u00d710\u2079 [3.2\u00d710\u2079, 3.22\u00d710\u2079]"),
        ((0.045, 0.0002, 0.09), "+0.0450 [0.0002, 0.0900]"),
        ((2, 2, 2), "+2.000 [2.000, 2.000]"),
    ],
)
def test_an_interval_decides_the_decimals(numbers: tuple[float, float | None, float | None], text: str) -> None:
    assert with_interval(*numbers, signed=True) == text
