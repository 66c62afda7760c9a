"""Tables and lines that fit into any width: they are folded at spaces or stacked, and no word or number is ever cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mdm_tune.core.redaction import one_line, redacted

__all__ = ["BAR", "Grid", "folded"]

BAR = "█"  # what a column of bars is drawn with
WIDEST = 10_000  # columns: as wide as a table would like to be


def folded(text: str, width: int, hang: str = "") -> str:
    """The text with line breaks at spaces, so that no line is wider than ``width`` but a word that is.

    hang: what the lines begin with that continue one, behind its own indent.
    """
    return "\n".join(part for line in text.split("\n") for part in _parts(line, width, hang))


def _parts(line: str, width: int, hang: str) -> Iterator[str]:
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


class Grid(Table):
    """A table of texts. Where it is too wide, headings are folded, then intervals, then names; else rows are stacked.

    What it is given is data: control characters become escapes, passwords ***, and nothing in it is markup.
    """

    def __init__(self, title: str, headings: Sequence[str], left: Sequence[str] = ()) -> None:
        """left: the headings of columns that hold words; all others hold numbers and are set to the right."""
        super().__init__(title=_safe(title))
        for name in headings:
            self.add_column(_safe(name), justify="left" if name in left else "right")

    def row(self, *cells: str, style: str = "") -> None:
        """Add a row of texts."""
        self.add_row(*map(_safe, cells), style=style)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield Text(folded(str(self.title), width), style="italic", no_wrap=True, overflow="ignore")
        bar = "#" if options.ascii_only else BAR
        cells = [[str(cell).replace(BAR, bar) for cell in column.cells] for column in self.columns]
        for form in self._forms(cells, width):
            if Measurement.get(console, options.update(max_width=WIDEST), form).maximum <= width:
                yield form
                return
        yield Text("\n" + "\n\n".join(self._stacked(cells, width)) + "\n", no_wrap=True, overflow="ignore")

    def _forms(self, cells: Sequence[Sequence[str]], width: int) -> Iterator[Table]:
        """The table in its own form and in narrower ones."""
        yield self._drawn(cells, [WIDEST] * len(cells), pad_edge=True)
        inside = width - 2 - 3 * (len(cells) - 1)  # edges, padding and gaps
        for interval, words in product((_same, _interval_below), (False, True)):
            changed = [[interval(text) for text in texts] for texts in cells]
            free = [words and column.justify == "left" for column in self.columns]
            heads = [str(column.header) for column in self.columns]
            least = [
                max([_widest(head, words=True), *(_widest(text, words=fold) + 2 * fold for text in texts)])
                for head, texts, fold in zip(heads, changed, free, strict=True)
            ]
            folds = [[head, *(texts if fold else ())] for head, texts, fold in zip(heads, changed, free, strict=True)]
            room = inside - 2 if sum(least) <= inside - 2 else inside
            if sum(least) <= room:
                yield self._drawn(changed, _widened(least, folds, room), pad_edge=room < inside)

    def _drawn(self, cells: Sequence[Sequence[str]], widths: Sequence[int], *, pad_edge: bool = False) -> Table:
        """The rows as Rich draws them, headings and words folded to these widths."""
        found = Table(box=SIMPLE_HEAD, pad_edge=pad_edge)
        folds = []
        for column, texts, width in zip(self.columns, cells, widths, strict=True):
            found.add_column(Text(folded(str(column.header), width)), justify=column.justify, no_wrap=True)
            words = column.justify == "left"
            folds.append([Text(folded(text, width, "  ") if words else text) for text in texts])
        for row, texts_of in zip(self.rows, zip(*folds, strict=True), strict=True):
            found.add_row(*texts_of, style=row.style, end_section=row.end_section)
        return found

    def _stacked(self, columns: Sequence[Sequence[str]], width: int) -> Iterator[str]:
        """Each row as lines of a heading and a cell; a cell that does not fit beside its heading stands below it."""
        headings = [str(column.header) for column in self.columns]
        behind = 2 + max((cell_len(name) for name in headings), default=0)
        for cells in zip(*columns, strict=True):
            lines = []
            for name, cell in zip(headings, cells, strict=True):
                if set(cell) <= {BAR, "#"}:
                    continue
                beside = name + " " * (behind - cell_len(name)) + cell
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
    """Columns that a text takes, or its longest word."""
    return max(map(cell_len, text.split() if words else text.split("\n")), default=0)


def _widened(widths: Sequence[int], texts: Sequence[Sequence[str]], inside: int) -> list[int]:
    """Share what is left of a line out among columns: a column at a time to the one whose texts have most lines."""
    found = list(widths)
    lines = [max(folded(text, width, "  ").count("\n") for text in of) for of, width in zip(texts, found, strict=True)]
    for _ in range(inside - sum(found)):
        place = max(range(len(found)), key=lambda each: lines[each])
        if not lines[place]:
            break
        found[place] += 1
        lines[place] = max(folded(text, found[place], "  ").count("\n") for text in texts[place])
    return found


def _safe(text: str) -> str:
    return one_line(redacted(text))


def _same(cell: str) -> str:
    return cell


def _interval_below(cell: str) -> str:
    """The interval of a value on a line of its own."""
    return cell.replace(" [", "\n[")
