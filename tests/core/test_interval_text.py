"""A value with its interval, as text."""

from __future__ import annotations

from typing import Any

import pytest

from mdm_tune.core.interval_text import interval_text


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (0.86453, [0.8554, 0.8729], "0.865 [0.855, 0.873]"),
        (150.123, [148.51, 151.72], "150.1 [148.5, 151.7]"),
        (0.5, [0.5, 0.5], "0.500 [0.500, 0.500]"),
        (0.5193495, None, "0.51935"),
        (0.05, [-0.0032, 0.1032], "0.050 [-0.003, 0.103]"),  # not 0.05 [0.00, 0.10], which hides the sign
        (0.05, [0.00042, 0.1], "0.0500 [0.0004, 0.1000]"),
        (0.05, [-1e-9, 0.1], "0.05 [0.00, 0.10]"),  # as good as 0
        (0.05, [0.0, 0.1], "0.05 [0.00, 0.10]"),
        (None, None, "infinite"),
        (0.5, [None, None], "0.50000 [unknown]"),
    ],
)
def test_intervals_show_two_digits_of_their_width(value: float | None, bounds: Any, text: str) -> None:
    assert interval_text(value, bounds) == text


def test_a_zero_has_no_sign() -> None:
    assert interval_text(-1e-17, (-2e-17, -1e-18)) == "0.000000 [0.000000, 0.000000]"
    assert interval_text(-0.0004, (-0.001, 0.0002)) == "-0.0004 [-0.0010, 0.0002]"


def test_a_column_may_ask_for_more_decimals_and_never_for_fewer() -> None:
    assert interval_text(0.5, (0.25, 0.75), least=4) == "0.5000 [0.2500, 0.7500]"
    assert interval_text(0.5, (0.4375, 0.5625), least=0) == interval_text(0.5, (0.4375, 0.5625)) == "0.50 [0.44, 0.56]"
