"""Tables that a narrow screen shows row below row: each cell says what it holds."""

from __future__ import annotations

import re

__all__ = ["labelled"]

TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
HEADS = re.compile(r"<th\b[^>]*>(.*?)</th>", re.DOTALL)
ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
CELL = re.compile(r"<td\b([^>]*)>")
SPAN = re.compile(r'colspan="(\d+)"')
TAGS = re.compile(r"<[^>]*>")


def labelled(page: str) -> str:
    """The page with the heading of its column as ``data-label`` of every cell of a table but those of the first column.

    Args:
        page: HTML of this package's templates, where ``<`` and quotes in texts are escaped.
    """
    return TABLE.sub(lambda found: _table(found.group()), page)


def _table(text: str) -> str:
    head, _, body = text.partition("</thead>")
    names = [TAGS.sub("", each).strip() for each in HEADS.findall(head)]
    return f"{head}</thead>{ROW.sub(lambda found: _row(found.group(), names), body)}" if body else text


def _row(text: str, names: list[str]) -> str:
    column = 0

    def cell(found: re.Match[str]) -> str:
        nonlocal column
        place, attributes = column, found.group(1)
        span = SPAN.search(attributes)
        column += 1 if span is None else int(span.group(1))
        if place == 0 or place >= len(names) or span is not None:
            return found.group()
        return f'<td{attributes} data-label="{names[place]}">'

    return CELL.sub(cell, text)
