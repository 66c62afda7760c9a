"""How many tokens each step reveals: small bars, one row for each schedule or adaptive policy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from mdm_tune.pages.chart_frame import Axis, Frame, Look, Role, looks, tipped, x_axis
from mdm_tune.pages.figure import Drawing, Figure, Layout
from mdm_tune.pages.scales import Scale, round_ticks
from mdm_tune.pages.svg import BOLD, element, number, paragraph, shortened, text, width_of

__all__ = ["Counts", "steps"]

STRIP, TALL = 46.0, 72.0  # height of the bars of a row in pixels, and where they have spreads
NAMES = 0.24  # of the width, at most, for the names beside the bars
GROUPS = 32  # parts of a row, at most, that tell their numbers
LINES = 4  # of a name, at most
LEAST = 0.1  # smaller means are not written out
ROOMY = 15.0  # width of a step, in pixels, from which on its count stands above its bar


@dataclass(frozen=True)
class Counts:
    """The tokens per step of one schedule or adaptive policy.

    Attributes:
        name: of the schedule.
        counts: tokens that each step reveals, from the first step on; means where examples differ.
        role: which colour it has.
        note: a few words, such as the number of calls.
        blocks: steps of each block, if there are blocks.
        look: whose colour it has; by default one of its role.
        spread: where examples differ, the least and the largest tokens of each step that are not unusual.
        made: where examples differ, how many of them make each step, in words.
    """

    name: str
    counts: Sequence[float]
    role: Role = "other"
    note: str = ""
    blocks: Sequence[int] = ()
    look: Look | None = None
    spread: Sequence[tuple[float, float]] = ()
    made: Sequence[str] = ()

    @property
    def tops(self) -> list[float]:
        """The upper end of what is drawn of each step."""
        return [*map(max, self.counts, (high for _, high in self.spread))] if self.spread else [*self.counts]


def steps(
    rows: Sequence[Counts],
    *,
    title: str,
    description: str,
    step: str = "step",
    heading: str = "tokens revealed by each step; all rows have the same scale",
) -> Figure:
    """Bars of the tokens that each step reveals, with one scale for all rows.

    Args:
        rows: the schedules, with 1 to some hundred steps each.
        title: of the figure.
        description: what is seen.
        step: what a step is called.
        heading: stands above the rows.

    Raises:
        ValueError: there is no row, or one without steps.
    """
    if not rows or not all(len(each.counts) for each in rows):
        raise ValueError("A chart of steps needs rows, and each row a step.")
    kept = tuple(rows)
    return Figure(title, description, lambda layout: _draw(kept, step, heading, layout))


def _draw(rows: Sequence[Counts], step: str, head: str, layout: Layout) -> Drawing:
    found = looks(*zip(*((each.role, False, each.name) for each in rows), strict=True))
    longest, most = max(len(each.counts) for each in rows), max(max(each.tops) for each in rows)
    names = max(width_of(each.name, layout.font, bold=True) for each in rows)
    names = max(names, *(width_of(each.note, layout.small) for each in rows))
    left = 0.0 if layout.compact else min(names, NAMES * layout.width) + 14
    across = Scale(low=0.5, high=longest + 0.5, start=left, end=layout.width - 2)
    height = layout.font * 1.35
    heading = paragraph(head, layout.font, layout.width)
    parts = [text((0, (row + 0.8) * height), line, fill="@ink") for row, line in enumerate(heading)]
    top, bar = len(heading) * height + 8, TALL if any(each.spread for each in rows) else STRIP
    for each, usual in zip(rows, found, strict=True):
        look = each.look or usual
        label, start, strip = _label(each, look, (top, left, bar), layout)
        frame = Frame(across, Scale(low=0, high=max(most, 1), start=start + strip, end=start + strip - bar))
        parts += [label, _bars(each, look, frame, layout), _spread(each, frame), _groups(each, step, frame)]
        top = start + strip + (14 if layout.compact else 10)
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


def _label(row: Counts, look: Look, corner: tuple[float, float, float], layout: Layout) -> tuple[str, float, float]:
    """The name and the note of a row, where its strip begins, and how high it is.

    Args:
        row: whose label.
        look: whose colour.
        corner: the upper end, the left end of the bars, and how high they are.
        layout: the place.
    """
    (top, left, bar), step = corner, layout.font * 1.25
    note = shortened(row.note, layout.small, layout.width / 2 if layout.compact else left - 12)
    room = layout.width - width_of(note, layout.small) - 12 if layout.compact else left - 12
    lines = paragraph(row.name, layout.font, room, bold=True)
    names = [*lines[: LINES - 1], shortened(" ".join(lines[LINES - 1 :]), layout.font * BOLD, room)]
    names = names if len(lines) >= LINES else list(lines)
    if layout.compact:
        rows = [
            text((0, top + layout.font + place * step), each, fill=look.colour, font_weight="600")
            for place, each in enumerate(names)
        ]
        place = (layout.width, top + layout.font)
        shown = text(place, note, fill="@soft", font_size=layout.small, text_anchor="end") if row.note else ""
        below = max(0, len(names) - 1) * step
        return "".join([*rows, shown]), top + below + layout.font * 1.35 + layout.small + 4, bar
    start = top + layout.small
    labels = [text((0, 0), each, fill=look.colour, font_weight="600") for each in names]
    if row.note:
        labels.append(text((0, 0), note, fill="@soft", font_size=layout.small))
    strip = max(bar, len(labels) * step)
    first = start + strip - bar / 2 + layout.font * 0.35 - (len(labels) - 1) * step / 2
    first = max(first, start + layout.font * 0.75)
    moved = [f"translate(0,{number(first + place * step)})" for place in range(len(labels))]
    return "".join(element("g", each, transform=at) for each, at in zip(labels, moved, strict=True)), start, strip


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
    counts, tops = list(row.counts), row.tops
    named = [place for place, count in enumerate(counts) if _seen(count)]
    widest = max((width_of(_shown(counts[place]), layout.small) for place in named), default=0.0)
    for place in named if named and width >= max(ROOMY, widest + 2) else [counts.index(max(counts))]:
        words = _shown(counts[place])
        half = width_of(words, layout.small) / 2
        x = min(max(frame.x.inside(place + 1) or 0.0, frame.left + half), frame.right - half)
        above = ((frame.y.inside(tops[place]) or 0.0) if tops[place] else frame.bottom) - 3
        parts.append(text((x, above), words, fill="@soft", font_size=layout.small, text_anchor="middle"))
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


def _seen(count: float) -> bool:
    """Whether the number of a bar is written above it: not that of a mean near zero."""
    return count == 0 or count >= LEAST


def _shown(count: float) -> str:
    """A number of tokens; a mean with one decimal."""
    return str(int(count)) if count == int(count) else f"{count:.1f}" if count >= LEAST else f"{count:.1g}"


def _spread(row: Counts, frame: Frame) -> str:
    """A line with short ends at each step, over what is not unusual."""
    path = []
    for place, (low, high) in enumerate(row.spread, start=1):
        if high > low:
            x, upper, lower = (number(at or 0.0) for at in (frame.x.inside(place), *map(frame.y.inside, (high, low))))
            path.append(f"M{x},{upper}V{lower}m-3,0h6M{x},{upper}m-3,0h6")
    return element("path", d="".join(path), stroke="@ink", stroke_width=1.2, fill="none") if path else ""


def _runs(counts: Sequence[float], *, joined: bool) -> Iterator[tuple[int, int, float]]:
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
    total, so_far, parts = sum(row.counts), 0.0, []
    for first in range(0, len(row.counts), size):
        counts = [*row.counts[first : first + size]]
        so_far += sum(counts)
        where = f"{step} {first + 1}" if len(counts) == 1 else f"{step}s {first + 1} to {first + len(counts)}"
        listed = ", ".join(map(_shown, counts))
        what = "1 token" if counts == [1] else f"{listed} tokens"
        if row.spread and len(counts) == 1:
            low, high = row.spread[first]
            what += f" in the mean, {low:g} to {high:g} in most examples"
        if row.made and len(counts) == 1:
            what += f", {row.made[first]}"
        left, right = (frame.x.inside(each + 0.5) or 0.0 for each in (first, first + len(counts)))
        column = element(
            "rect", x=left, y=frame.top, width=right - left, height=frame.bottom - frame.top, fill="transparent"
        )
        parts.append(tipped(f"{row.name}, {where}: {what}; {_shown(so_far)} of {_shown(total)} revealed", column))
    return "".join(parts)
