"""Landscapes: a quantity over (a, b) as a heat map, with the trials, the winner and what cannot be told from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mdm_tune.pages.chart_frame import Axis, Better, Frame, Look, key_rows, marker, tick_room, tipped, x_axis, y_axis
from mdm_tune.pages.colours import colour_at
from mdm_tune.pages.contours import outlines
from mdm_tune.pages.figure import Drawing, Figure, Layout
from mdm_tune.pages.label_places import free_box
from mdm_tune.pages.scales import Scale, round_ticks, shown, tick_labels
from mdm_tune.pages.svg import Point, closed_path, element, escape, number, paragraph, text, width_of

__all__ = ["Landscape", "Place", "Trial", "landscape"]

Floats = NDArray[np.float64]
LEFT, BETWEEN, RIGHT = 36.0, 22.0, 10.0  # least room for the ticks of b, between panels, and at the right
ALONE = 400.0  # the size of a panel that stands alone in a wide place
BANDS = 12  # colours, at most
USUAL = 0.4  # of the values are worse than the end of the colours, unless the span is given
CELLS = 8  # per axis: cells of the map that tell their value
DARK, LIGHT = "#14171c", "#fefefe"  # what is drawn on the map: in both, so that it is seen on each colour


@dataclass(frozen=True)
class Trial:
    """A point that was tried.

    Attributes:
        a: above 0.
        b: above 0.
        tip: its numbers in words.
        dropped: whether it was dropped before all examples were scored.
    """

    a: float
    b: float
    tip: str
    dropped: bool = False


@dataclass(frozen=True)
class Place:
    """A point that has a name.

    Attributes:
        a: above 0.
        b: above 0.
        name: a few letters, such as "linear".
        look: whose colour and marker it has; by default a star for the winner, and a dark square for others.
    """

    a: float
    b: float
    name: str
    look: Look | None = None


@dataclass(frozen=True)
class Landscape:
    """One map over (a, b), both on logarithmic axes.

    Attributes:
        name: stands above the map.
        a: (A,) values of a, increasing, above 0.
        b: (B,) values of b.
        values: (A, B); NaN where there is none, infinite where they are worst; None for a map without colours.
        label: the quantity that the colours show.
        unit: of the quantity.
        better: which values are better; they have the lighter colour.
        span: the values at the ends of the colours; by default the better three fifths of the map.
        trials: the points that were tried.
        finalists: of the trials, (a, b) of each.
        winner: the point that won, with a name such as "winner (0.43, 0.76)".
        winner_name: what the legend says of it.
        named: points with names, such as linear.
    """

    name: str
    a: ArrayLike
    b: ArrayLike
    values: ArrayLike | None
    label: str
    unit: str = ""
    better: Better = "higher"
    span: tuple[float, float] | None = None
    trials: Sequence[Trial] = ()
    finalists: Sequence[tuple[float, float]] = ()
    winner: Place | None = None
    winner_name: str = "winner"
    named: Sequence[Place] = ()

    @cached_property
    def levels(self) -> list[float]:
        """Where one colour ends and the next begins, from the worst to the best value; oriented as the values are.

        The first level is the worst end of the colours, the last one the best end.
        """
        return _levels(self)

    @cached_property
    def bands(self) -> list[tuple[str, list[list[Point]]]]:
        """Each colour with the outlines of the part of the map that is at least as good, for a size of ``ALONE``."""
        if not self.levels:
            return []
        x, y = _pixels(self.a, _scale(self.a, 0, ALONE)), _pixels(self.b, _scale(self.b, ALONE, 0))
        values = _oriented(self)
        lowest = float(np.nanmin(np.where(np.isfinite(values), values, np.nan))) - 1.0
        found = [outlines(x, y, values, level) for level in [lowest, *self.levels[1:-1]]]
        return list(zip(_colours(self.levels), found, strict=True))


def landscape(panels: Sequence[Landscape], *, title: str, description: str) -> Figure:
    """Maps over (a, b), side by side or, in a narrow place, one below the other. Each is as large as its arrays.

    Args:
        panels: one or more.
        title: of the figure.
        description: what is seen.

    Raises:
        ValueError: there is no panel, a does not increase from above 0, nor b, or an array has another shape.
    """
    if not panels:
        raise ValueError("A landscape needs one panel or more.")
    for each in panels:
        for axis in (np.ravel(each.a), np.ravel(each.b)):
            if len(axis) < 2 or not (axis[0] > 0 and (np.diff(axis) > 0).all() and np.isfinite(axis).all()):
                raise ValueError(f"{each.name!r} needs two or more values of a and b that increase from above 0.")
        shape = np.shape(each.a) + np.shape(each.b)
        if each.values is not None and np.shape(each.values) != shape:
            raise ValueError(f"{each.name!r} has values of shape {np.shape(each.values)} on axes of {shape}.")
    kept = tuple(panels)
    return Figure(title, description, lambda layout: _draw(kept, layout))


def _draw(panels: Sequence[Landscape], layout: Layout) -> Drawing:
    columns = 1 if layout.compact else min(len(panels), 2)
    left = max(LEFT, *(_tick_room(each, layout) for each in panels))
    size = min((layout.width - RIGHT - columns * left - (columns - 1) * BETWEEN) / columns, ALONE)
    parts, top, below = list[str](), 0.0, 0.0
    for place, panel in enumerate(panels):
        column = place % columns
        if place and column == 0:
            top = below + 14
        corner = left + column * (size + left + BETWEEN)
        drawn, bottom = _panel(panel, (corner, top, size), left, layout)
        parts.append(drawn)
        below = max(below, bottom)
    beside = columns == 1 and not layout.compact  # one panel leaves room at its right
    entries = _entries(panels)
    if beside:
        parts.append(_key_column(entries, (left + size + BETWEEN + RIGHT, _head(panels[0], size, layout)[1]), layout))
    else:
        rows, height = key_rows([name for name, _ in entries], lambda n, at: entries[n][1](at), layout, sample_width=22)
        parts.append(element("g", rows, transform=f"translate(0,{number(below + 6)})"))
        below += height + 6
    return Drawing(below, "".join(parts))


A, B = Axis("a", log=True), Axis("b", log=True)


def _scale(values: ArrayLike, start: float, end: float) -> Scale:
    found = np.ravel(values)
    return Scale(low=float(found[0]), high=float(found[-1]), start=start, end=end, log=True)


def _tick_room(panel: Landscape, layout: Layout) -> float:
    """The width of the labels of b, and of the name of b beside them."""
    return tick_room(B, _scale(panel.b, 0, 1), 7, layout.small) + width_of("b", layout.font) + 4


def _panel(panel: Landscape, square: tuple[float, float, float], room: float, layout: Layout) -> tuple[str, float]:
    """One map with its axes and its bar of colours; and its lower end.

    Args:
        panel: the map.
        square: left, top and size.
        room: for the labels of b.
        layout: the place.
    """
    left, top, size = square
    head, height = _head(panel, size, layout)
    top += height
    frame = Frame(_scale(panel.a, left, left + size), _scale(panel.b, top + size, top))
    parts = [element("g", head, transform=f"translate({number(left)},{number(square[1])})")]
    parts.append(y_axis(B, frame, layout, 7))
    parts.append(element("rect", x=left, y=top, width=size, height=size, fill="@panel"))
    levels = panel.levels
    parts.append(_map(panel, frame))
    if panel.values is not None and not layout.compact:
        parts.append(_cells(panel, frame))
    parts += [_trial(each, frame) for each in panel.trials if _inside(each.a, each.b, frame)]
    parts.append(_labelled(panel, frame, layout))
    axis, below = x_axis(A, frame, layout, 7)
    name = text((left - room, top + layout.small * 0.35), "b", fill="@ink")
    parts += [axis, name]
    if len(levels) > 1:
        bar, height = _bar(panel, levels, (left, below + 8, size), layout)
        parts.append(bar)
        below += height + 8
    return "".join(parts), below


def _head(panel: Landscape, size: float, layout: Layout) -> tuple[str, float]:
    lines = paragraph(panel.name, layout.font, size, bold=True)
    step = layout.font * 1.35
    rows = [text((0, (n + 0.8) * step), line, fill="@ink", font_weight="600") for n, line in enumerate(lines)]
    return "".join(rows), len(lines) * step + 10


def _oriented(panel: Landscape) -> Floats:
    """The values, with the better ones larger, and the worst ones finite."""
    sign = 1.0 if panel.better == "higher" else -1.0
    values = sign * np.asarray(panel.values, dtype=np.float64)
    finite = values[np.isfinite(values)]
    least = float(finite.min()) if finite.size else 0.0
    return np.where(np.isneginf(values), least, values)


def _levels(panel: Landscape) -> list[float]:
    if panel.values is None:
        return []
    values = _oriented(panel)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return []
    sign = 1.0 if panel.better == "higher" else -1.0
    low, high = (float(np.quantile(finite, USUAL)), float(finite.max()))
    if panel.span is not None:
        low, high = sorted(sign * each for each in panel.span)
    if not low < high:
        return [low]
    inner = [each for each in round_ticks(low, high, BANDS - 1) if low < each < high]
    first = max(low, 2 * inner[0] - inner[1]) if len(inner) > 1 else low
    return [first, *inner, high]


def _colours(levels: Sequence[float]) -> list[str]:
    bands = max(len(levels) - 1, 1)
    return [colour_at((place + 0.5) / bands) for place in range(bands)]


def _map(panel: Landscape, frame: Frame) -> str:
    """The bands of colours, each of which covers the part of the map that is at least as good."""
    share, parts = (frame.right - frame.left) / ALONE, []
    for colour, found in panel.bands:
        paths = [closed_path([(frame.left + share * x, frame.top + share * y) for x, y in each]) for each in found]
        if paths:
            parts.append(element("path", d="".join(paths), fill=colour, fill_rule="evenodd"))
    return "".join(parts)


def _pixels(values: ArrayLike, scale: Scale) -> Floats:
    return np.array([scale.inside(float(each)) for each in np.ravel(values)], dtype=np.float64)


def _cells(panel: Landscape, frame: Frame) -> str:
    """Squares that show nothing but tell the value at their centre."""
    x, y = _pixels(panel.a, frame.x), _pixels(panel.b, frame.y)
    values = np.asarray(panel.values, dtype=np.float64)
    size, parts = (frame.right - frame.left) / CELLS, []
    for column in range(CELLS):
        for row in range(CELLS):
            corner = (frame.left + column * size, frame.top + row * size)
            i, j = (int(np.abs(v - c - size / 2).argmin()) for v, c in zip((x, y), corner, strict=True))
            if not math.isnan(values[i, j]):
                where = f"a {shown(float(np.ravel(panel.a)[i]))}, b {shown(float(np.ravel(panel.b)[j]))}"
                length = number(size)
                path = f"M{number(corner[0])},{number(corner[1])}h{length}v{length}h-{length}z"
                tip = f"{where}: {shown(float(values[i, j]))}"
                parts.append(element("path", element("title", escape(tip)), d=path, data_tip=tip))
    return element("g", *parts, fill="transparent")


def _inside(a: float, b: float, frame: Frame) -> bool:
    return frame.x.low <= a <= frame.x.high and frame.y.low <= b <= frame.y.high


def _at(a: float, b: float, frame: Frame) -> Point:
    return frame.x.inside(a) or 0.0, frame.y.inside(b) or 0.0


def _dot(place: Point, dropped: bool) -> str:
    if dropped:
        return _circle(place, 3.2)
    return element("circle", cx=place[0], cy=place[1], r=3.6, fill=DARK, stroke=LIGHT, stroke_width=1.3)


def _ring(place: Point) -> str:
    return _circle(place, 7.5)


def _circle(place: Point, radius: float) -> str:
    """A dark ring with a light edge."""
    ring: dict[str, str | float | None] = {"cx": place[0], "cy": place[1], "r": radius, "fill": "none"}
    return element("circle", stroke=LIGHT, stroke_width=3.6, **ring) + element(
        "circle", stroke=DARK, stroke_width=1.5, **ring
    )


def _star(place: Point) -> str:
    return _pinned("star", place, 5.2, "#e4572e")


def _pinned(shape: str, place: Point, size: float, colour: str) -> str:
    """A marker that is seen on each colour: with a light edge around a dark one."""
    given: dict[str, str | float | None] = {"fill": colour, "paint_order": "stroke"}
    if shape in ("plus", "cross"):  # they have no area
        shape = "diamond"
    return marker(shape, place, size, stroke=LIGHT, stroke_width=3, **given) + marker(
        shape, place, size, stroke=DARK, stroke_width=1.0, **given
    )


def _winner(panel: Landscape, place: Point) -> str:
    look = None if panel.winner is None else panel.winner.look
    return _star(place) if look is None else _pinned(look.shape, place, 6.4, look.colour)


def _square(place: Point) -> str:
    return marker("square", place, 4.4, fill=DARK, stroke=LIGHT, stroke_width=1.6)


def _named(each: Place, place: Point) -> str:
    return _square(place) if each.look is None else _pinned(each.look.shape, place, 5.2, each.look.colour)


def _trial(trial: Trial, frame: Frame) -> str:
    place = _at(trial.a, trial.b, frame)
    return tipped(
        trial.tip, element("circle", cx=place[0], cy=place[1], r=8, fill="transparent"), _dot(place, trial.dropped)
    )


def _labelled(panel: Landscape, frame: Frame, layout: Layout) -> str:
    """Finalists, points with names and the winner; their names where they cover nothing that matters."""
    parts = [_ring(_at(*each, frame)) for each in panel.finalists if _inside(*each, frame)]
    points = [*panel.named, *([panel.winner] if panel.winner else [])]
    points = [each for each in points if _inside(each.a, each.b, frame)]
    taken = [(x - 10, y - 9, x + 10, y + 9) for each in points for x, y in [_at(each.a, each.b, frame)]]
    soft = [(x - 4, y - 4, x + 4, y + 4) for each in panel.trials for x, y in [_at(each.a, each.b, frame)]]
    soft += 3 * [(x - 9, y - 9, x + 9, y + 9) for each in panel.finalists for x, y in [_at(*each, frame)]]
    for each in points:
        place = _at(each.a, each.b, frame)
        drawn = _winner(panel, place) if each is panel.winner else _named(each, place)
        parts.append(tipped(f"{each.name}: a {shown(each.a)}, b {shown(each.b)}", drawn))
    for each in reversed(points):  # the winner's name first
        point = _at(each.a, each.b, frame)
        box = free_box(point, each.name, (taken, soft), (frame, layout.small))
        if box is not None:
            taken.append(box)
            halo: dict[str, str | float | None] = {"stroke": LIGHT, "stroke_width": 3.2, "stroke_linejoin": "round"}
            # The width is only estimated: the end that is next to the point stays where it is.
            x, anchor = (box[0] + box[2]) / 2, "middle"
            if box[0] > point[0]:
                x, anchor = box[0], "start"
            elif box[2] < point[0]:
                x, anchor = box[2], "end"
            place = (x, box[3] - 3)
            parts.append(
                text(
                    place,
                    each.name,
                    fill=DARK,
                    font_size=layout.small,
                    font_weight="600",
                    text_anchor=anchor,
                    paint_order="stroke",
                    **halo,
                )
            )
    return "".join(parts)


def _bar(
    panel: Landscape, levels: Sequence[float], square: tuple[float, float, float], layout: Layout
) -> tuple[str, float]:
    """The bar of colours with its values and the name of the quantity. square: left, top and width."""
    left, top, size = square
    sign = 1.0 if panel.better == "higher" else -1.0
    scale = Scale(low=levels[0], high=levels[-1], start=left, end=left + size)
    parts = []
    for level, following, colour in zip(levels, levels[1:], _colours(levels), strict=False):
        start, end = scale.inside(level) or 0.0, scale.inside(following) or 0.0
        parts.append(element("rect", x=start, y=top, width=end - start + 0.4, height=10, fill=colour))
    if levels[0] > np.nanmin(_oriented(panel)):  # the darkest colour is that of all worse values too
        tip = [(left, top), (left - 8, top + 5), (left, top + 10)]
        parts.append(element("path", d=closed_path(tip), fill=_colours(levels)[0]))
    values = [sign * each + 0.0 for each in levels[1:-1]]
    free = -math.inf
    for level, label in zip(levels[1:-1], tick_labels(values), strict=True):
        x, half = scale.inside(level) or 0.0, width_of(label, layout.small) / 2
        if x - half > free and left <= x - half and x + half <= left + size:
            parts.append(element("path", d=f"M{number(x)},{number(top + 10)}v3", stroke="@axis"))
            place = (x, top + 14 + layout.small * 0.85)
            parts.append(text(place, label, fill="@soft", font_size=layout.small, text_anchor="middle"))
            free = x + half + 6
    axis = Axis(panel.label, panel.unit, better=panel.better)
    lines = paragraph(f"{axis.name}; lighter is better", layout.small, size + RIGHT)
    end = top + 14 + layout.small * 1.15
    for row, line in enumerate(lines):
        parts.append(text((left, end + (row + 0.9) * layout.small * 1.3), line, fill="@ink", font_size=layout.small))
    return "".join(parts), end + len(lines) * layout.small * 1.3 + 6 - top


Sample = Callable[[Point], str]  # draws the sample of an entry, from the left end of its middle line


def _entries(panels: Sequence[Landscape]) -> list[tuple[str, Sample]]:
    """What the legend shows: each kind of point that there is."""
    trials = [each for panel in panels for each in panel.trials]
    winners = {panel.winner_name: panel for panel in reversed(panels) if panel.winner is not None}

    def centred(draw: Sample) -> Sample:
        return lambda place: _ground(place) + draw((place[0] + 11, place[1]))

    found: list[tuple[str, Sample]] = []
    if any(not each.dropped for each in trials):
        found.append(("trial", centred(lambda place: _dot(place, False))))
    if any(each.dropped for each in trials):
        found.append(("trial that was dropped early", centred(lambda place: _dot(place, True))))
    if any(panel.finalists for panel in panels):
        found.append(("finalist", centred(_ring)))
    return found + [(panel.winner_name, centred(partial(_winner, panel))) for panel in reversed(winners.values())]


def _ground(place: Point) -> str:
    """A piece of the map, so that a sample looks as it does there."""
    return element("rect", fill=colour_at(0.75), x=place[0], y=place[1] - 9, width=22.0, height=18.0)


def _key_column(entries: Sequence[tuple[str, Sample]], corner: Point, layout: Layout) -> str:
    """The legend as a column, for the room beside a single map."""
    x, y = corner
    parts, y = [], y + 10
    for name, sample in entries:
        parts.append(sample((x, y)))
        lines = paragraph(name, layout.small, layout.width - x - 30)
        for row, line in enumerate(lines):
            place = (x + 30, y + layout.small * (0.35 + 1.3 * row))
            parts.append(text(place, line, fill="@ink", font_size=layout.small))
        y += layout.small * 1.3 * len(lines) + 12
    return "".join(parts)
