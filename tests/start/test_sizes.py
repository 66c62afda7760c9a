from __future__ import annotations

import math

import pytest
from scipy import stats

from mdm_tune.core.errors import InputError
from mdm_tune.start.sizes import REPORTS, WANTED, choose_sizes, shown_gain


@pytest.mark.parametrize("report", [256, 1024])
def test_the_gain_is_that_of_a_paired_test(report: int) -> None:
    """The normal approximation: (z for 97.5 % + z for 80 %) standard errors."""
    standard = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / math.sqrt(report)
    assert shown_gain(report, 1, False) == pytest.approx(standard, rel=0.15)
    assert shown_gain(report, 1, True) == pytest.approx(standard * math.sqrt(0.2), rel=0.3)


def test_more_budgets_need_more_examples() -> None:
    assert shown_gain(256, 4, True) > shown_gain(256, 1, True)


@pytest.mark.parametrize("right_or_wrong", [False, True])
def test_no_more_examples_than_the_wanted_gain_needs(right_or_wrong: bool) -> None:
    sizes = choose_sizes(None, 1, right_or_wrong, "x")
    assert sizes.gain <= WANTED[right_or_wrong]
    smaller = REPORTS[REPORTS.index(sizes.report) - 1]
    assert shown_gain(smaller, 1, right_or_wrong) > WANTED[right_or_wrong]
    assert choose_sizes(10**6, 1, right_or_wrong, "x") == sizes
    assert (sizes.tune, sizes.choose) == (sizes.report // 4, sizes.report // 2)


@pytest.mark.parametrize("available", [24, 25, 40, 63, 100, 300])
def test_the_splits_fit_into_what_there_is(available: int) -> None:
    sizes = choose_sizes(available, 2, True, "x")
    parts = (sizes.tune, sizes.choose, sizes.report)
    assert sum(parts) <= available and min(parts) >= 8


def test_too_few_examples() -> None:
    with pytest.raises(InputError, match=r"x must hold at least 24 different examples.*got 23 examples"):
        choose_sizes(23, 1, True, "x")


def test_a_report_split_of_its_own() -> None:
    sizes = choose_sizes(300, 1, True, "x", 100)
    assert (sizes.tune, sizes.choose, sizes.report) == (25, 50, 100)
    small = choose_sizes(30, 1, True, "x", 100)
    assert (small.tune, small.choose, small.report) == (10, 20, 100)
    with pytest.raises(InputError, match=r"at least 16 different examples, 8 for each of tune and choose, got 15"):
        choose_sizes(15, 1, True, "x", 100)
