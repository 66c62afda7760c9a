"""Gains with their intervals against the line of no difference: one row for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from mdm_tune.pages.chart_frame import Axis, Better, Frame, fitting_ticks, marker, range_of, tipped, x_axis
from mdm_tune.pages.figure import Drawing, Figure, Layout
from mdm_tune.pages.scales import Scale, with_interval
from mdm_tune.pages.svg import element, escape, number, paragraph, text, width_of

__all__ = ["Gain", "Verdict", "dots", "open_verdict"]

Verdict = Literal["gain", "no gain", "not shown", "more calls", "less diverse", "loss"]
COLOURS: dict[Verdict, str] = {"gain": "@tuned", "loss": "@loss"}  # of what is claimed
OPEN = "@soft"  # of all else
SIDES = ("worse", "better")
ROW = 30.0  # height of a row in a wide place, in pixels
ABOUT = 8  # ticks
LABELS = 0.30  # of the width, at most, for the labels, which may have several lines


@dataclass(frozen=True)
class Gain:
    """One difference.

    Attributes:
        label: what is compared.
        value: the difference.
        low: the lower end of its interval; None if it is exact or not known, or infinite.
        high: the upper end.
        verdict: what is claimed; by default what the interval says.
        group: a heading, such as the budget; rows of one group stand together.
        tip: more words, shown when the pointer rests on the row.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    verdict: Verdict | None = None
    group: str = ""
    tip: str = ""


def verdict_of(gain: Gain, better: Better) -> Verdict:
    """A gain or a loss if the whole interval lies on one side of zero."""
    if gain.verdict is not None:
        return gain.verdict
    ends = [gain.value if each is None else each for each in (gain.low, gain.high)]
    low, high = sorted(ends if better == "higher" else [-each for each in ends])
    return "gain" if low > 0 else "loss" if high < 0 else open_verdict(exact=gain.low is None and gain.high is None)


def open_verdict(*, exact: bool) -> Verdict:
    """What is said of a difference that is no gain or may be chance."""
    return "no gain" if exact else "not shown"


def dots(rows: Sequence[Gain], *, x: Axis, title: str, description: str) -> Figure:
    """Differences with intervals, each with its numbers and a verdict in words.

    Args:
        rows: from top to bottom.
        x: the axis of the differences; its ``better`` says which sign is a gain, by default the positive one.
        title: of the figure.
        description: what is seen.

    Raises:
        ValueError: there is no row, or a difference is not finite.
    """
    if not rows or not all(math.isfinite(each.value) for each in rows):
        raise ValueError("A chart of gains needs rows, and each row a finite difference.")
    kept = tuple(rows)
    return Figure(title, description, lambda layout: _draw(kept, x, layout))


def _words(row: Gain) -> str:
    return with_interval(row.value, row.low, row.high, signed=True)


@dataclass(frozen=True)
class _Plan:
    """Where the parts of each row stand.

    Attributes:
        scale: of the differences.
        height: of a row.
        line: from the upper end of a row to its label.
        numbers: to its numbers.
        dot: to its dot.
        better: which sign is a gain.
        verdict: the width of the verdicts.
    """

    scale: Scale
    height: float
    line: float
    numbers: float
    dot: float
    better: Better
    verdict: float


def _plan(rows: Sequence[Gain], axis: Axis, layout: Layout) -> _Plan:
    better = axis.better or "higher"
    label = max(width_of(each.label, layout.font) for each in rows)
    verdicts = [*(verdict_of(each, better) for each in rows), "not shown"]
    verdict = max(width_of(each, layout.small, bold=True) for each in verdicts)
    said = max(width_of(f"{_words(each)} ", layout.small, bold=True) for each in rows) + verdict
    low, high = range_of(chain([0.0], *((each.value, each.low or 0.0, each.high or 0.0) for each in rows)), axis)
    if not layout.compact:
        left, right = min(label, LABELS * layout.width) + 14, layout.width - said - 16
        scale, middle = Scale(low=low, high=high, start=left, end=right), ROW / 2 + layout.font * 0.35
        return _Plan(scale=scale, height=ROW, line=middle, numbers=middle, dot=ROW / 2, better=better, verdict=verdict)
    scale = Scale(low=low, high=high, start=8, end=layout.width - 8)
    line, step = layout.font * 1.15, layout.font * 1.35
    numbers = line if label + said + 14 <= layout.width else line + step
    return _Plan(
        scale=scale, height=numbers + 30, line=line, numbers=numbers, dot=numbers + 15, better=better, verdict=verdict
    )


def _draw(rows: Sequence[Gain], axis: Axis, layout: Layout) -> Drawing:
    plan = _plan(rows, axis, layout)
    top = y = layout.small * 1.35 + 8
    uprights = [
        ("@grid", plan.scale.inside(value) or 0.0) for value, _ in fitting_ticks(axis, plan.scale, ABOUT, layout.small)
    ]
    uprights.append(("@ink", plan.scale.inside(0.0) or 0.0))
    body, back, group = [], [], ""
    for row in rows:
        if row.group != group:
            y += layout.font * (1.8 if group else 1.3)
            body.append(text((0, y - 2), row.group, fill="@ink", font_weight="600"))
            group = row.group
        drawn, height = _row(row, y, plan, layout)
        body.append(drawn)
        y += height
        if layout.compact:  # between the texts
            back += [
                _upright(x, (y - plan.height + plan.dot - 9, y - plan.height + plan.dot + 11), colour)
                for colour, x in uprights
            ]
    frame = Frame(plan.scale, Scale(low=0, high=1, start=y + 4, end=top))
    if not layout.compact:
        back = [_upright(x, (frame.top, frame.bottom), colour) for colour, x in uprights]
    plain = Axis(axis.label, axis.unit, low=axis.low, high=axis.high, ticks=axis.ticks)
    under, end = x_axis(plain, frame, layout, ABOUT)
    names = _sides(SIDES if plan.better == "higher" else SIDES[::-1], uprights[-1][1], frame, layout)
    return Drawing(end, "".join([*back, names, *body, under]))


def _upright(x: float, ends: tuple[float, float], colour: str) -> str:
    path = f"M{number(x)},{number(ends[0])}V{number(ends[1])}"
    return element("path", d=path, stroke=colour, stroke_width=1.4 if colour == "@ink" else 1.0)


def _sides(sides: tuple[str, str], zero: float, frame: Frame, layout: Layout) -> str:
    """What both sides of zero are called, as near to zero as the width allows."""
    left, right = f"\u2190 {sides[0]}", f"{sides[1]} \u2192"
    before, after = width_of(left, layout.small), width_of(right, layout.small)
    start = min(max(zero + 8, before + 12), layout.width - after)
    end = min(max(zero - 8, before), start - 12)
    if before > end:
        return ""
    given: dict[str, str | float | None] = {"fill": "@soft", "font_size": layout.small}
    y = frame.top - 6
    return text((end, y), left, text_anchor="end", **given) + text((start, y), right, **given)


def _row(row: Gain, top: float, plan: _Plan, layout: Layout) -> tuple[str, float]:
    """A row, and its height. Numbers stand below a label of several lines, or beside its middle in a wide place."""
    verdict = verdict_of(row, plan.better)
    words = f"{_words(row)} {verdict}"
    lines, step = _label(row, words, plan, layout), layout.font * 1.25
    more = (len(lines) - 1) * step
    below = top + (more if layout.compact else more / 2)
    colour = COLOURS.get(verdict, OPEN)
    hollow = colour == OPEN
    y = below + plan.dot
    parts = [element("rect", x=0, y=top, width=layout.width, height=plan.height + more, fill="transparent")]
    ends = (None if each is None else plan.scale.inside(each) for each in (row.low, row.high))
    if len(known := [number(each) for each in ends if each is not None]) == 2:
        low, high = known
        caps = f"M{low},{number(y - 5)}v10M{high},{number(y - 5)}v10"
        parts.append(element("path", d=f"M{low},{number(y)}H{high}{caps}", stroke=colour, stroke_width=2, fill="none"))
    at = (plan.scale.inside(row.value) or 0.0, y)
    edge = colour if hollow else "@paper"
    parts.append(marker("circle", at, 5.4, fill="@paper" if hollow else colour, stroke=edge, stroke_width=2))
    parts += [text((0, top + plan.line + place * step), line, fill="@ink") for place, line in enumerate(lines)]
    parts.append(_said(row, verdict, (below + plan.numbers, plan), layout))
    tip = f"{row.label}{f', {row.group}' if row.group else ''}: {words}"
    return tipped(f"{tip}. {row.tip}" if row.tip else tip, *parts), plan.height + more


def _label(row: Gain, words: str, plan: _Plan, layout: Layout) -> Sequence[str]:
    """The label in lines. words: the numbers and the verdict, which may stand beside it in a narrow place."""
    room = layout.width
    if not layout.compact:
        room = plan.scale.start - 14
    elif plan.numbers == plan.line:
        room -= width_of(words, layout.small, bold=True) + 12
    return paragraph(row.label, layout.font, room) or [""]


def _said(row: Gain, verdict: Verdict, place: tuple[float, _Plan], layout: Layout) -> str:
    """The numbers and the verdict: as two columns in a wide place, else one after the other. place: y, and the plan."""
    (y, plan), size = place, layout.small
    given: dict[str, str | float | None] = {"y": y, "font_size": size}
    bold: dict[str, str | float | None] = {"fill": COLOURS.get(verdict, OPEN), "font_weight": "600"}
    if not layout.compact:
        column = layout.width - plan.verdict
        numbers = element("text", escape(_words(row)), x=column - 8, fill="@soft", text_anchor="end", **given)
        return numbers + element("text", verdict, x=column, **bold, **given)
    apart = plan.numbers > plan.line  # the numbers begin below the label
    spans = element("tspan", escape(f"{_words(row)} "), fill="@soft") + element("tspan", verdict, **bold)
    return element("text", spans, x=0.0 if apart else layout.width, text_anchor=None if apart else "end", **given)
