"""Literal types that the config and the code share, and the sign of a direction."""

from __future__ import annotations

from typing import Literal

__all__ = ["Direction", "Dtype", "Ignored", "Match", "Order", "Use", "better_of", "sign_of"]

Use = Literal["tune", "choose", "report"]  # the purpose of an example
Direction = Literal["minimize", "maximize"]  # whether a metric is better when it is lower or higher
Order = Literal["random", "confidence", "top-probability", "margin", "entropy"]  # ranks the positions to reveal
Ignored = Literal["spaces", "case", "punctuation", "number-format"]  # ignored when answers are compared
Match = Literal["first", "last"]  # the match of a pattern in an answer that counts
Dtype = Literal["float32", "bfloat16", "float16"]


def sign_of(direction: Direction) -> Literal[1, -1]:
    """The factor that makes larger values better: 1 for maximize, -1 for minimize."""
    return 1 if direction == "maximize" else -1


def better_of(value: float, other: float | None, direction: Direction) -> float:
    """The better of two values; the first if there is no other."""
    sign = sign_of(direction)
    return value if other is None or sign * value > sign * other else other
