"""Quality against parallelism: tokens per forward, the Pareto front, the area under accuracy and parallelism."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.ratios import ratio_of_means
from mdm_tune.core.seeding import derive_seed
from mdm_tune.core.statistics import FEWEST, Estimate
from mdm_tune.core.types import Direction, sign_of
from mdm_tune.evaluation.scores import Scores

__all__ = ["Measured", "area_under", "areas", "filled_tokens", "pareto_front", "row_calls", "tokens_per_forward"]

PENALTY = 3.0  # alpha of the weight exp(-alpha (1 - accuracy / best))
LARGEST_LOSS = 5.0  # points of accuracy below a curve's first point; what lies lower does not count
RESAMPLES = 1000  # bootstrap samples of an interval

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A policy as it was measured on the examples of a split.

    Attributes:
        scores: Its scores.
        filled: (n,) tokens that each row was given by denoiser calls; (1,) for exact values.
    """

    scores: Scores
    filled: Values

    @property
    def tpf(self) -> Estimate:
        """Tokens per forward; see ``tokens_per_forward``."""
        return tokens_per_forward(self.scores, self.filled)


def filled_tokens(hidden: Tensor, tokens: Tensor, end_tokens: Sequence[int], *, stops: bool) -> Values:
    """The tokens of each row that denoiser calls filled.

    Args:
        hidden: (rows, length) bool, True at the positions to fill.
        tokens: (rows, length) int64, the filled rows.
        end_tokens: The tokens that end a text.
        stops: Whether a row is finished at its first end token. Tokens behind it then cost no call and do not count.

    Returns:
        (rows,).
    """
    mask = hidden.numpy()
    if not stops or not end_tokens:
        return np.asarray(mask.sum(axis=1), dtype=np.float64)
    ended = mask & np.isin(tokens.numpy(), end_tokens)
    before: NDArray[np.int64] = np.cumsum(ended, axis=1) - ended  # end tokens before a position
    return np.asarray((mask & (before == 0)).sum(axis=1), dtype=np.float64)


def row_calls(scores: Scores, rows: int) -> Values:
    """The denoiser calls of each row (rows,)."""
    return np.full(rows, scores.nfe) if scores.calls is None else scores.calls


def tokens_per_forward(scores: Scores, filled: Values) -> Estimate:
    """Tokens per forward (TPF): tokens that were filled, divided by the denoiser calls that filled them.

    The interval is Fieller's, see ``core.ratios.ratio_of_means``. There is none if all rows are filled alike in equally
    many calls by design: the ratio is then exact.

    Args:
        scores: Scores on a split.
        filled: (n,) tokens of each row, as in ``filled_tokens``; (1,) for exact values.
    """
    calls = row_calls(scores, len(filled))
    if scores.calls is None and np.ptp(filled) == 0:
        return Estimate(float(filled.mean() / scores.nfe), None)
    longest = float(filled.max())
    bounds = (float(filled.min()), longest), (min(1.0, float(calls.min())), max(longest, float(calls.max())))
    return ratio_of_means(filled, calls, bounds=bounds, groups=scores.groups)


def pareto_front(calls: Sequence[float], values: Sequence[float], direction: Direction) -> list[bool]:
    """Whether each point lies on the Pareto front: no other has as few calls and a better value, or fewer calls and as
    good a value.

    Args:
        calls: Denoiser calls of each point.
        values: Values of the metric; a point without a number is on no front.
        direction: The metric's direction.
    """
    signed = [sign_of(direction) * value for value in values]
    points = list(zip(calls, signed, strict=True))
    return [
        not math.isnan(good) and not any(c <= own and g >= good and (c < own or g > good) for c, g in points)
        for own, good in points
    ]


def area_under(tpf: Sequence[float], accuracy: Sequence[float], best: float) -> float:
    """The area under accuracy and parallelism (AUP) of one curve.

    With the points in order of their tokens per forward r_1 < r_2 < ..., accuracies y_i and
    w(y) = min(1, exp(-3 (1 - y / best))):

    AUP = r_1 y_1 + sum over i > 1 of (r_i - r_(i-1)) (y_i w(y_i) + y_(i-1) w(y_(i-1))) / 2.

    Points with an accuracy below y_1 - 5 are left out before.

    Source: github.com/hao-ai-lab/d3LLM, AUP_leaderboard, ``get_aup``.

    Args:
        tpf: Tokens per forward of each point, above 0.
        accuracy: Accuracies in percent, from 0 to 100.
        best: The highest accuracy of all curves that are compared, above 0.
    """
    points = sorted(zip(tpf, accuracy, strict=True), key=lambda point: point[0])
    first = points[0][1]
    kept = [(r, y, y * min(1.0, math.exp(-PENALTY * (1 - y / best)))) for r, y in points if y >= first - LARGEST_LOSS]
    return kept[0][0] * kept[0][1] + sum((b[0] - a[0]) * (a[2] + b[2]) / 2 for a, b in pairwise(kept))


def areas(curves: Sequence[Sequence[Measured]], reference: Measured) -> list[Estimate] | None:
    """The area under accuracy and parallelism of each curve, with its interval.

    Every curve begins with the reference, one token per step, at which all policies are the same sampler. The best
    accuracy is that of all points. Intervals are percentiles of 1,000 bootstrap samples of the examples, or of groups
    of them; each sample draws the same examples for all points.

    Args:
        curves: The points of each curve, all on the same examples.
        reference: One token per step on the same examples.

    Returns:
        One estimate per curve; None if the metric is no share of 0 to 1 that is maximised, or is 0 everywhere. The
        caller checks the direction.
    """
    scores = reference.scores
    points = [reference, *(point for curve in curves for point in curve)]
    if scores.values is None or scores.bounds != (0.0, 1.0) or max(p.scores.estimate.value for p in points) <= 0:
        return None
    places = [[0, *range(start, start + len(curve))] for curve, start in zip(curves, _starts(curves), strict=True)]
    sums = np.stack([column for point in points for column in _columns(point, len(scores.values))])
    names: Sequence[Hashable] = scores.groups if scores.groups is not None else range(sums.shape[1])
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    by_group = np.stack([np.bincount(index, row, len(numbers)) for row in [*sums, np.ones(sums.shape[1])]], axis=1)

    def of(weights: Values) -> list[float]:
        *totals, examples = weights @ by_group
        accuracy, filled, calls = (np.array(totals[k::3]) for k in range(3))
        accuracy, tpf = 100 * accuracy / examples, filled / calls
        best = max(float(accuracy.max()), 1e-9)
        return [area_under(tpf[place].tolist(), accuracy[place].tolist(), best) for place in places]

    count, found = len(numbers), of(np.ones(len(numbers)))
    if count < FEWEST:
        return [Estimate(value, None, count) for value in found]
    rng = np.random.default_rng(derive_seed(0, "area under accuracy and parallelism"))
    drawn = np.array([of(weights) for weights in rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0).tolist()
    return [
        Estimate(value, (min(value, a), max(value, b)), count) for value, a, b in zip(found, low, high, strict=True)
    ]


def _columns(point: Measured, rows: int) -> tuple[Values, Values, Values]:
    """Value, filled tokens and calls of each row."""
    values = point.scores.values
    assert values is not None
    return values, np.broadcast_to(point.filled, (rows,)), row_calls(point.scores, rows)


def _starts(curves: Sequence[Sequence[Measured]]) -> list[int]:
    """The place of each curve's first point among all points, of which the first is the reference."""
    return [1 + sum(map(len, curves[:place])) for place in range(len(curves))]
