"""How many tokens each step reveals: small bars, one row for each schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from mdm_tune.core.messages import quantity
from mdm_tune.pages.chart_frame import Axis, Frame, Look, Role, looks, tipped, x_axis
from mdm_tune.pages.figure import Drawing, Figure, Layout
from mdm_tune.pages.scales import Scale, round_ticks
from mdm_tune.pages.svg import BOLD, element, number, paragraph, shortened, text, width_of

__all__ = ["Counts", "steps"]

STRIP = 46.0  # height of the bars of a row, in pixels
NAMES = 0.24  # of the width, at most, for the names beside the bars
GROUPS = 32  # parts of a row, at most, that tell their numbers
ROOMY = 15.0  # width of a step, in pixels, from which on its count stands above its bar


@dataclass(frozen=True)
class Counts:
    """The tokens per step of one schedule.

    Attributes:
        name: of the schedule.
        counts: tokens that each step reveals, from the first step on.
        role: which colour it has.
        note: a few words, such as the number of calls.
        blocks: steps of each block, if there are blocks.
        look: whose colour it has; by default one of its role.
    """

    name: str
    counts: Sequence[int]
    role: Role = "other"
    note: str = ""
    blocks: Sequence[int] = ()
    look: Look | None = None


def steps(rows: Sequence[Counts], *, title: str, description: str, step: str = "step") -> Figure:
    """Bars of the tokens that each step reveals, with one scale for all rows.

    Args:
        rows: the schedules, with 1 to some hundred steps each.
        title: of the figure.
        description: what is seen.
        step: what a step is called.

    Raises:
        ValueError: there is no row, or one without steps.
    """
    if not rows or not all(len(each.counts) for each in rows):
        raise ValueError("A chart of steps needs rows, and each row a step.")
    kept = tuple(rows)
    return Figure(title, description, lambda layout: _draw(kept, step, layout))


def _draw(rows: Sequence[Counts], step: str, layout: Layout) -> Drawing:
    found = looks(*zip(*((each.role, False, each.name) for each in rows), strict=True))
    longest, most = max(len(each.counts) for each in rows), max(max(each.counts) for each in rows)
    names = max(width_of(each.name, layout.font, bold=True) for each in rows)
    names = max(names, *(width_of(each.note, layout.small) for each in rows))
    left = 0.0 if layout.compact else min(names, NAMES * layout.width) + 14
    across = Scale(low=0.5, high=longest + 0.5, start=left, end=layout.width - 2)
    head = f"tokens revealed by each {step}; all rows have the same scale"
    height = layout.font * 1.35
    heading = paragraph(head, layout.font, layout.width)
    parts = [text((0, (row + 0.8) * height), line, fill="@ink") for row, line in enumerate(heading)]
    top = len(heading) * height + 8
    for each, usual in zip(rows, found, strict=True):
        look = each.look or usual
        label, start = _label(each, look, (top, left), layout)
        scale = Scale(low=0, high=max(most, 1), start=start + STRIP, end=start)
        parts += [label, _bars(each, look, Frame(across, scale), layout), _groups(each, step, Frame(across, scale))]
        top = start + STRIP + (14 if layout.compact else 10)
    frame = Frame(across, Scale(low=0, high=1, start=top - (10 if layout.compact else 4), end=0))
    axis, end = x_axis(Axis(step, ticks=_ticks(longest)), frame, layout)
    return Drawing(end, "".join([*parts, axis]))


def _ticks(steps: int) -> tuple[int, ...]:
    """The first step and round ones after it: quarters, if there are whole ones."""
    if steps <= 12:
        return tuple(range(1, steps + 1))
    if steps % 4 == 0:
        return (1, *(quarter * steps // 4 for quarter in range(1, 5)))
    return (1, *(int(each) for each in round_ticks(0, steps, 6)[1:]))


def _label(row: Counts, look: Look, corner: tuple[float, float], layout: Layout) -> tuple[str, float]:
    """The name and the note of a row; and where its bars begin. corner: the upper end, and the left end of the bars."""
    top, left = corner
    if layout.compact:
        note = shortened(row.note, layout.small, layout.width / 2)
        room = layout.width - width_of(note, layout.small) - 12
        name = text(
            (0, top + layout.font), shortened(row.name, layout.font * BOLD, room), fill=look.colour, font_weight="600"
        )
        place = (layout.width, top + layout.font)
        shown = text(place, note, fill="@soft", font_size=layout.small, text_anchor="end") if row.note else ""
        return name + shown, top + layout.font * 1.35 + layout.small + 4
    start, step, room = top + layout.small, layout.font * 1.25, left - 12
    lines = paragraph(row.name, layout.font, room, bold=True)
    names = [*lines[:1], shortened(" ".join(lines[1:]), layout.font * BOLD, room)] if len(lines) > 1 else lines
    labels = [text((0, 0), each, fill=look.colour, font_weight="600") for each in names]
    if row.note:
        note = shortened(row.note, layout.small, room)
        labels.append(text((0, 0), note, fill="@soft", font_size=layout.small))
    first = start + STRIP / 2 + layout.font * 0.35 - (len(labels) - 1) * step / 2
    moved = [f"translate(0,{number(first + place * step)})" for place in range(len(labels))]
    return "".join(element("g", each, transform=at) for each, at in zip(labels, moved, strict=True)), start


def _bars(row: Counts, look: Look, frame: Frame, layout: Layout) -> str:
    """All bars as one path, their counts where there is room, else the largest count, and the ends of blocks."""
    width = (frame.right - frame.left) / (frame.x.high - frame.x.low)
    gap = 2.0 if width > 6 else 0.6 if width > 4 else 0.0
    path, parts, base = [], [], number(frame.bottom)
    for first, last, count in _runs(row.counts, joined=not gap):
        left, right = (frame.x.inside(each) or 0.0 for each in (first - 0.5, last + 0.5))
        if count:
            top = number(frame.y.inside(count) or 0.0)
            path.append(f"M{number(left + gap / 2)},{base}V{top}H{number(right - gap / 2)}V{base}Z")
    largest = max(row.counts)
    shown = enumerate(row.counts, start=1) if width >= ROOMY else [(row.counts.index(largest) + 1, largest)]
    for place, count in shown:
        half = width_of(str(count), layout.small) / 2
        x = min(max(frame.x.inside(place) or 0.0, frame.left + half), frame.right - half)
        above = ((frame.y.inside(count) or 0.0) if count else frame.bottom) - 3
        parts.append(text((x, above), str(count), fill="@soft", font_size=layout.small, text_anchor="middle"))
    line = element("path", d=f"M{number(frame.left)},{number(frame.bottom)}H{number(frame.right)}", stroke="@axis")
    for end in list(accumulate(row.blocks))[:-1]:
        border = number(frame.x.inside(end + 0.5) or 0.0)
        parts.append(
            element(
                "path",
                d=f"M{border},{number(frame.top)}V{number(frame.bottom + 4)}",
                stroke="@axis",
                stroke_dasharray="2 2",
            )
        )
    return element("path", d="".join(path), fill=look.colour) + line + "".join(parts)


def _runs(counts: Sequence[int], *, joined: bool) -> Iterator[tuple[int, int, int]]:
    """The first and the last step of each bar, and its count. If ``joined``, equal neighbours make one bar."""
    step = 1
    for count, run in groupby(counts):
        size = len(list(run))
        parts = [(step, step + size - 1)] if joined else [(each, each) for each in range(step, step + size)]
        yield from ((first, last, count) for first, last in parts)
        step += size


def _groups(row: Counts, step: str, frame: Frame) -> str:
    """Columns that show nothing but tell the counts of their steps."""
    size = math.ceil(len(row.counts) / GROUPS)
    total, so_far, parts = sum(row.counts), 0, []
    for first in range(0, len(row.counts), size):
        counts = row.counts[first : first + size]
        so_far += sum(counts)
        where = f"{step} {first + 1}" if len(counts) == 1 else f"{step}s {first + 1} to {first + len(counts)}"
        listed = ", ".join(map(str, counts))
        what = quantity(counts[0], "token") if len(counts) == 1 else f"{listed} tokens"
        left, right = (frame.x.inside(each + 0.5) or 0.0 for each in (first, first + len(counts)))
        column = element("rect", x=left, y=frame.top, width=right - left, height=STRIP, fill="transparent")
        parts.append(tipped(f"{row.name}, {where}: {what}; {so_far} of {total} revealed", column))
    return "".join(parts)
