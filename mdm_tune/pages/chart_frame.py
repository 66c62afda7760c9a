"""What charts share: axes with ticks and a grid, the look of each role, markers, legends."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, pairwise, product
from typing import Literal

from mdm_tune.pages.figure import Layout
from mdm_tune.pages.scales import Scale, log_ticks, round_ticks, tick_labels
from mdm_tune.pages.svg import Point, closed_path, element, escape, number, paragraph, shortened, text, width_of

__all__ = [
    "KINDS",
    "Axis",
    "Frame",
    "Look",
    "Role",
    "fitting_ticks",
    "key_rows",
    "looks",
    "marker",
    "range_of",
    "tick_room",
    "ticks_of",
    "tipped",
    "x_axis",
    "y_axis",
]

Role = Literal["tuned", "linear", "adaptive", "other", "plain"]
Better = Literal["higher", "lower"]
TICK = 4.0  # length of a tick, and the space between it and its label
PAD = 0.05  # share of the range of the data that is left free at both ends


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Attributes:
        label: the quantity, in words.
        unit: such as "nats per token"; shown in brackets.
        log: whether equal ratios have equal lengths.
        low: the end of the axis; by default the data with some room.
        high: the other end.
        ticks: where ticks are wanted; by default, and if none lies within the ends, at round numbers. On a logarithmic
            axis they go on with their last ratio, if it is a whole number.
        better: which direction is better, if one is.
    """

    label: str
    unit: str = ""
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Sequence[float] | None = None
    better: Better | None = None

    @property
    def name(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def full_name(self) -> str:
        """The label with its unit and the better direction."""
        arrow = {"higher": ", higher is better \u2191", "lower": ", lower is better \u2193", None: ""}[self.better]
        return self.name + arrow


@dataclass(frozen=True)
class Frame:
    """The rectangle that data are drawn in.

    Attributes:
        x: from values to pixels, from left to right.
        y: from values to pixels, upwards.
    """

    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        """The left edge in pixels."""
        return self.x.start

    @property
    def right(self) -> float:
        """The right edge in pixels."""
        return self.x.end

    @property
    def top(self) -> float:
        """The upper edge in pixels."""
        return self.y.end

    @property
    def bottom(self) -> float:
        """The lower edge in pixels."""
        return self.y.start


@dataclass(frozen=True)
class Look:
    """How a series is drawn. Colour, dashes and shape each tell it from the others.

    Attributes:
        colour: a name such as ``@tuned``.
        shape: a name of ``marker``.
        dash: of its line, as ``stroke-dasharray``; None for a whole line.
        width: of its line in pixels.
    """

    colour: str
    shape: str
    dash: str | None
    width: float


LOOKS: dict[str, tuple[Look, ...]] = {
    "tuned": (
        Look(colour="@tuned", shape="circle", dash=None, width=2.4),
        Look(colour="@fourth", shape="hexagon", dash=None, width=2.4),
    ),
    "linear": (Look(colour="@linear", shape="square", dash="6 4", width=1.8),),
    "adaptive": (
        Look(colour="@adaptive", shape="up", dash="2 3", width=1.8),
        Look(colour="@entropy", shape="hexagon", dash="7 3 2 3", width=1.8),
        Look(colour="@quota", shape="right", dash="5 2", width=1.8),
        Look(colour="@cap", shape="cross", dash="9 3", width=1.8),
        Look(colour="@klass", shape="left", dash="1 2", width=1.8),
    ),
    "other": (
        Look(colour="@first", shape="diamond", dash=None, width=1.6),
        Look(colour="@second", shape="down", dash="8 3", width=1.6),
        Look(colour="@third", shape="plus", dash="2 2", width=1.6),
        Look(colour="@fourth", shape="cross", dash="8 3 2 3", width=1.6),
        Look(colour="@soft", shape="hexagon", dash="4 2", width=1.6),
        Look(colour="@first", shape="cross", dash="5 3", width=1.6),
        Look(colour="@second", shape="square", dash="2 4", width=1.6),
        Look(colour="@third", shape="up", dash="9 2", width=1.6),
    ),
    "plain": (Look(colour="@ink", shape="circle", dash=None, width=2.0),),  # what is no schedule
}


# What has the same look in every figure: hand-made schedules and kinds of adaptive policies, by their place.
PLACES = {"squared-sine": 0, "sine": 1, "maskgit-cosine": 2}
KINDS = {"threshold": 0, "entropy-bound": 1, "quota": 2, "cap": 3, "klass": 4}


def looks(roles: Iterable[Role], dashed: Iterable[bool], names: Iterable[str]) -> tuple[Look, ...]:
    """The looks of series, in their order. Those of one role differ until its looks are used up.

    Args:
        roles: of the series.
        dashed: whether a line that its role draws whole is dashed.
        names: of the series; three hand-made schedules, and the first policy of each adaptive kind, have the same look
            in every figure. Other policies of a kind have its colour.
    """
    series = list(zip(roles, dashed, names, strict=True))
    kept: dict[str, set[int]] = {}
    for role, _, name in series:
        if (place := _place(role, name)) is not None:
            kept.setdefault(role, set()).add(place)
    free: dict[str, Iterator[int]] = {}
    found: list[Look] = []
    for role, broken, name in series:
        usual = LOOKS[role]
        fresh = [place for place in range(len(usual)) if place not in kept.get(role, ())] or list(range(len(usual)))
        numbers, place = free.setdefault(role, cycle(fresh)), _place(role, name)
        look = usual[next(numbers) if place is None else place]
        if place is not None and role == "adaptive":
            look = next((each for each in _variants(look) if each not in found), look)
        dash = look.dash or ("6 4" if broken else None)
        found.append(replace(look, dash=dash))
    return tuple(found)


def _place(role: Role, name: str) -> int | None:
    """The place of a series whose look is the same in every figure; None for others."""
    if role == "other":
        return PLACES.get(name)
    return KINDS.get(re.split("[:@]", name)[0]) if role == "adaptive" else None


def _variants(look: Look) -> Iterator[Look]:
    """The look itself, and then others of its colour."""
    yield look
    for shape, dash in product((*SHAPES, *ARMS), (None, "6 4")):
        yield replace(look, shape=shape, dash=dash)


def _polygon(corners: int, turn: float) -> tuple[Point, ...]:
    angles = [2 * math.pi * (corner / corners + turn) for corner in range(corners)]
    return tuple((math.sin(angle), -math.cos(angle)) for angle in angles)


SHAPES: dict[str, tuple[Point, ...]] = {
    "square": tuple((0.88 * x, 0.88 * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))),
    "diamond": tuple((1.2 * x, 1.2 * y) for x, y in _polygon(4, 0)),
    "up": tuple((1.25 * x, 1.25 * y + 0.2) for x, y in _polygon(3, 0)),
    "down": tuple((1.25 * x, 1.25 * y - 0.2) for x, y in _polygon(3, 0.5)),
    "right": tuple((1.25 * x - 0.2, 1.25 * y) for x, y in _polygon(3, 0.25)),
    "left": tuple((1.25 * x + 0.2, 1.25 * y) for x, y in _polygon(3, 0.75)),
    "hexagon": tuple((1.1 * x, 1.1 * y) for x, y in _polygon(6, 0)),
    "star": tuple(
        ((2.0 if corner % 2 == 0 else 0.85) * x, (2.0 if corner % 2 == 0 else 0.85) * y)
        for corner, (x, y) in enumerate(_polygon(10, 0))
    ),
}
ARMS = {
    "plus": ((-1.2, 0), (1.2, 0), (0, -1.2), (0, 1.2)),
    "cross": ((-0.9, -0.9), (0.9, 0.9), (-0.9, 0.9), (0.9, -0.9)),
}


def marker(shape: str, place: Point, size: float, **attributes: str | float | None) -> str:
    """A marker of about the radius ``size``: circle, square, diamond, a triangle, hexagon, star, plus or cross.

    Plus and cross have no area: their colour is that of ``fill``, drawn as a line.
    """
    x, y = place
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=size, **attributes)
    if shape in ARMS:
        ends = [(x + size * across, y + size * down) for across, down in ARMS[shape]]
        line = "".join(f"M{number(a)},{number(b)}L{number(c)},{number(d)}" for (a, b), (c, d) in (ends[:2], ends[2:]))
        return element("path", d=line, stroke=attributes.get("fill"), stroke_width=2.0, fill="none")
    return element(
        "path", d=closed_path((x + size * across, y + size * down) for across, down in SHAPES[shape]), **attributes
    )


def tipped(tip: str, *children: str) -> str:
    """A group that tells its numbers when a pointer rests on it."""
    return element("g", element("title", escape(tip)), *children, data_tip=tip)


def range_of(values: Iterable[float], axis: Axis) -> tuple[float, float]:
    """The ends of an axis: those that it names, else the values with some room on both sides.

    Args:
        values: what must be seen; those that are not finite, and those not above 0 of a logarithmic axis, are left out.
        axis: whose ends are wanted.

    Returns:
        Low and high, low < high.
    """
    seen = [each for each in values if math.isfinite(each) and (each > 0 or not axis.log)]
    low, high = (min(seen), max(seen)) if seen else (1.0, 10.0) if axis.log else (0.0, 1.0)
    if axis.log:
        room = (high / low) ** PAD if high > low else 2.0
        low, high = low / room, high * room
    else:
        room = PAD * (high - low) or abs(high) * PAD or 1.0
        low, high = low - room, high + room
    low, high = low if axis.low is None else axis.low, high if axis.high is None else axis.high
    return (low, high) if low < high else (low, low * 2 if axis.log else low + 1.0)


def ticks_of(axis: Axis, scale: Scale, about: int) -> tuple[tuple[float, str], ...]:
    """The ticks within the ends of a scale and their labels."""
    low, high = scale.low, scale.high
    if axis.ticks is not None:
        wanted = sorted(set(axis.ticks))
        ratio = wanted[-1] / wanted[-2] if axis.log and len(wanted) > 1 and wanted[-2] > 0 else 1.0
        while ratio >= 2 and ratio == int(ratio) and wanted[-1] * ratio <= high:
            wanted.append(wanted[-1] * ratio)
        values = tuple(each for each in wanted if low <= each <= high)
    else:
        values = ()
    if not values:
        values = log_ticks(low, high, about) if axis.log else round_ticks(low, high, about)
    return tuple(zip(values, tick_labels(values), strict=True))


def fitting_ticks(axis: Axis, scale: Scale, about: int, size: float) -> tuple[tuple[float, str], ...]:
    """The ticks of a horizontal axis: as many as have room for their labels, which may be fewer than ``about``."""
    found: tuple[tuple[float, str], ...] = ()
    for wanted in range(about, 1, -1):
        found = ticks_of(axis, scale, wanted)
        ends = [(scale.at(value) or 0.0, width_of(label, size) / 2) for value, label in found]
        if all(first + half + 4 < second - other for (first, half), (second, other) in pairwise(ends)):
            break
    return found


def tick_room(axis: Axis, scale: Scale, about: int, size: float) -> float:
    """The width of the widest label of a vertical axis, with its distance to the axis."""
    return max((width_of(label, size) for _, label in ticks_of(axis, scale, about)), default=0.0) + TICK + 2


def y_axis(axis: Axis, frame: Frame, layout: Layout, about: int) -> str:
    """Horizontal lines at the ticks, their labels at the left, and the name of the axis above it."""
    parts = []
    for value, label in ticks_of(axis, frame.y, about):
        y = frame.y.inside(value) or 0.0
        parts.append(element("path", d=f"M{number(frame.left)},{number(y)}H{number(frame.right)}", stroke="@grid"))
        place = (frame.left - TICK - 2, y + layout.small * 0.35)
        parts.append(text(place, label, fill="@soft", font_size=layout.small, text_anchor="end"))
    return "".join(parts)


def y_name(axis: Axis, layout: Layout) -> tuple[str, float]:
    """The name of a vertical axis in lines above the frame, and their height."""
    lines = paragraph(axis.full_name, layout.font, layout.width - 4)
    height = len(lines) * layout.font * 1.35
    rows = [text((0, (row + 0.8) * layout.font * 1.35), line, fill="@ink") for row, line in enumerate(lines)]
    return "".join(rows), height + 6


def x_axis(axis: Axis, frame: Frame, layout: Layout, about: int = 7) -> tuple[str, float]:
    """A line below the data with ticks, labels that do not touch each other, and the name; with its lower end."""
    bottom, size = frame.bottom, layout.small
    parts = [element("path", d=f"M{number(frame.left)},{number(bottom)}H{number(frame.right)}", stroke="@axis")]
    free = -math.inf
    for value, label in fitting_ticks(axis, frame.x, about, size):
        x, half = frame.x.inside(value) or 0.0, width_of(label, size) / 2
        parts.append(element("path", d=f"M{number(x)},{number(bottom)}v{number(TICK)}", stroke="@axis"))
        middle = min(max(x, half), layout.width - half)
        if middle - half > free:
            place = (middle, bottom + TICK + size * 1.05)
            parts.append(text(place, label, fill="@soft", font_size=size, text_anchor="middle"))
            free = middle + half + 4
    end = bottom + TICK + size * 1.2
    lines = paragraph(axis.full_name, layout.font, layout.width - frame.left)
    middle = (frame.left + frame.right) / 2
    for line in lines:
        half = width_of(line, layout.font) / 2
        x = max(min(middle, layout.width - half), half)
        parts.append(text((x, end + layout.font * 1.15), line, fill="@ink", text_anchor="middle"))
        end += layout.font * 1.35
    return "".join(parts), end + layout.font * 0.4


def key_rows(
    names: Sequence[str],
    sample: Callable[[int, Point], str],
    layout: Layout,
    *,
    left: float = 0.0,
    sample_width: float = 26,
) -> tuple[str, float]:
    """Names with their samples in rows that fill the width.

    Args:
        names: of the entries.
        sample: draws the sample of an entry, given its number and the left end of its middle line.
        layout: the place.
        left: where rows begin.
        sample_width: of a sample in pixels.

    Returns:
        The elements, from 0 downwards, and their height.
    """
    parts, x, row, step = [], left, 0, layout.font * 1.6
    for place, name in enumerate(names):
        shown = shortened(name, layout.small, layout.width - left - sample_width - 6)
        width = sample_width + 6 + width_of(shown, layout.small)
        if x > left and x + width > layout.width:
            x, row = left, row + 1
        y = (row + 0.5) * step
        parts.append(sample(place, (x, y)))
        parts.append(text((x + sample_width + 6, y + layout.small * 0.35), shown, fill="@ink", font_size=layout.small))
        x += width + 16
    return "".join(parts), (row + 1) * step + 6 if names else 0.0
