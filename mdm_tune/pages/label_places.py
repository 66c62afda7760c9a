"""Where the name of a point stands, so that it covers nothing that matters."""

from __future__ import annotations

from collections.abc import Sequence

from mdm_tune.pages.chart_frame import Frame
from mdm_tune.pages.svg import Point, width_of

__all__ = ["Box", "free_box"]

Box = tuple[float, float, float, float]


def free_box(
    place: Point, name: str, boxes: tuple[Sequence[Box], Sequence[Box]], room: tuple[Frame, float]
) -> Box | None:
    """The best place for a name beside its point: inside, over no other name or point, over few trials.

    Args:
        place: the point.
        name: of the point.
        boxes: what must not be covered, and what should not.
        room: the frame, and the size of the letters.
    """
    (x, y), (hard, soft), (frame, size) = place, boxes, room
    width, height = width_of(name, size, bold=True), size * 1.3
    best: tuple[int, Box] | None = None
    for across, down in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -2), (0, 2)):
        left = x + across * (width / 2 + (12 if down == 0 else 4)) - width / 2
        upper = y + down * (height / 2 + 10) - height / 2
        box = (left, upper, left + width, upper + height)
        inside = frame.left + 2 <= left and box[2] <= frame.right - 2 and frame.top <= upper and box[3] <= frame.bottom
        if inside and not any(_touch(box, each) for each in hard):
            covered = sum(_touch(box, each) for each in soft) + (3 if abs(down) == 2 else 0)  # far is unclear too
            if best is None or covered < best[0]:
                best = (covered, box)
    return best[1] if best else None


def _touch(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
