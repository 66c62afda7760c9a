"""Values and their intervals, as JSON and as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["estimate_text", "finite_or_none", "interval_decimals", "interval_record", "interval_text", "is_exact"]

Record = dict[str, Any]


def interval_record(bounds: tuple[float, float] | None) -> list[float | None] | None:
    """The bounds of an interval as JSON; null if there is no interval, and null for an infinite bound."""
    return None if bounds is None else [finite_or_none(bound) for bound in bounds]


def finite_or_none(value: float | None) -> float | None:
    """The number, or None if it is infinite or NaN, which JSON cannot hold."""
    return value if value is not None and math.isfinite(value) else None


def is_exact(record: Record) -> bool:
    """Whether the value of a record has no sampling error."""
    # Records of earlier versions do not say why there is no interval.
    return record["ci"] is None and record.get("no_interval") in (None, "exact")


def estimate_text(record: Record, value: str = "value", ci: str = "ci") -> str:
    """A value of a record with its interval, or with the reason why it has none.

    Args:
        record: JSON that holds an estimate.
        value: the key of the value.
        ci: the key of the interval.
    """
    return interval_text(record[value], record[ci], record.get("no_interval"))


def interval_text(
    value: float | None, bounds: Sequence[float | None] | None, missing: str | None = "exact", *, least: int = 0
) -> str:
    """A value with its interval, in the decimals of ``interval_decimals``.

    Args:
        value: the value; None stands for infinity.
        bounds: the interval; None if there is none, and None for an unknown bound.
        missing: the reason why there is no interval; "exact" for a value without a sampling error.
        least: decimals at least, as for a column of values.
    """
    value = finite_or_none(value)
    if value is None:
        return "infinite"
    if bounds is None:
        return f"{value:.5f}" if missing in (None, "exact") else f"{value:.4g} ({missing})"
    low, high = map(finite_or_none, bounds)
    if low is None or high is None:
        return f"{value:.5f} [unknown]"
    decimals = max(least, interval_decimals(low, high))
    value, low, high = (round(number, decimals) + 0.0 for number in (value, low, high))  # + 0.0 turns -0.0 into 0.0
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def interval_decimals(low: float, high: float) -> int:
    """As many decimals as show two digits of the width of an interval.

    A bound near 0 gets up to two decimals more, which show on which side of 0 it lies.

    Args:
        low: finite.
        high: finite.
    """
    width = high - low
    decimals = min(6, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else 3
    hidden = [bound for bound in (low, high) if bound and not round(bound, decimals)]
    return decimals + next(
        (more for more in (1, 2) if hidden and all(round(each, decimals + more) for each in hidden)), 0
    )
