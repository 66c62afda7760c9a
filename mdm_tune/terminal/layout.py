"""Tables and lines that fit any width. They are folded at spaces or stacked; no word or number is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mdm_tune.core.redaction import one_line, redacted

__all__ = ["BAR", "Grid", "fitted", "folded"]

BAR = "█"  # the character of bars
NUMBER = re.compile(r"(-?[\d,]+)(\.\d+)?((?: .*)?)$", re.DOTALL)  # with what follows it, such as an interval
LONGEST = 16  # columns of a word in a table that is too wide; a longer one may get a number
WIDEST = 10_000  # columns of a terminal, more than any table needs


def folded(text: str, width: int, hang: str = "") -> str:
    """The text with line breaks at spaces, so that lines fit ``width``. A longer word has a line of its own.

    Args:
        text: One or more lines.
        width: Columns of a line.
        hang: Added after the indent of a line to each line that continues it.
    """
    return "\n".join(part for line in text.split("\n") for part in _folded_line(line, width, hang))


def _folded_line(line: str, width: int, hang: str) -> Iterator[str]:
    if cell_len(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip(" "))]
    current, begun = indent, False
    for word in line[len(indent) :].split(" "):  # several spaces in a row are kept within a line
        longer = f"{current} {word}" if begun else current + word
        if begun and word and cell_len(longer) > width:
            yield current.rstrip(" ")
            longer = indent + hang + word
        current, begun = longer, True
    yield current.rstrip(" ")


def fitted(parts: Sequence[str], width: int, leave_out: Sequence[int] = ()) -> str:
    """The parts on one line that fits ``width``, two spaces apart.

    Args:
        parts: The parts; empty ones are skipped.
        width: Columns of the line.
        leave_out: Places of the parts that may be left out, in the order in which they go; () for the last ones first.
            If the rest is still too wide, the line is cut at the width.
    """
    shown = dict(enumerate(parts))
    line = ""
    for place in (None, *(leave_out or range(len(parts) - 1, 0, -1))):
        shown.pop(-1 if place is None else place, None)
        line = "  ".join(part for part in shown.values() if part)
        if cell_len(line) <= width:
            return line
    return set_cell_size(line, width)


class Grid(Table):
    """A table of texts that fits any width.

    A table that is too wide has its headings folded, then its intervals, then its names. Then the long names get
    numbers, with the names below the table. If that does not suffice, its rows are stacked.

    Texts are data: control characters become escapes, passwords become ***, and markup has no effect.

    Args:
        title: Text above the table.
        headings: One per column.
        left: The headings of columns that hold words. All other columns hold numbers and are aligned to the right.
    """

    def __init__(self, title: str, headings: Sequence[str], left: Sequence[str] = ()) -> None:
        super().__init__(title=_safe(title))
        for name in headings:
            self.add_column(_safe(name), justify="left" if name in left else "right")

    def row(self, *cells: str, style: str = "") -> None:
        """Add a row of texts, one per column. ``style`` is a style of Rich, such as ``bold``."""
        self.add_row(*map(_safe, cells), style=style)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield Text(folded(str(self.title), width), style="italic", no_wrap=True, overflow="ignore")
        bar = "#" if options.ascii_only else BAR
        cells = [[str(cell).replace(BAR, bar) for cell in column.cells] for column in self.columns]
        for table in self._candidates(cells, width):  # each with aligned numbers, then without
            if Measurement.get(console, options.update(max_width=WIDEST), table).maximum <= width:
                yield table
                return
        numbered, names = self._numbered(cells)
        for table in self._candidates(numbered, width) if names else ():
            if Measurement.get(console, options.update(max_width=WIDEST), table).maximum <= width:
                yield table
                yield Text("\n".join(folded(f"  {name}", width, "  ") for name in names) + "\n", no_wrap=True)
                return
        yield Text("\n" + "\n\n".join(self._stacked(cells, width)) + "\n", no_wrap=True, overflow="ignore")

    def _candidates(self, cells: Sequence[Sequence[str]], width: int) -> Iterator[Table]:
        """The table at its natural width, then narrower ones. cells: by column and row."""
        yield from self._drawings(cells, [WIDEST] * len(cells), pad_edge=True)
        inside = width - 2 - 3 * (len(cells) - 1)  # edges, padding and gaps
        for arranged, fold_words in product((_unchanged, _interval_below), (False, True)):
            changed = [[arranged(text) for text in texts] for texts in cells]
            foldable = [fold_words and column.justify == "left" for column in self.columns]
            headings = [str(column.header) for column in self.columns]
            least = [
                max([_widest(heading, words=True), *(_widest(text, words=fold) + 2 * fold for text in texts)])
                for heading, texts, fold in zip(headings, changed, foldable, strict=True)
            ]
            folded_texts = [
                [heading, *(texts if fold else ())]
                for heading, texts, fold in zip(headings, changed, foldable, strict=True)
            ]
            room = inside - 2 if sum(least) <= inside - 2 else inside
            if sum(least) <= room:
                widths = _widened(least, folded_texts, room)
                yield from self._drawings(changed, widths, pad_edge=room < inside)

    def _drawings(self, cells: Sequence[Sequence[str]], widths: Sequence[int], *, pad_edge: bool) -> Iterator[Table]:
        """The table with numbers aligned at their decimal points, which may be wider, and as it is; see ``_drawn``."""
        aligned = [
            texts if column.justify == "left" else _aligned(texts)
            for column, texts in zip(self.columns, cells, strict=True)
        ]
        yield self._drawn(aligned, widths, pad_edge=pad_edge)
        yield self._drawn(cells, widths, pad_edge=pad_edge)

    def _drawn(self, cells: Sequence[Sequence[str]], widths: Sequence[int], *, pad_edge: bool = False) -> Table:
        """The table as Rich draws it, with headings and words folded to these widths.

        Args:
            cells: Texts by column and row.
            widths: Columns of the terminal for each column of the table.
            pad_edge: Whether the outer columns have padding.
        """
        table = Table(box=SIMPLE_HEAD, pad_edge=pad_edge)
        columns = []
        for column, texts, width in zip(self.columns, cells, widths, strict=True):
            heading = folded(str(column.header), width)
            table.add_column(Text(heading), justify=column.justify, no_wrap=True)
            if column.justify == "left":
                columns.append([Text(folded(text, width, "  ")) for text in texts])
            elif any(text.endswith(" ") for text in texts):  # aligned numbers; Rich would strip the spaces
                room = max(cell_len(line) for line in (*heading.split("\n"), *texts))
                columns.append([Text(text.rjust(room), justify="left") for text in texts])
            else:
                columns.append([Text(text) for text in texts])
        for row, texts_of in zip(self.rows, zip(*columns, strict=True), strict=True):
            table.add_row(*texts_of, style=row.style, end_section=row.end_section)
        return table

    def _numbered(self, cells: Sequence[Sequence[str]]) -> tuple[list[Sequence[str]], list[str]]:
        """The cells with numbers in place of words that are too long, and the words with their numbers."""
        found: dict[str, str] = {}
        columns: list[Sequence[str]] = []
        for column, texts in zip(self.columns, cells, strict=True):
            long = [column.justify == "left" and _widest(text, words=True) > LONGEST for text in texts]
            columns.append(
                [
                    found.setdefault(text, f"({len(found) + 1})") if each else text
                    for text, each in zip(texts, long, strict=True)
                ]
            )
        return columns, [f"{number} {text}" for text, number in found.items()]

    def _stacked(self, columns: Sequence[Sequence[str]], width: int) -> Iterator[str]:
        """One text per row, with a line for each heading and its cell.

        A cell that does not fit beside its heading is placed below it.
        """
        headings = [str(column.header) for column in self.columns]
        cell_at = 2 + max((cell_len(name) for name in headings), default=0)
        for cells in zip(*columns, strict=True):
            lines = []
            for name, cell in zip(headings, cells, strict=True):
                if set(cell) <= {BAR, "#"}:
                    continue
                beside = name + " " * (cell_at - cell_len(name)) + cell
                if cell_len(beside) <= width:
                    lines.append(beside)
                    continue
                below = cell if cell_len(cell) <= width - 2 else _interval_below(cell)
                lines += [
                    *folded(name, width).split("\n"),
                    *("  " + line for line in folded(below, width - 2).split("\n")),
                ]
            yield "\n".join(lines)


def _widest(text: str, *, words: bool) -> int:
    """The columns of the longest line of a text, or of its longest word."""
    return max(map(cell_len, text.split() if words else text.split("\n")), default=0)


def _widened(widths: Sequence[int], texts: Sequence[Sequence[str]], inside: int) -> list[int]:
    """The widths with the free space of a line added. Each unit goes to the column whose texts have most lines.

    Args:
        widths: The least width of each column.
        texts: The texts of each column that may be folded.
        inside: The sum of the widths to reach.
    """
    result = list(widths)
    breaks = [
        max(folded(text, width, "  ").count("\n") for text in column)
        for column, width in zip(texts, result, strict=True)
    ]
    for _ in range(inside - sum(result)):
        longest = max(range(len(result)), key=lambda column: breaks[column])
        if not breaks[longest]:
            break
        result[longest] += 1
        breaks[longest] = max(folded(text, result[longest], "  ").count("\n") for text in texts[longest])
    return result


def _aligned(texts: Sequence[str]) -> Sequence[str]:
    """Cells whose first numbers have their decimal points below each other. Other columns stay as they are."""
    found = [NUMBER.match(text) for text in texts]
    if any(match is None for match, text in zip(found, texts, strict=True) if text):
        return texts
    parts = [("", "", "") if match is None else match.groups("") for match in found]
    wholes, fractions, rests = ([len(part) for part in column] for column in zip(*parts, strict=True))
    if len(set(fractions)) == 1 or any("\n" in rest for _, _, rest in parts):
        return texts
    return [
        f"{whole:>{max(wholes)}}{fraction:<{max(fractions)}}{rest:<{max(rests)}}" if text else text
        for text, (whole, fraction, rest) in zip(texts, parts, strict=True)
    ]


def _safe(text: str) -> str:
    return one_line(redacted(text))


def _unchanged(cell: str) -> str:
    return cell


def _interval_below(cell: str) -> str:
    """The cell with its interval on a line of its own."""
    return cell.replace(" [", "\n[")
