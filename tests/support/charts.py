"""Reads figures back: the boxes of their texts and the places of their points."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from mdm_tune.pages.svg import width_of

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Box:
    """The room of a text."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def parsed(source: str) -> ElementTree.Element:
    """The root of a figure, or of some elements."""
    if source.startswith("<svg"):
        return ElementTree.fromstring(source)
    return ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg" font-size="13">{source}</svg>')


def placed(
    node: ElementTree.Element, x: float = 0.0, y: float = 0.0
) -> Iterator[tuple[ElementTree.Element, float, float]]:
    """Every element with the sum of the shifts around it."""
    if shift := re.match(r"translate\(([^,]+),([^)]+)\)", node.get("transform", "")):
        x, y = x + float(shift[1]), y + float(shift[2])
    yield node, x, y
    for child in node:
        yield from placed(child, x, y)


def texts(root: ElementTree.Element) -> list[Box]:
    """The boxes of all texts that are shown, in the coordinates of the figure."""
    usual = float(root.get("font-size", "13"))
    found = []
    for node, across, down in placed(root):
        content = "".join(node.itertext())
        if node.tag == f"{SVG}text" and content:
            size = float(node.get("font-size", usual))
            width = width_of(content, size, bold=node.get("font-weight") == "600")
            x, y = float(node.get("x", 0)) + across, float(node.get("y", 0)) + down
            left = x - {"end": width, "middle": width / 2}.get(node.get("text-anchor", ""), 0.0)
            box = Box(text=content, left=left, top=y - 0.75 * size, right=left + width, bottom=y + 0.2 * size)
            found.append(box)
    return found


def overlaps(root: ElementTree.Element) -> list[tuple[str, str]]:
    """Pairs of texts that touch."""
    boxes = texts(root)
    return [
        (first.text, second.text)
        for place, first in enumerate(boxes)
        for second in boxes[:place]
        if first.left < second.right and second.left < first.right
        if first.top < second.bottom and second.top < first.bottom
    ]


def outside(root: ElementTree.Element) -> list[str]:
    """Texts that leave the figure by more than a pixel."""
    _, _, width, height = map(float, root.get("viewBox", "").split())
    return [
        each.text
        for each in texts(root)
        if each.left < -1 or each.right > width + 1 or each.top < -1 or each.bottom > height + 1
    ]


def tips(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The elements that tell their numbers, by their words, each of which its own title repeats."""
    found = {}
    for node in root.iter():
        if (tip := node.get("data-tip")) is not None:
            title = node.find(f"{SVG}title")
            assert title is not None and title.text == tip
            found[tip] = node
    return found


def centre(node: ElementTree.Element) -> tuple[float, float]:
    """The place of a point: the centre of the circle that the pointer finds."""
    circle = node.find(f"{SVG}circle")
    assert circle is not None
    return float(circle.get("cx", "nan")), float(circle.get("cy", "nan"))
