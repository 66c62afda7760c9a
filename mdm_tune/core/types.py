"""The words that a config and the code choose between, and the sign of a direction."""

from __future__ import annotations

from typing import Literal

__all__ = ["Direction", "Dtype", "Ignored", "Match", "Order", "Use", "sign_of"]

Use = Literal["tune", "choose", "report"]  # of an example
Direction = Literal["minimize", "maximize"]  # of a metric
Order = Literal["random", "confidence", "top-probability", "margin", "entropy"]  # what ranks the positions to reveal
Ignored = Literal["spaces", "case", "punctuation", "number-format"]  # where answers are compared
Match = Literal["first", "last"]  # of a pattern in an answer
Dtype = Literal["float32", "bfloat16", "float16"]


def sign_of(direction: Direction) -> Literal[1, -1]:
    """What values are multiplied by so that larger is better: 1 for maximize, -1 for minimize."""
    return 1 if direction == "maximize" else -1
