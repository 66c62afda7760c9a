"""Scores of settings: a value with its interval and its cost, those that are known, and paired differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import CONFIDENCE, Bounds, Estimate, estimate, grouped, is_constant
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.settings import Key, Setting

__all__ = ["Cost", "Reveals", "ScoreBook", "Scores", "paired_difference"]

Values = NDArray[np.float64]
MIDDLE = (0.1, 0.9)  # the shares of examples at the ends of a spread
DIGITS = 4  # decimals of a mean number of tokens


@dataclass(frozen=True)
class Cost(JsonRecord):
    """The cost of a computation.

    Attributes:
        denoiser_rows: Sequence forwards.
        denoiser_tokens: Positions of these forwards, without padding.
        seconds: Wall-clock time.
    """

    denoiser_rows: int = 0
    denoiser_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.denoiser_rows + other.denoiser_rows,
            self.denoiser_tokens + other.denoiser_tokens,
            self.seconds + other.seconds,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields by name, with seconds rounded to three decimals."""
        return {
            "denoiser_rows": self.denoiser_rows,
            "denoiser_tokens": self.denoiser_tokens,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Reveals(JsonRecord):
    """How many tokens each denoiser call reveals. An example that needs no more calls reveals 0.

    Attributes:
        mean: (calls,) mean over all examples.
        low: (calls,) tokens that at least a tenth of the examples do not exceed.
        high: (calls,) tokens that at least nine tenths do not exceed.
        examples: (calls,) examples that make the call.
    """

    mean: tuple[float, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    examples: tuple[int, ...]

    @classmethod
    def of(cls, revealed: Tensor, nfe: Tensor) -> Reveals:
        """Those of rows, by ``Unmasked.revealed`` (rows, calls) and ``Unmasked.nfe`` (rows,), of at least one row."""
        tokens, calls = revealed.cpu().numpy(), nfe.cpu().numpy()
        low, high = np.quantile(tokens, MIDDLE, axis=0, method="inverted_cdf")
        made = calls[:, None] > np.arange(tokens.shape[1])
        return cls(
            mean=tuple(round(float(mean), DIGITS) for mean in tokens.mean(axis=0)),
            low=tuple(map(int, low)),
            high=tuple(map(int, high)),
            examples=tuple(map(int, made.sum(axis=0))),
        )


@dataclass(frozen=True)
class Scores:
    """A setting's result on one split.

    Attributes:
        setting: The setting.
        estimate: The mean value, with its interval.
        nfe: Mean number of denoiser calls per row, as measured.
        cost: The cost of this result; 0 if it was known already.
        use: The split; None for exact metrics.
        values: (n,) value of each example; None for exact metrics.
        tokens: (n, length) int64, the filled rows; None for exact metrics and for values without samples.
        diversity: (n,) values by the name of a figure, see ``SampleMetric.diversity``.
        calls: (n,) denoiser calls of each row, if rows differ or an adaptive policy decides them; otherwise None.
        groups: The group of each example; None if all examples are independent.
        bounds: The smallest and largest possible value of an example; None if unknown.
        reveals: How many tokens each call reveals; None if it is not known.
    """

    setting: Setting
    estimate: Estimate
    nfe: float
    cost: Cost = field(compare=False)
    use: Use | None = None
    values: Values | None = None
    tokens: Tensor | None = None
    diversity: dict[str, Values] = field(default_factory=dict)
    calls: Values | None = None
    groups: tuple[str, ...] | None = None
    bounds: Bounds | None = None
    reveals: Reveals | None = None

    @property
    def count(self) -> int | None:
        """The number of scored examples; None if the value is exact."""
        return None if self.values is None else len(self.values)


class ScoreBook:
    """The scores computed so far, so that equal counts are scored once per split.

    Scores on whole splits and values on the first examples of a split are stored separately.
    """

    def __init__(self) -> None:
        self._whole: dict[tuple[Use | None, Key], Scores] = {}
        self._first: dict[tuple[Use, Key], Values] = {}
        self._calls: dict[tuple[Use, Key], Values] = {}

    def whole(self, setting: Setting, use: Use | None) -> Scores | None:
        """The stored scores of equal counts on a split (None for exact metrics); None if there are none."""
        return self._whole.get((use, setting.key))

    def keep_whole(self, scores: Scores) -> None:
        """Store scores on a whole split."""
        self._whole[scores.use, scores.setting.key] = scores

    def first(self, setting: Setting, use: Use) -> Values:
        """The stored values on the first examples of a split in random order; (0,) if there are none."""
        return self._first.get((use, setting.key), np.empty(0))

    def calls(self, setting: Setting, use: Use) -> Values:
        """The denoiser calls on the first examples in random order; (0,) if they were not filled in this process."""
        return self._calls.get((use, setting.key), np.empty(0))

    def keep_calls(self, setting: Setting, use: Use, first: int, calls: Values) -> None:
        """Store the calls on the examples from ``first`` on, unless those before them are unknown."""
        known = self.calls(setting, use)
        if len(known) == first:
            self._calls[use, setting.key] = np.concatenate([known, calls])

    def clear(self) -> None:
        """Forget all scores."""
        self._whole.clear()
        self._first.clear()
        self._calls.clear()

    def keep_first(self, setting: Setting, use: Use, values: Values) -> None:
        """Store values on the first examples, unless values on as many or more are stored."""
        if len(values) > len(self.first(setting, use)):
            self._first[use, setting.key] = values


def paired_difference(first: Scores, second: Scores, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of first - second, paired example by example.

    If the difference is the same on every example, its interval follows from the largest possible difference: the
    width of the values' bounds, or the range of the observed values without bounds (``interval_of_equal``). Settings
    with equal counts and values differ by exactly 0.

    Args:
        first: Scores on a split.
        second: Scores on the same examples.
        confidence: Of the interval, in (0, 1).

    Returns:
        The estimate; without an interval if both values are exact.
    """
    if first.values is None or second.values is None:
        return Estimate(first.estimate.value - second.estimate.value, None)
    differences = first.values - second.values
    if first.setting.key == second.setting.key and not differences.any():
        return Estimate(0.0, (0.0, 0.0), len(grouped(differences, first.groups)))
    bounds = None
    if first.bounds is not None:
        bounds = first.bounds[0] - first.bounds[1], first.bounds[1] - first.bounds[0]
    elif is_constant(grouped(differences, first.groups)):
        width = float(np.ptp([first.values, second.values]))
        bounds = (-width, width)
    return estimate(differences, confidence, bounds, first.groups)
