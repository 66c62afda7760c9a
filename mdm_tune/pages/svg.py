"""Elements of SVG as text: escaping, numbers, paths, and how much room a text needs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

__all__ = [
    "BOLD",
    "BREAKS",
    "Point",
    "closed_path",
    "element",
    "escape",
    "number",
    "open_path",
    "paragraph",
    "shortened",
    "text",
    "width_of",
]

Point = tuple[float, float]

# Widths in units of the font size, those of DejaVu Sans, which is one of the widest of the usual fonts.
WIDTHS = {
    each: width
    for letters, width in (
        ("ijl'", 0.28),
        ("ftrI.,:;|!()[]/\\ -J", 0.38),
        ('sczvxyk"*_?', 0.58),
        ("aebdghnopqu0123456789$F{}L", 0.64),
        ("ABCDEGHKNOPQRSTUVXYZ&#", 0.77),
        ("+=<>~^w\u2212", 0.84),
        ("mMW@%", 0.98),
    )
    for each in letters
}
OTHER = 0.84  # of a letter that is not listed
BOLD = 1.12  # how much wider bold text is
BREAKS = re.compile("(?<=[:,/])|(?=[@#])")  # in the name of a policy or a file, such as quota:beta:1.0,0.5#8@0.9
FORBIDDEN = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def escape(text: str) -> str:
    """The text for XML content and attributes. Characters that XML forbids become U+FFFD."""
    text = FORBIDDEN.sub("\ufffd", text)
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(plain, entity)
    return text


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel.

    Raises:
        ValueError: the value is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"A coordinate must be finite, not {value}.")
    shown = f"{value:.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown


def element(name: str, *children: str, **attributes: str | float | None) -> str:
    """One element.

    Args:
        name: of the element.
        children: elements, or text that was escaped.
        attributes: an underscore stands for a hyphen; a last underscore is dropped, as in ``class_``; None is left out.
            Text is escaped, numbers are rounded to a tenth.
    """
    shown = []
    for key, value in attributes.items():
        if value is not None:
            content = escape(value) if isinstance(value, str) else number(value)
            shown.append(f' {key.removesuffix("_").replace("_", "-")}="{content}"')
    inside = "".join(children)
    return f"<{name}{''.join(shown)}>{inside}</{name}>" if inside else f"<{name}{''.join(shown)}/>"


def text(place: Point, content: str, **attributes: str | float | None) -> str:
    """A line of text whose baseline begins at ``place``, or ends or has its centre there by ``text_anchor``."""
    return element("text", escape(content), x=place[0], y=place[1], **attributes)


def open_path(points: Iterable[Point]) -> str:
    """The ``d`` of a line through the points."""
    return "M" + "L".join(f"{number(x)},{number(y)}" for x, y in points)


def closed_path(points: Iterable[Point]) -> str:
    """The ``d`` of a polygon."""
    return open_path(points) + "Z"


def width_of(content: str, size: float, *, bold: bool = False) -> float:
    """About how wide a line of text is, in pixels; rather too wide than too narrow, for the font is not known."""
    return size * (BOLD if bold else 1.0) * sum(WIDTHS.get(each, OTHER) for each in content)


def shortened(content: str, size: float, width: float) -> str:
    """The text, cut in its middle if it is wider than ``width`` pixels."""
    if width_of(content, size) <= width:
        return content
    for kept in range(len(content) - 1, 1, -1):
        cut = content[: (kept + 1) // 2] + "\u2026" + content[len(content) - kept // 2 :]
        if width_of(cut, size) <= width:
            return cut
    return "\u2026"


def paragraph(content: str, size: float, width: float, *, bold: bool = False) -> Sequence[str]:
    """The text in lines of at most ``width`` pixels.

    A word that is wider is broken where names may be broken, see ``BREAKS``. A part that is still wider is cut.
    """
    size = size * BOLD if bold else size
    lines: list[str] = []
    for word in content.split():
        longer = f"{lines[-1]} {word}" if lines else ""
        if longer and width_of(longer, size) <= width:
            lines[-1] = longer
            continue
        lines.append("")
        for part in [word] if width_of(word, size) <= width else BREAKS.split(word):
            if width_of(lines[-1] + part, size) <= width:
                lines[-1] += part
            elif lines[-1]:
                lines.append(shortened(part, size, width))
            else:
                lines[-1] = shortened(part, size, width)
    return lines
