"""From values to pixels: linear and logarithmic scales, round ticks and their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mdm_tune.core.interval_text import interval_decimals

__all__ = ["Scale", "log_ticks", "round_ticks", "shown", "spread", "tick_labels", "with_interval"]

MINUS = "\u2212"
SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
STEPS = (1.0, 2.0, 5.0, 10.0)
NOISE = 1e-9  # rounding errors of ticks, in units of their step


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to pixels from ``start`` to ``end``.

    Attributes:
        low: the value at ``start``; above 0 if ``log``.
        high: the value at ``end``, above ``low``.
        start: in pixels.
        end: in pixels; below ``start`` for an axis that points upwards.
        log: whether equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float | None:
        """The place of a value; None if it has none: NaN, infinite, or not above 0 on a logarithmic scale."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        share = (self._length(value) - self._length(self.low)) / (self._length(self.high) - self._length(self.low))
        return self.start + share * (self.end - self.start)

    def inside(self, value: float) -> float | None:
        """The place of a value, moved to the nearer end if it lies outside."""
        place = self.at(value)
        return place if place is None else min(max(place, min(self.start, self.end)), max(self.start, self.end))

    def _length(self, value: float) -> float:
        return math.log(value) if self.log else value


def round_ticks(low: float, high: float, about: int = 5) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high].

    Args:
        low: finite.
        high: finite, above ``low``.
        about: the wanted number of intervals, at least 1. The step is the smallest one that makes no more of them.
    """
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next((each * power for each in STEPS if each * power * about >= (high - low) * (1 - NOISE)), 10 * power)
    first, last = math.ceil(low / step - NOISE), math.floor(high / step + NOISE)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return tuple(round(place * step, digits) + 0.0 for place in range(first, last + 1))


def log_ticks(low: float, high: float, about: int = 6) -> tuple[float, ...]:
    """Ticks of a logarithmic scale: powers of ten, with 2 and 5 times these where there is room.

    If fewer than two lie within [low, high], they are those of a linear scale.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = tuple(float(f"{each}e{power}") for power in powers for each in factors)
        found = tuple(each for each in found if low * (1 - NOISE) <= each <= high * (1 + NOISE))
        if len(found) <= about + 1:
            break
    else:
        found = found[:: math.ceil(len(found) / about)]
    return found if len(found) >= 2 else tuple(each for each in round_ticks(low, high, about) if each > 0)


def tick_labels(values: Sequence[float]) -> tuple[str, ...]:
    """The labels of ticks, with as many digits as they need; equally many decimals if they are equally far apart."""
    sizes = [abs(each) for each in values if each]
    if not sizes:
        return tuple("0" for _ in values)
    if max(sizes) >= 1e6 or min(sizes) < 1e-4:
        digits = max(3, *(_significant(each) for each in values))
        return tuple(_scientific(each, digits) for each in values)
    gaps = [abs(second - first) for first, second in pairwise(values)]
    equal = not gaps or max(gaps) - min(gaps) < 1e-6 * max(gaps)
    digits = max(_digits(each) for each in values)
    return tuple(f"{each:,.{digits if equal else _digits(each)}f}".replace("-", MINUS) for each in values)


def shown(value: float, signed: bool = False) -> str:
    """A value in words of a figure: four significant digits, and a true minus sign."""
    if not math.isfinite(value):
        return "none" if math.isnan(value) else ("\u221e" if value > 0 else f"{MINUS}\u221e")
    size = f"{abs(value):,.4g}" if abs(value) < 9999.5 else f"{abs(value):,.0f}"
    if "e" in size or abs(value) >= 1e7:
        size = _scientific(abs(value), 4)
    return (MINUS if value < 0 else "+" if signed and value else "") + size


def with_interval(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """A value with its interval, in the same decimals as in tables.

    Args:
        value: finite.
        low: None or NaN if there is no interval.
        high: likewise.
        signed: whether a value above 0 has a plus sign.
    """
    ends = [math.nan if each is None else each for each in (low, high)]
    if not all(map(math.isfinite, ends)):
        return shown(value, signed)
    if max(map(abs, (value, *ends))) >= 1e7:
        return f"{shown(value, signed)} [{', '.join(map(shown, ends))}]"
    decimals = interval_decimals(*ends)
    first, *others = (f"{round(each, decimals) + 0.0:,.{decimals}f}".replace("-", MINUS) for each in (value, *ends))
    plus = "+" if signed and value > 0 else ""
    return f"{plus}{first} [{', '.join(others)}]"


def spread(wanted: Iterable[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones that are at least ``gap`` apart: the ones with the least sum of squared moves.

    Args:
        wanted: in any order; the answer keeps their order.
        gap: at least 0.
        low: the smallest place allowed.
        high: the largest one. If there is no room for all, they are spread evenly.
    """
    places = list(wanted)
    order = sorted(range(len(places)), key=places.__getitem__)
    if not order:
        return []
    gap = min(gap, (high - low) / max(len(order) - 1, 1))
    pools: list[tuple[float, int]] = []  # means of neighbours that touch, after their gaps were taken away
    for rank, each in enumerate(order):
        pools.append((places[each] - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (last, many), (first, few) = pools.pop(), pools.pop()
            pools.append(((first * few + last * many) / (few + many), few + many))
    most = high - (len(order) - 1) * gap
    moved = [min(max(mean, low), most) for mean, count in pools for _ in range(count)]
    for rank, each in enumerate(order):
        places[each] = moved[rank] + rank * gap
    return places


def _digits(value: float) -> int:
    """Digits after the point that a round number needs."""
    return next(
        (digits for digits in range(12) if abs(round(value, digits) - value) <= 1e-9 * max(abs(value), 1e-9)), 12
    )


def _significant(value: float) -> int:
    """Significant digits that a round number needs."""
    sizes = range(1, 17)
    return next((size for size in sizes if abs(float(f"{value:.{size - 1}e}") - value) <= NOISE * abs(value)), 17)


def _scientific(value: float, digits: int = 3) -> str:
    if value == 0:
        return "0"
    mantissa, _, power = f"{abs(value):.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    raised = f"10{str(int(power)).translate(SUPERSCRIPTS)}"
    return (MINUS if value < 0 else "") + (raised if mantissa == "1" else f"{mantissa}\u00d7{raised}")
