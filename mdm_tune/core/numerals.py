"""Numbers in texts such as ``beta:0.9,0.3``, numbers that are arguments, and numbers in words.

In a text only one notation is accepted, so that no number is misread.
"""

from __future__ import annotations

import math
import operator
import re

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown

__all__ = ["decimal", "decimals", "given_whole", "shortest", "significant", "whole", "wholes"]

WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})?(?:\.[0-9]{0,400})?(?:[eE][-+]?[0-9]{1,4})?")


def whole(text: str) -> int:
    """The whole number that a text of ASCII digits stands for.

    Python's ``int`` also accepts 1_000, spaces, digits of other scripts, and 010, which other programs read as 8.

    Raises:
        ValueError: the text has another form.
    """
    if not WHOLE.fullmatch(text):
        raise ValueError("a whole number is written in digits alone")
    return int(text)


def wholes(text: str, most: int) -> tuple[int, ...]:
    """Whole numbers separated by commas.

    Args:
        text: the numbers.
        most: the largest number of numbers, and their largest sum.

    Raises:
        ValueError: a number has another form, or a limit is exceeded.
    """
    numbers = tuple(map(whole, _entries(text, most)))
    if sum(numbers) > most:
        raise ValueError(f"the numbers must be at most {most:,} in all")
    return numbers


def decimals(text: str, needed: int | None, most: int = 1000) -> tuple[float, ...]:
    """Decimal numbers separated by commas.

    Args:
        text: the numbers.
        needed: how many there must be; None for any number up to ``most``.
        most: the largest number of numbers.

    Raises:
        ValueError: a number has another form, or there are too few or too many.
    """
    entries = _entries(text, most)
    if needed is not None and len(entries) != needed:
        raise ValueError(f"{needed} numbers are needed")
    return tuple(map(decimal, entries))


def decimal(text: str) -> float:
    """The finite number that a text of ASCII digits stands for, with an optional point and exponent.

    Raises:
        ValueError: the text has another form.
    """
    try:
        value = float(text) if DECIMAL.fullmatch(text) else math.nan
    except ValueError:  # the pattern also matches a point alone
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("a number is written in digits and a point")
    return value


def shortest(number: float) -> str:
    """The shortest text that ``decimal`` reads as the same finite number, such as ``0.99999886``, ``1`` and ``1e-09``.

    Names and values that a user may repeat are printed so, because a rounded threshold is another policy.
    """
    return repr(float(number)).removesuffix(".0")


def significant(number: float, digits: int) -> str:
    """A number in so many significant digits; a larger one in all its digits, as 1,024 and not 1.02e+03."""
    large = abs(number) >= 10**digits - 0.5 and math.isfinite(number)
    return f"{number:,.0f}" if large else f"{number:.{digits}g}"


def given_whole(name: str, value: object, least: int = 1) -> int:
    """An argument as a whole number, also if it is NumPy's.

    Args:
        name: of the argument, for the message.
        value: the argument.
        least: the smallest legal value.

    Raises:
        InputError: the argument is no whole number, or is smaller.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type] # a wrong type is what is looked for
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number of at least {least}, got {shown(value)}; give {least} or more")
    return number


def _entries(text: str, most: int) -> list[str]:
    """The texts between commas, without the spaces around them."""
    entries = text.split(",", most)
    if len(entries) > most:
        raise ValueError(f"there must be at most {most:,} numbers")
    return [entry.strip(" ") for entry in entries]
