"""Numbers inside texts are read in one way."""

from __future__ import annotations

import math

import pytest

from mdm_tune.core.numerals import decimal, decimals, shortest, significant, whole, wholes


@pytest.mark.parametrize(
    "text", ["1_0", " 1", "1 ", "\u0661", "\u00b2", "+1", "010", "", "-", "1.0", "nan", "1" * 19, "0x1"]
)
def test_whole_numbers_are_digits(text: str) -> None:
    with pytest.raises(ValueError, match="written in digits"):
        whole(text)


@pytest.mark.parametrize(
    "text", ["1_0.5", "\u0661", "nan", "inf", "-inf", "1e", ".", "e5", "", "01.5", "1e99999", "0x1p3", "+1"]
)
def test_numbers_are_digits_and_a_point(text: str) -> None:
    with pytest.raises(ValueError, match="written in digits"):
        decimal(text)


def test_numbers_in_lists() -> None:
    assert (whole("-12"), whole("0"), decimal("-.5"), decimal("3."), decimal("2e-1"), decimal("7")) == (
        *(-12, 0, -0.5, 3.0, 0.2, 7.0),
    )
    assert wholes("1, 2,3", 6) == (1, 2, 3)
    assert decimals("0.9, 0.3", 2) == (0.9, 0.3)
    with pytest.raises(ValueError, match="at most 5 in all"):
        wholes("1,2,3", 5)
    with pytest.raises(ValueError, match="at most 3 numbers"):
        wholes("1,1,1,1", 3)
    with pytest.raises(ValueError, match="2 numbers are needed"):
        decimals("1", 2)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.99999886, "0.99999886"),
        (1.0, "1"),
        (1 - 1e-13, "0.9999999999999"),
        (1e-9, "1e-09"),
        (0.1 + 0.2, str(0.1 + 0.2)),
    ],
)
def test_the_shortest_text_is_read_as_the_same_number(number: float, text: str) -> None:
    assert shortest(number) == text
    assert decimal(shortest(number)) == number


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (1024, 3, "1,024"),
        (999.6, 3, "1,000"),
        (-12345.6, 3, "-12,346"),
        (63.29, 3, "63.3"),
        (7.0, 4, "7"),
        (0.000123456, 3, "0.000123"),
        (math.inf, 3, "inf"),
    ],
)
def test_a_large_number_keeps_its_digits(number: float, digits: int, text: str) -> None:
    assert significant(number, digits) == text
