"""Lines: quality against calls, alpha against time, the information profile, energies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TypeVar

from mdm_tune.core.numerals import significant
from mdm_tune.pages.chart_frame import (
    Axis,
    Frame,
    Look,
    Role,
    key_rows,
    looks,
    marker,
    range_of,
    tick_room,
    tipped,
    x_axis,
    y_axis,
    y_name,
)
from mdm_tune.pages.figure import Drawing, Figure, Layout
from mdm_tune.pages.label_places import Box, free_box
from mdm_tune.pages.scales import Scale, shown, spread, with_interval
from mdm_tune.pages.svg import Point, closed_path, element, number, open_path, shortened, text, width_of

__all__ = ["Mark", "Series", "lines", "numbers_of"]

FEW = 16  # a series of at most as many points has a marker and error bars at each; others have a band
HINTS = 17  # points of a longer series that tell their numbers
SIDE, APART = 4.0, 6.5  # pixels between series whose points all share one place, and between more than ``CROWD``
CROWD = 4
CAP, WIDER = 3.0, 2.5  # half the width of the ends of an error bar, and what each further series at its place adds
LABELS = 0.26  # of the width, at most, for the names at the ends of lines
MOVED = 3.6  # lines: names that would have to move further from the ends of their lines stand above the chart
SAME = 1.0  # pixels: ends of lines that are nearer are one place
NEAR = 12.0  # pixels between the middle of a text and a point that it covers
NONE = math.nan
Part = TypeVar("Part")


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: shown at its end or in the legend.
        x: the values along the horizontal axis, increasing.
        y: the values, one for each of ``x``; NaN leaves a gap.
        low: lower ends of intervals, one for each of ``x``; NaN or None where there is none.
        high: upper ends of intervals.
        left: lower ends of intervals of ``x``.
        right: upper ends of intervals of ``x``.
        role: which colour, shape and dashes it has.
        dashed: whether a line that its role draws whole is dashed.
        tips: the words that a point shows; by default its numbers.
        look: how it is drawn; by default one of its role that no other line has.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    left: Sequence[float | None] | None = None
    right: Sequence[float | None] | None = None
    role: Role = "other"
    dashed: bool = False
    tips: Sequence[str] | None = None
    look: Look | None = None


def numbers_of(series: Sequence[Series]) -> str:
    """The points of series in words, for the description of their figure."""
    return "; ".join(
        f"{each.name}: "
        + ", ".join(f"{significant(y, 3)} at {significant(x, 4)}" for x, y in zip(each.x, each.y, strict=True))
        for each in series
    )


@dataclass(frozen=True)
class Mark:
    """A line across the chart at one value of the vertical axis, such as that of the data itself.

    Attributes:
        value: where.
        label: a few words.
    """

    value: float
    label: str


@dataclass(frozen=True)
class _Line:
    """A series with all its values as floats, its look, how far it is moved to the side, and the size of its caps."""

    name: str
    look: Look
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    left: tuple[float, ...]
    right: tuple[float, ...]
    tips: tuple[str, ...]
    side: float = 0.0
    cap: float = CAP

    @property
    def few(self) -> bool:
        return len(self.x) <= FEW


def lines(
    series: Sequence[Series], *, x: Axis, y: Axis, title: str, description: str, marks: Sequence[Mark] = ()
) -> Figure:
    """A chart of lines with their intervals.

    Series of at most 16 points have markers and error bars. Where several share places, the ends of their error bars
    are of different widths; where all points share a single one, they stand a few pixels beside each other. Longer
    series have bands. Names stand at the ends of the lines, or above the chart in a narrow place.

    Args:
        series: the lines; the first ones are drawn last, above the others.
        x: the horizontal axis.
        y: the vertical axis.
        title: of the figure.
        description: what is seen.
        marks: values that are marked.

    Raises:
        ValueError: the fields of a series differ in length.
    """
    found = looks(*zip(*((each.role, each.dashed, each.name) for each in series), strict=True)) if series else ()
    made = [_line(each, each.look or look, (x, y)) for each, look in zip(series, found, strict=True)]
    counted = Counter(place for each in made if each.few for place in set(each.x))
    shared = [
        each for each in made if each.few and any(counted[place] > 1 for place in each.x) and _has_intervals(each)
    ]
    side = SIDE if len(shared) <= CROWD else APART
    single = len({place for each in shared for place in each.x}) == 1
    ranks = {id(each): place for place, each in enumerate(shared)}

    def told_apart(line: _Line) -> _Line:
        place = ranks.get(id(line))
        if place is None:
            return line
        middle = (len(shared) - 1) / 2
        return replace(line, side=side * (place - middle)) if single else replace(line, cap=CAP + WIDER * place)

    told = tuple(map(told_apart, made))
    return Figure(title, description, lambda layout: _draw(told, (x, y), tuple(marks), layout))


def _has_intervals(line: _Line) -> bool:
    return any(math.isfinite(end) for end in line.low)


def _line(series: Series, look: Look, axes: tuple[Axis, Axis]) -> _Line:
    count = len(series.x)
    low, high, left, right = (_numbers(each, count) for each in (series.low, series.high, series.left, series.right))
    y = _numbers(series.y, count)
    if series.tips is None:
        tips = tuple(_tip(series.name, axes, point) for point in zip(series.x, y, low, high, strict=True))
    else:
        tips = tuple(series.tips)
    if not len(tips) == len(y) == len(low) == len(high) == len(left) == len(right) == count:
        raise ValueError(f"The fields of the series {series.name!r} differ in length.")
    x = tuple(float(each) for each in series.x)
    return _Line(name=series.name, look=look, x=x, y=y, low=low, high=high, left=left, right=right, tips=tips)


def _numbers(values: Sequence[float | None] | None, count: int) -> tuple[float, ...]:
    return (NONE,) * count if values is None else tuple(NONE if each is None else float(each) for each in values)


def _tip(name: str, axes: tuple[Axis, Axis], point: tuple[float, float, float, float]) -> str:
    x, y, low, high = point
    unit = f" {axes[1].unit}" if axes[1].unit else ""
    return f"{name}: {with_interval(y, low, high)}{unit} at {axes[0].label} {shown(x)}"


def _draw(made: Sequence[_Line], axes: tuple[Axis, Axis], marks: Sequence[Mark], layout: Layout) -> Drawing:
    head, top = y_name(axes[1], layout)
    top += 4
    frame = _frame(made, axes, marks, layout, (top, _right(made, layout)))
    labels = None
    if not layout.compact and len(made) > 1:
        labels = _names(made, frame, layout)
        if labels is None and all(len(each.x) <= 1 for each in made):
            frame = _frame(made, axes, marks, layout, (top, layout.width - 12))
            labels = _beside(made, frame, layout)
    if labels is None and len(made) > 1:
        rows, height = key_rows([each.name for each in made], lambda n, at: _sample(made[n], at), layout)
        head += element("g", rows, transform=f"translate(0,{number(top - 6)})")
        frame = _frame(made, axes, marks, layout, (top + height, layout.width - 12))
    elif labels is None:
        frame = _frame(made, axes, marks, layout, (top, layout.width - 12))
    below, end = x_axis(axes[0], frame, layout, 5 if layout.compact else 7)
    body = [
        head,
        y_axis(axes[1], frame, layout, _upward_ticks(layout)),
        below,
        *(_mark(each, made, frame, layout) for each in marks),
    ]
    body += [_band(each, frame) for each in reversed(made)]
    body += [_stroke(each, frame) for each in reversed(made)]
    body += [_points(each, frame) for each in reversed(made)]
    return Drawing(end, "".join([*body, labels or ""]))


def _upward_ticks(layout: Layout) -> int:
    return 5 if layout.compact else 7


def _right(made: Sequence[_Line], layout: Layout) -> float:
    """The right edge of the frame if names stand at the ends of the lines."""
    widest = max((width_of(each.name, layout.font, bold=True) for each in made), default=0.0)
    return layout.width - min(widest, LABELS * layout.width) - 30


def _frame(
    made: Sequence[_Line], axes: tuple[Axis, Axis], marks: Sequence[Mark], layout: Layout, edges: tuple[float, float]
) -> Frame:
    """edges: the upper and the right one."""
    top, right = edges
    height = 230.0 if layout.compact else 300.0
    upwards = chain(*(chain(each.y, each.low, each.high) for each in made), (each.value for each in marks))
    low, high = range_of(upwards, axes[1])
    y = Scale(low=low, high=high, start=top + height, end=top, log=axes[1].log)
    left = tick_room(axes[1], y, _upward_ticks(layout), layout.small)
    low, high = range_of(chain(*(chain(each.x, each.left, each.right) for each in made)), axes[0])
    return Frame(Scale(low=low, high=high, start=left, end=right, log=axes[0].log), y)


def _places(line: _Line, values: Sequence[float], frame: Frame) -> list[Point | None]:
    """The places of the points; None where there is none. Those outside the frame are moved to its edge."""
    found: list[Point | None] = []
    for x, y in zip(line.x, values, strict=True):
        across, down = frame.x.at(x), frame.y.inside(y)
        found.append(None if across is None or down is None else (across + line.side, down))
    return found


def _pieces(places: Sequence[Part | None]) -> list[list[Part]]:
    """The runs between gaps."""
    runs: list[list[Part]] = [[]]
    for each in places:
        if each is None:
            runs.append([])
        else:
            runs[-1].append(each)
    return [each for each in runs if each]


def _stroke(line: _Line, frame: Frame) -> str:
    runs = [each for each in _pieces(_places(line, line.y, frame)) if len(each) > 1]
    if not runs:
        return ""
    return element(
        "path",
        d="".join(open_path(each) for each in runs),
        fill="none",
        stroke=line.look.colour,
        stroke_width=line.look.width,
        stroke_dasharray=line.look.dash,
        stroke_linejoin="round",
    )


def _band(line: _Line, frame: Frame) -> str:
    if line.few:
        return ""
    lower, upper = _places(line, line.low, frame), _places(line, line.high, frame)
    both = [None if low is None or high is None else (low, high) for low, high in zip(lower, upper, strict=True)]
    runs = [each for each in _pieces(both) if len(each) > 1]
    shapes = [closed_path([low for low, _ in run] + [high for _, high in reversed(run)]) for run in runs]
    return element("path", d="".join(shapes), fill=line.look.colour, fill_opacity="0.22") if shapes else ""


def _points(line: _Line, frame: Frame) -> str:
    if not line.few:
        return _hints(line, frame)
    parts = []
    columns = (_places(line, values, frame) for values in (line.y, line.low, line.high))
    for tip, place, low, high, left, right in zip(line.tips, *columns, line.left, line.right, strict=True):
        if place is None:
            continue
        bar = ""
        if low is not None and high is not None:
            x, upper, lower = number(place[0]), number(high[1]), number(low[1])
            start, width = number(place[0] - line.cap), number(2 * line.cap)
            ends = f"M{start},{upper}h{width}M{start},{lower}h{width}"
            bar = element("path", d=f"M{x},{upper}V{lower}{ends}", stroke=line.look.colour, stroke_width=1.3)
        if (first := frame.x.inside(left)) is not None and (last := frame.x.inside(right)) is not None:
            caps = f"M{number(first)},{number(place[1] - CAP)}v6M{number(last)},{number(place[1] - CAP)}v6"
            path = f"M{number(first)},{number(place[1])}H{number(last)}{caps}"
            bar += element("path", d=path, stroke=line.look.colour, stroke_width=1.3)
        dot = marker(line.look.shape, place, 4.2, fill=line.look.colour, stroke="@paper", stroke_width=1)
        parts.append(tipped(tip, _target(place, 9), bar, dot))
    return "".join(parts)


def _hints(line: _Line, frame: Frame) -> str:
    """Points of a long line that show nothing but tell their numbers."""
    places = _places(line, line.y, frame)
    step = max(1, math.ceil(len(places) / HINTS))
    some = list(zip(line.tips, places, strict=True))[::step]
    return "".join(tipped(tip, _target(place, 8)) for tip, place in some if place is not None)


def _target(place: Point, radius: float) -> str:
    return element("circle", cx=place[0], cy=place[1], r=radius, fill="transparent")


def _names(made: Sequence[_Line], frame: Frame, layout: Layout) -> str | None:
    """The names at the right of the frame, at the height of their ends or near it; None if they have no place there."""
    ends = [(line, runs[-1][-1]) for line in made if (runs := _pieces(_places(line, line.y, frame)))]
    if not _apart([place for _, place in ends]):
        return None
    gap = layout.font * 1.25
    heights = spread((place[1] for _, place in ends), gap, frame.top + 2, frame.bottom)
    parts = []
    for (line, (x, y)), height in zip(ends, heights, strict=True):
        if abs(height - y) > MOVED * gap or frame.right - x > LABELS * layout.width:
            return None
        path = open_path([(x + 7, y), (frame.right + 2, y), (frame.right + 12, height)])
        parts.append(element("path", d=path, fill="none", stroke=line.look.colour, stroke_opacity="0.5"))
        if line.few:
            parts.append(marker(line.look.shape, (frame.right + 18, height), 3.6, fill=line.look.colour))
        place = (frame.right + (27 if line.few else 16), height + layout.font * 0.35)
        if place[0] + width_of(line.name, layout.font, bold=True) > layout.width:
            return None
        parts.append(text(place, line.name, fill=line.look.colour, font_weight="600"))
    return "".join(parts)


def _apart(ends: Sequence[Point]) -> bool:
    """Whether the ends of lines are at different places, so that a name beside an end says which line it is of."""
    heights = sorted(y for _, y in ends)
    return all(below - above >= SAME for above, below in pairwise(heights))


def _beside(made: Sequence[_Line], frame: Frame, layout: Layout) -> str | None:
    """The names of lines of one point beside their points; None if a name has no place there."""
    points = [(line, place) for line in made for place in _places(line, line.y, frame) if place is not None]
    taken: list[Box] = []
    for line, (x, y) in points:
        ends = [place[1] for each in (line.low, line.high) for place in _places(line, each, frame) if place is not None]
        taken.append((x - 6, min([y - 6, *ends]), x + 6, max([y + 6, *ends])))
    parts = []
    for line, place in points:
        box = free_box(place, line.name, (taken, ()), (frame, layout.font))
        if box is None:
            return None
        taken.append(box)
        at = (box[0], box[3] - layout.font * 0.3)
        parts.append(text(at, line.name, fill=line.look.colour, font_weight="600"))
    return "".join(parts)


def _sample(line: _Line, place: Point) -> str:
    look, (x, y) = line.look, place
    stroke = element(
        "path",
        d=f"M{number(x)},{number(y)}h26",
        stroke=look.colour,
        stroke_width=look.width,
        stroke_dasharray=look.dash,
    )
    dot = marker(look.shape, (x + 13, y), 4, fill=look.colour, stroke="@paper", stroke_width=1)
    return stroke + (dot if line.few else "")


def _covered(start: float, width: float, middle: float, points: Sequence[Point]) -> int:
    """How many points lie in a line of text. middle: its height."""
    return sum(start - 6 <= x <= start + width + 6 and abs(y - middle) < NEAR for x, y in points)


def _mark(mark: Mark, made: Sequence[_Line], frame: Frame, layout: Layout) -> str:
    y = frame.y.at(mark.value)
    if y is None or not frame.top <= y <= frame.bottom:
        return ""
    words = shortened(mark.label, layout.small, frame.right - frame.left - 8)
    path = f"M{number(frame.left)},{number(y)}H{number(frame.right)}"
    width = width_of(words, layout.small)
    starts = (frame.left + 4, frame.right - 4 - width, (frame.left + frame.right - width) / 2)
    points = [point for line in made if line.few for point in _places(line, line.y, frame) if point is not None]
    x = min(starts, key=lambda start: _covered(start, width, y - layout.small / 2, points))
    label = text((x, y - 4), words, fill="@soft", font_size=layout.small)
    return element("path", d=path, stroke="@soft", stroke_dasharray="3 3") + label
