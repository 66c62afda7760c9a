"""The words that a config and the code choose between."""

from __future__ import annotations

from typing import Literal

__all__ = ["Direction", "Dtype", "Ignored", "Match", "Order", "Use"]

Use = Literal["tune", "choose", "report"]  # of an example
Direction = Literal["minimize", "maximize"]  # of a metric
Order = Literal["random", "confidence", "top-probability", "margin", "entropy"]  # what ranks the positions to reveal
Ignored = Literal["spaces", "case", "punctuation", "number-format"]  # where answers are compared
Match = Literal["first", "last"]  # of a pattern in an answer
Dtype = Literal["float32", "bfloat16", "float16"]
