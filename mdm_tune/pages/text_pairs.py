"""Pieces of two texts that are equal or differ, for samples whose tokens are not known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

__all__ = ["pieces_of"]

PARTS = re.compile(r"\s+|\w+|[^\w\s]")
Pieces = list[list[object]]


def pieces_of(first: str, second: str) -> tuple[Pieces, Pieces]:
    """The texts in pieces, each with whether it differs from the other text.

    Texts of equal length are compared character by character, as models of characters draw them. Of others, the words
    at the beginning and at the end that are equal are found; all between them counts as different.
    """
    if len(first) == len(second):
        same = [a == b for a, b in zip(first, second, strict=True)]
        return _grouped(first, same), _grouped(second, same)
    parts = PARTS.findall(first), PARTS.findall(second)
    shorter = min(map(len, parts))
    head = next((at for at in range(shorter) if parts[0][at] != parts[1][at]), shorter)
    rest = shorter - head
    tail = next((at for at in range(rest) if parts[0][-1 - at] != parts[1][-1 - at]), rest)
    left, right = (_grouped(own, [at < head or at >= len(own) - tail for at in range(len(own))]) for own in parts)
    return left, right


def _grouped(parts: Sequence[str], same: Sequence[bool]) -> Pieces:
    """Neighbours of one kind, joined."""
    return [
        ["".join(part for part, _ in group), not equal]
        for equal, group in groupby(zip(parts, same, strict=True), key=lambda pair: pair[1])
    ]
