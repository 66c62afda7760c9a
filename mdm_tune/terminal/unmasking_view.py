"""The text that fills in the terminal, coloured by confidence; plain lines where there is no terminal.

A terminal shows the rows in place: each picture replaces the one before. Nothing needs to be restored at the end, so
that a run can be stopped at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from mdm_tune.core.messages import cut
from mdm_tune.core.redaction import one_line, redacted, shown_as
from mdm_tune.pages.unmasking import END, Glyph, Unmasking, placed

__all__ = ["UnmaskingView"]

COLOURS = ("#1d9470", "#2d82c8", "#b8589a", "#cc6a1c")  # of the levels; legible on black and on white
FEW_COLOURS = ("green", "cyan", "magenta", "red")  # for terminals with 16 colours
NEW = "bold reverse"
WHOLE, SHORTEST, LONGEST = 8.0, 0.08, 0.5  # seconds for all steps, and the limits of one
BESIDE = 64  # columns from which on two texts stand side by side
GAP = 4
WIDEST = 80  # columns of a text
INDENT = 2
MARKS = {"hidden": "\u00b7", "end": END, "break": "\u21b5", "colour": "\u25a0"}
ASCII = {"hidden": "_", "end": "$", "break": "\\", "colour": "#"}


class UnmaskingView:
    """Shows the rows after each step.

    On a terminal a step lasts at least 0.08 seconds, and at least 0.5 if there are few steps. Elsewhere nothing waits.

    Attributes:
        console: Where it is shown.
        wait: Waits so many seconds.
        now: The clock, in seconds.
    """

    def __init__(
        self,
        console: Console,
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console, self.wait, self.now = console, wait, now
        self._lines = 0  # of the picture on the terminal
        self._since = 0.0  # when it was shown

    def show(self, rows: Sequence[Unmasking]) -> None:
        """Show the rows of a sample, which have all taken the same steps. If writing fails, nothing is shown."""
        with suppress(OSError, ValueError):
            self._show(rows)

    def _show(self, rows: Sequence[Unmasking]) -> None:
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            for plain in self._plain(rows):
                self.console.print(Text(plain), crop=False, overflow="ignore", no_wrap=True)
            return
        if rows[0].done:
            lasts = min(LONGEST, max(SHORTEST, WHOLE / max(rows[0].steps, 1)))
            self.wait(max(0.0, self._since + lasts - self.now()))
        lines = self._picture(rows)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        with self.console:  # one write, so that nothing flickers
            if rows[0].done:
                self.console.control(Control(ControlType.CARRIAGE_RETURN, *up * self._lines))
            for line in lines:
                self.console.print(line, crop=True, overflow="crop", no_wrap=True)
        self._lines, self._since = len(lines), self.now()

    @property
    def _ascii(self) -> bool:
        return not self.console.encoding.startswith("utf")

    @property
    def _marks(self) -> dict[str, str]:
        return ASCII if self._ascii else MARKS

    @property
    def _colours(self) -> Sequence[str]:
        return COLOURS if self.console.color_system in ("truecolor", "256") else FEW_COLOURS

    @property
    def _digits(self) -> bool:
        """Whether digits below the text stand for its colours."""
        return self.console.no_color or self.console.color_system is None

    def _picture(self, rows: Sequence[Unmasking]) -> list[Text]:
        """The lines of the terminal."""
        width = self.console.width - INDENT
        beside = len(rows) > 1 and width >= BESIDE
        column = min(WIDEST, (width - GAP * (len(rows) - 1)) // len(rows) if beside else width)
        heads = 4 if any(row.note for row in rows) else 3  # lines above a text, and one below
        stacked = 1 if beside else len(rows)
        legend = list(self._legend(rows[0], width))
        free = self.console.height - 2 - len(legend) - stacked * heads  # the cursor has a line of its own
        room = max(2, free // stacked // (1 + self._digits))
        parts = [[*self._head(row, column, rows), *self._body(row, column, room), Text()] for row in rows]
        indent = Text(" " * INDENT)
        if not beside:
            lines = [indent + line for part in parts for line in part]
        else:
            lines = []
            for place in range(max(map(len, parts))):
                line = indent.copy()
                for part in parts:
                    here = part[place] if place < len(part) else Text()
                    line += here + Text(" " * (column - here.cell_len + GAP))
                line.rstrip()
                lines.append(line)
        # A line that has left the screen could not be replaced.
        return [Text(), *lines, *(indent + line for line in legend)][: self.console.height - 1]

    def _head(self, row: Unmasking, width: int, rows: Sequence[Unmasking]) -> Iterator[Text]:
        yield Text(self._short(row.name, width), style="bold")
        yield Text(self._short(row.progress, width))
        if any(each.note for each in rows):
            yield Text(self._short(row.note, width), style="dim")

    def _short(self, text: str, width: int) -> str:
        text = shown_as(one_line(redacted(text)), self.console.encoding)
        return text if cell_len(text) <= width else set_cell_size(text, width - 3) + "..."

    def _body(self, row: Unmasking, width: int, room: int) -> list[Text]:
        """The lines of the text; around the first hidden token if not all have room."""
        lines: dict[int, list[Glyph]] = {}
        for glyph in self._placed(row, width):
            lines.setdefault(glyph.row, []).append(glyph)
        count = max(lines, default=0) + 1
        first = 0
        if count > room:
            hidden = [glyph.row for part in lines.values() for glyph in part if row.tokens[glyph.token].step is None]
            room -= 1
            first = max(0, min(min(hidden, default=0) - room // 3, count - room)) if hidden else 0
        found = []
        for place in range(first, min(first + room, count)):
            glyphs = lines.get(place, [])
            found.append(self._line(row, glyphs))
            if self._digits:
                found.append(Text(self._digits_below(row, glyphs).rstrip(), style="dim"))
        if count > room:
            found.append(Text(self._short(f"lines {first + 1} to {first + room} of {count}", width), style="dim"))
        return found

    def _placed(self, row: Unmasking, width: int) -> tuple[Glyph, ...]:
        """The characters of a row; those that the terminal cannot write are escapes, of several columns.

        Lines break at spaces once all tokens are visible. Before that, a new space would move words to other lines.
        """
        tokens, whole = row.tokens, all(token.step is not None for token in row.tokens)
        if self._ascii:
            tokens = tuple(token.written(lambda text: shown_as(text, self.console.encoding)) for token in tokens)
        return placed(tokens, width, at_spaces=whole)

    def _line(self, row: Unmasking, glyphs: Sequence[Glyph]) -> Text:
        line = Text()
        for style, run in groupby(glyphs, key=lambda glyph: self._style(row, glyph)):
            line.append("".join(self._mark(row, glyph) for glyph in run), style=style)
        return line

    def _mark(self, row: Unmasking, glyph: Glyph) -> str:
        token = row.tokens[glyph.token]
        if token.step is None:
            return self._marks["hidden"]
        if token.kind == "end":
            return self._marks["end"]
        return self._marks["break"] if glyph.text == "\n" else glyph.text

    def _style(self, row: Unmasking, glyph: Glyph) -> str:
        token = row.tokens[glyph.token]
        new = NEW if token.step and token.step == row.done else ""
        if token.kind != "text" or token.step is None or glyph.text == "\n":
            return new or "dim"
        level = row.level(token)
        colour = "" if level is None else self._colours[level]
        return f"{new} {colour}".strip()

    def _digits_below(self, row: Unmasking, glyphs: Sequence[Glyph], *, new_only: bool = False) -> str:
        """The first decimal of the confidence below each character; ``^`` below new ones if there is none."""
        found = []
        for glyph in glyphs:
            token = row.tokens[glyph.token]
            new = bool(token.step) and token.step == row.done
            mark = " "
            if token.kind == "text" and token.step and (new or not new_only):
                if token.confidence is not None:
                    mark = str(min(9, int(token.confidence * 10)))
                elif new:
                    mark = "^"
            found.append(mark.ljust(glyph.width) if glyph.width else "")
        return "".join(found)

    def _legend(self, row: Unmasking, width: int) -> Iterator[Text]:
        """What colours and marks stand for, folded to the width."""
        marks = self._marks
        if self._digits:
            parts = [Text(f"digits: first decimal of the {row.scale}" if row.scale else "^ new")]
        else:
            parts = [Text(f"{row.meaning}:")]
            parts += [
                Text.assemble((marks["colour"], self._colours[level]), f" {meaning}") for level, meaning in row.levels
            ]
        parts += [Text.assemble(("new", NEW)), Text.assemble((marks["hidden"], "dim"), " hidden")]
        if any(token.kind == "end" for token in row.tokens):
            parts.append(Text.assemble((marks["end"], "dim"), " end of text"))
        line = parts[0]
        for part in parts[1:]:
            if line.cell_len + 2 + part.cell_len > width:
                yield line
                line = part
            else:
                line = line + Text("  ") + part
        yield line

    def _plain(self, rows: Sequence[Unmasking]) -> Iterator[str]:
        """The lines without a terminal: a row each with its new tokens marked below."""
        if not rows[0].done:
            below = (
                f"the first decimal of its {rows[0].scale}" if rows[0].scale else "^, as random order has no confidence"
            )
            yield f"  below each new token: {below}; {self._marks['hidden']} is hidden"
        for row in rows:
            yield f"  {cut(row.name)}, {row.progress}"
            glyphs = self._placed(row, 10**9)
            flat = [Glyph(token=each.token, text=each.text, row=0, column=0, width=each.width) for each in glyphs]
            yield "  " + "".join(self._mark(row, glyph) for glyph in flat)
            if below := self._digits_below(row, flat, new_only=True).rstrip():
                yield "  " + below
