"""A figure: its title and description, drawn for a wide or a narrow place, in the colours of a theme."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from mdm_tune.pages.colours import DARK, LIGHT, Theme, dark_rules, resolved
from mdm_tune.pages.png import to_png
from mdm_tune.pages.svg import element, escape, number, paragraph, text

__all__ = ["COMPACT", "WIDE", "Drawing", "Figure", "Layout"]

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HEADING, MARGIN = 16.0, 16.0  # font size of the title of a file, and the space around the figure in it


@dataclass(frozen=True)
class Layout:
    """The place that a figure is drawn for.

    Attributes:
        width: in pixels.
        font: the size of most text, in pixels.
        compact: whether the place is narrow: the screen of a phone.
    """

    width: float
    font: float
    compact: bool

    @property
    def small(self) -> float:
        """The size of ticks and notes, in pixels."""
        return self.font - 1


WIDE, COMPACT = Layout(680.0, 13.0, False), Layout(360.0, 12.5, True)


@dataclass(frozen=True)
class Drawing:
    """The elements of a figure.

    Attributes:
        height: in pixels.
        body: elements whose colours are names such as ``@ink``.
    """

    height: float
    body: str


@dataclass(frozen=True)
class Figure:
    """A figure that can be written in several forms. The same figure gives the same bytes.

    Attributes:
        title: a few words.
        description: what is seen, in whole sentences, for readers who do not see it.
        draw: makes the drawing for a place.
    """

    title: str
    description: str
    draw: Callable[[Layout], Drawing]

    def svg(self, theme: Theme = "page", *, compact: bool = False) -> str:
        """The figure as one element ``svg`` that loads nothing else.

        What has a value has the attribute ``data-tip`` and a child ``title`` with its numbers in words. Nothing in it
        takes the focus of the keyboard: for a screen reader it is one picture with a title and a description.

        Args:
            theme: ``page`` for a place in a page that declares ``colours.custom_properties``, where the page shows the
                title; ``light`` or ``dark`` for a file of its own, with a background and the title; ``system`` for a
                file that has the colours that its reader prefers.
            compact: whether it is drawn for a phone, 360 pixels wide, and not for 680 pixels.
        """
        layout = COMPACT if compact else WIDE
        drawing = self.draw(layout)
        width, height, body = layout.width, drawing.height, drawing.body
        if theme != "page":
            width, height, body = self._as_file(layout, drawing)
        name = "f" + hashlib.sha256(f"{self.title}{compact}{body}".encode()).hexdigest()[:8]
        inside = (
            element("title", escape(self.title), id=f"{name}-title"),
            element("desc", escape(self.description), id=f"{name}-desc"),
            element("style", dark_rules()) if theme == "system" else "",
            resolved(body, theme),
        )
        return element(
            "svg",
            *inside,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {number(width)} {number(height)}",
            width=None if theme == "page" else width,
            height=None if theme == "page" else height,
            class_="chart compact" if compact else "chart wide",
            role="img",
            aria_labelledby=f"{name}-title {name}-desc",
            font_family=FONTS,
            font_size=layout.font,
        )

    def png(self, width: int = 1360, theme: Theme = "light", *, compact: bool = False) -> bytes:
        """The figure as a PNG file.

        Args:
            width: in pixels.
            theme: ``light`` or ``dark``; others are taken as ``light``.
            compact: whether it is drawn for a phone.

        Raises:
            InputError: the package that draws it is not installed, or the width is not from 1 to 10,000.
        """
        return to_png(self.svg("dark" if theme == "dark" else "light", compact=compact), width)

    def _as_file(self, layout: Layout, drawing: Drawing) -> tuple[float, float, str]:
        """The drawing with its title, margins and a background."""
        lines = paragraph(self.title, HEADING, layout.width, bold=True)
        top = MARGIN + len(lines) * HEADING * 1.3 + 6
        width, height = layout.width + 2 * MARGIN, top + drawing.height + MARGIN
        heading = [
            text(
                (MARGIN, MARGIN + (row + 0.85) * HEADING * 1.3), line, fill="@ink", font_size=HEADING, font_weight="600"
            )
            for row, line in enumerate(lines)
        ]
        paper = element("rect", width=width, height=height, fill="@paper")
        moved = element("g", drawing.body, transform=f"translate({number(MARGIN)},{number(top)})")
        return width, height, "".join([paper, *heading, moved])


assert LIGHT.keys() == DARK.keys()
