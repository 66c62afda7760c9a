"""Agreement with the model's own answers at one token per step, which needs no references."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.datasets.splits import Dataset, Split
from mdm_tune.metrics.answers import AnswerMetric
from mdm_tune.metrics.quality import SHARE

__all__ = ["agreement"]

Values = NDArray[np.float64]
Answer = tuple[list[int], int]  # the tokens before the end, and the tokens with the one that ends the answer


def agreement(dataset: Dataset, *, whole: bool = True) -> AnswerMetric:
    """Build the metric that compares answers with the model's own, token by token at the same positions.

    An answer is its tokens up to the first end token, which counts as one of them; all end tokens are equal. A stop
    text of the data set ends an answer too: the token that completes it counts as an end token. What follows the end
    does not count, as in ``exact_match``. The share is that of the equal tokens in the longer of the two answers, so
    that an answer that ends too early or too late loses what it lacks or adds. Several holes of a row count together.

    Args:
        dataset: The data set.
        whole: Whether an answer is 1 if all its tokens are equal and else 0, or the share of its tokens.

    Returns:
        The metric. Its splits have the model's own answers as ``originals``, see ``evaluation.own_answers``.
    """

    def score(tokens: Tensor, split: Split) -> Values:
        sizes = dataset.hole_sizes(split)
        drawn, own = (_answers(dataset, rows, split, sizes) for rows in (tokens, split.originals))
        shares = np.array([_share(*pair) for pair in zip(drawn, own, strict=True)], dtype=np.float64)
        return (shares == 1.0).astype(np.float64) if whole else shares

    part = "whole answers" if whole else "tokens"
    return AnswerMetric(
        name="agreement",
        label=f"share of {part} equal to the model's own answer",
        direction="maximize",
        dataset=dataset,
        score=score,
        bounds=SHARE,
        of_model=True,
    )


def _answers(dataset: Dataset, tokens: Tensor, split: Split, sizes: list[list[int]]) -> list[list[Answer]]:
    """The answers in the holes of each row of tokens (n, length). sizes: the positions of each hole."""
    rows = zip(dataset.answers(tokens, split), sizes, strict=True)
    return [[_answer(dataset, *hole) for hole in zip(answers, lengths, strict=True)] for answers, lengths in rows]


def _answer(dataset: Dataset, before_end: list[int], size: int) -> Answer:
    """The answer in a hole of ``size`` positions, cut at the first stop text."""
    tokens = before_end[: _stop_place(dataset, before_end)] if dataset.stops else before_end
    return tokens, min(len(tokens) + 1, size)


def _stop_place(dataset: Dataset, tokens: list[int]) -> int:
    """The place of the token that completes the first stop text; the number of tokens if there is none."""

    def stopped(count: int) -> bool:
        text = dataset.codec.decode(tokens[:count])
        return any(stop in text for stop in dataset.stops)

    if not stopped(len(tokens)):
        return len(tokens)
    return bisect_left(range(1, len(tokens)), True, key=stopped)


def _share(drawn: list[Answer], own: list[Answer]) -> float:
    """The share of equal tokens in the longer answers, over the holes of a row."""
    equal = longest = 0
    for (first, first_length), (second, second_length) in zip(drawn, own, strict=True):
        equal += sum(one == other for one, other in zip(first, second, strict=False))
        # Both answers end at the same place, by an end token.
        equal += len(first) == len(second) < first_length
        longest += max(first_length, second_length)
    return equal / longest
