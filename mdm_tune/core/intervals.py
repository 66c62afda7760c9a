"""Values and intervals as JSON has them, and as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["estimate_text", "finite_or_none", "interval_record", "interval_text", "is_exact"]

Record = dict[str, Any]


def interval_record(bounds: tuple[float, float] | None) -> list[float | None] | None:
    """Two numbers, or null."""
    return None if bounds is None else [finite_or_none(bound) for bound in bounds]


def finite_or_none(value: float | None) -> float | None:
    """The number, or null where JSON has none."""
    return value if value is not None and math.isfinite(value) else None


def is_exact(found: Record) -> bool:
    """Whether a record's value has no sampling error; earlier versions do not say why there is no interval."""
    return found["ci"] is None and found.get("no_interval") in (None, "exact")


def estimate_text(found: Record, value: str = "value", ci: str = "ci") -> str:
    """A value of a record with its interval, or why it has none."""
    return interval_text(found[value], found[ci], found.get("no_interval"))


def interval_text(value: float | None, bounds: Sequence[float | None] | None, missing: str | None = "exact") -> str:
    """A value with its interval, in as many decimals as give the interval's width two digits.

    missing: why there is no interval, where there is none; an exact value needs none.
    """
    value = finite_or_none(value)
    if value is None:
        return "infinite"
    if bounds is None:
        return f"{value:.5f}" if missing in (None, "exact") else f"{value:.4g} ({missing})"
    low, high = map(finite_or_none, bounds)
    if low is None or high is None:
        return f"{value:.5f} [unknown]"  # one example has no interval
    width = high - low
    decimals = min(6, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 3
    value, low, high = (round(number, decimals) + 0.0 for number in (value, low, high))  # no minus before a zero
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
