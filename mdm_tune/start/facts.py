"""What ``init`` knows of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["UNKNOWN_LENGTH", "TaskFacts", "guessed_length"]

UNKNOWN_LENGTH = 256  # tokens of an answer where nothing says how long it is


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """What is known of a task.

    Attributes:
        dataset: The dataset section without the sizes of its splits; paths are absolute.
        metric: ``likelihood`` for the likelihood that fits the order, ``own answers`` for what fits the order and needs
            no references, or the objective.
        metrics: The metrics section.
        available: Independent examples for all splits, or, with ``reported``, for tune and choose; None if unknown.
        reported: Examples of a split of its own for the report; None if there is none.
        official: Whether that split is the test split of a benchmark, which is reported as a whole.
        right_or_wrong: Whether the values of the metric are 1 and 0.
        tokens: The usual number of tokens to fill in; None if it is unknown.
        longest: The most tokens to fill in; None if they are unknown.
        example: One rendered prompt or text; None if none can be shown.
        unknown: What could not be known, as sentences.
    """

    dataset: dict[str, Any]
    metric: str
    metrics: dict[str, Any] | None = None
    available: int | None = None
    reported: int | None = None
    official: bool = False
    right_or_wrong: bool = True
    tokens: int | None = None
    longest: int | None = None
    example: str | None = None
    unknown: tuple[str, ...] = ()


def guessed_length(tokens: int | None, prompt: int | None = None) -> int:
    """The tokens of an answer where nothing says how long it is: ``UNKNOWN_LENGTH``, or less where these do not fit.

    It is 0 or negative where the longest prompt leaves no token.

    Args:
        tokens: The most tokens of a row that the model takes; None if they are unknown.
        prompt: The tokens of the longest prompt; None if they are unknown, and then half of the row is left for it.
    """
    if tokens is None:
        return UNKNOWN_LENGTH
    return min(UNKNOWN_LENGTH, tokens // 2 if prompt is None else tokens - prompt)
