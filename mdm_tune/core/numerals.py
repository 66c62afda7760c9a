"""Numbers in texts such as ``beta:0.9,0.3``: written in one way, so that what is read is what was meant."""

from __future__ import annotations

import math
import re

__all__ = ["decimal", "decimals", "whole", "wholes"]

WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})?(?:\.[0-9]{0,400})?(?:[eE][-+]?[0-9]{1,4})?")


def whole(text: str) -> int:
    """The whole number that ASCII digits write; raises ValueError.

    Python would also take 1_000, digits of other scripts and spaces, and 010, which other programs read as 8.
    """
    if not WHOLE.fullmatch(text):
        raise ValueError("a whole number is written in digits alone")
    return int(text)


def wholes(text: str, most: int) -> tuple[int, ...]:
    """Whole numbers with commas between them, at most ``most`` of them and ``most`` in all; raises ValueError."""
    found = tuple(map(whole, _entries(text, most)))
    if sum(found) > most:
        raise ValueError(f"the numbers must be at most {most:,} in all")
    return found


def decimals(text: str, needed: int | None, most: int = 1000) -> tuple[float, ...]:
    """Numbers with commas between them, ``needed`` of them or at most ``most``; raises ValueError."""
    entries = _entries(text, most)
    if needed is not None and len(entries) != needed:
        raise ValueError(f"{needed} numbers are needed")
    return tuple(map(decimal, entries))


def decimal(text: str) -> float:
    """The finite number that ASCII digits write, perhaps with a point and an exponent; raises ValueError."""
    try:
        value = float(text) if DECIMAL.fullmatch(text) else math.nan
    except ValueError:  # a point alone
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("a number is written in digits and a point")
    return value


def _entries(text: str, most: int) -> list[str]:
    """What stands between commas, without the spaces that people write there."""
    found = text.split(",", most)
    if len(found) > most:
        raise ValueError(f"there must be at most {most:,} numbers")
    return [entry.strip(" ") for entry in found]
