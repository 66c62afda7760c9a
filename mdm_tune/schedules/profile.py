"""The information profile c(m) of a denoiser, measured or exact, with its errors and warnings.

c(m) is the cross-entropy of a uniform hidden position when m uniform random positions are visible; see ``pricing``.
Source: arXiv:2510.25544 and arXiv:2511.04647.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.messages import quantity
from mdm_tune.core.statistics import FEWEST, TOO_FEW, Estimate, estimate
from mdm_tune.schedules.profile_intervals import Groups, clipped_at_zero, independent_count, standard_errors

__all__ = ["Profile", "Rise", "lists_without_nan", "own_visible_count"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SIGMAS = 4.0  # of a normal law; ``clear_sigmas`` converts it to Student's t, which needs more for few examples


@dataclass(frozen=True)
class Rise(JsonRecord):
    """A place where the model predicts worse although it sees more tokens.

    Attributes:
        first: visible tokens at the lower end.
        last: visible tokens at the upper end.
        amount: c(last) - c(first), nats per token, above 0; paired over the examples.
        stderr: the standard error of ``amount``.
    """

    first: int
    last: int
    amount: float
    stderr: float


@dataclass(frozen=True)
class Profile:
    """The profile at some numbers of visible tokens, the nodes. Between nodes of a block it is interpolated linearly.

    Attributes:
        length: masked positions of a sequence. If examples differ in size, it is that of the run, and m stands for the
            share m / length of an example's own positions.
        block_length: tokens of a block; the whole length without blocks.
        vocab_size: symbols of the vocabulary.
        revealed: the nodes (nodes,), increasing; they include the first and the last entry of every block.
        values: the cross-entropy of each example (examples, nodes), nats per token; a single row if exact.
        exact: whether the profile is that of a known law, without a sampling error.
        denoiser_rows: sequence forwards of the measurement.
        denoiser_tokens: tokens of these forwards.
        seconds: duration of the measurement.
        precision: the relative precision that an adaptive measurement reached; None for other measurements and for too
            few examples.
        entropies: the entropy of the model's predictions, in the shape of ``values``; None if exact.
        content_and_ends: nats per token (nodes, 2), of content and of positions from the first end token of a text on;
            NaN if no such position was predicted; None if no text ends.
        sizes: masked positions of each example (examples,); None if all have ``length``.
        groups: the group of each example, if some examples are not independent; None otherwise.
    """

    length: int
    block_length: int
    vocab_size: int
    revealed: NDArray[np.int64]
    values: Floats
    exact: bool
    denoiser_rows: int = 0
    denoiser_tokens: int = 0
    seconds: float = 0.0
    precision: float | None = None
    entropies: Floats | None = None
    content_and_ends: Floats | None = None
    sizes: NDArray[np.int64] | None = None
    groups: Groups | None = None

    @classmethod
    def of_law(cls, curve: Floats, vocab_size: int, block_length: int) -> Profile:
        """The exact profile of a law.

        Args:
            curve: c(m), (length,), nats per token.
            vocab_size: symbols of the vocabulary.
            block_length: tokens of a block; ``length`` for one block.
        """
        length = len(curve)
        return cls(
            length=length,
            block_length=block_length,
            vocab_size=vocab_size,
            revealed=np.arange(length),
            values=curve[None],
            exact=True,
        )

    @property
    def shares(self) -> Floats:
        """The weight of each example in a mean over tokens (examples,), 1 on average."""
        return np.ones(len(self.values)) if self.sizes is None else self.sizes / self.sizes.mean()

    @property
    def scale(self) -> float:
        """The mean size of the examples, divided by ``length``."""
        return 1.0 if self.sizes is None else float(self.sizes.mean()) / self.length

    @property
    def mean(self) -> Floats:
        """c at the nodes (nodes,), nats per token; every token of every example has the same weight."""
        return np.asarray(self.shares @ self.values / len(self.values))

    @property
    def stderr(self) -> Floats:
        """Standard error of ``mean`` (nodes,), over examples; 0 if exact."""
        return np.zeros(len(self.revealed)) if self.exact else self._stderr(self.values)

    @property
    def intervals(self) -> Floats | None:
        """The 95 % intervals of ``mean`` (nodes, 2), cut off at 0; None if exact, or if there are too few examples."""
        if self.exact or self.independent < FEWEST:
            return None
        mean = self.mean
        tokens = mean + self.shares[:, None] * (self.values - mean)  # (examples, nodes), whose plain mean is the mean
        return np.array([clipped_at_zero(estimate(node, groups=self.groups)).ci for node in tokens.T])

    @property
    def no_interval(self) -> str | None:
        """The reason why there are no ``intervals``; None if there are some."""
        return "exact" if self.exact else None if self.independent >= FEWEST else TOO_FEW

    @cached_property
    def independent(self) -> int:
        """The number of independent examples, or of groups."""
        return independent_count(len(self.values), self.groups)

    def _stderr(self, values: Floats) -> Floats:
        """Standard error (n,) of the mean over tokens of values (examples, n)."""
        shares = self.shares[:, None]
        mean = (shares * values).sum(axis=0) / len(values)
        return standard_errors(shares * (values - mean), self.groups)

    @cached_property
    def clear_sigmas(self) -> float:
        """The number of standard errors that a clear difference exceeds.

        In 2 % of profiles, one of 500 differences exceeds it by chance.
        """
        from scipy.stats import norm, t

        return float(t.isf(norm.sf(SIGMAS), self.independent - 1)) if self.independent > 1 else 0.0

    def of_examples(self, rows: NDArray[np.intp]) -> Profile:
        """The profile of some of the examples; ``rows`` are their indices."""
        return replace(
            self,
            values=self.values[rows],
            entropies=None if self.entropies is None else self.entropies[rows],
            sizes=None if self.sizes is None else self.sizes[rows],
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
        )

    @cached_property
    def by_example(self) -> Floats:
        """The interpolated values of each example (examples, length), nats per token."""
        if len(self.revealed) == self.length:
            return self.values
        weights = np.empty((self.length, len(self.revealed)))
        unit = np.eye(len(self.revealed))
        for block, nodes in self._blocks():
            at = np.arange(block.start, block.stop)
            weights[block] = np.stack([np.interp(at, self.revealed[nodes], row[nodes]) for row in unit], axis=1)
        return self.values @ weights.T

    @cached_property
    def curve(self) -> Floats:
        """c(m), m = 0 .. length - 1, as measured: (length,), nats per token."""
        return np.asarray(self.shares @ self.by_example / len(self.values))

    @cached_property
    def smoothed(self) -> Floats:
        """The curve with less noise, (length,), nats per token: mean entropy plus a line for the calibration gap.

        Most noise of a loss comes from the token that the data happen to hold. The entropy of a prediction, which is
        the model's expected loss, does not have this noise. The gap between loss and entropy is 0 for a calibrated
        model and changes slowly with m; a line is fitted to it in each block. If the gap is clearly no line, or if
        there are no entropies, the result is ``curve``.
        """
        if self.entropies is None or self.independent < 2:
            return self.curve
        expected, gap = self.shares @ self.entropies / len(self.values), self.values - self.entropies
        amount, stderr = self.shares @ gap / len(gap), self._stderr(gap)
        stderr = np.maximum(stderr, 1e-3 * stderr.max() + 1e-12)
        steady = np.empty(self.length)
        for block, nodes in self._blocks():
            at = self.revealed[nodes]
            line = np.polynomial.Polynomial.fit(at, amount[nodes], min(1, len(at) - 1), w=1 / stderr[nodes])
            if (np.abs(line(at) - amount[nodes]) > self.clear_sigmas * stderr[nodes]).any():
                return self.curve
            steady[block] = np.interp(np.arange(block.start, block.stop), at, expected[nodes] + line(at))
        return steady

    @cached_property
    def monotone(self) -> Floats:
        """The least-squares fit to ``smoothed`` that never rises within a block, (length,). It is used to optimise.

        The profile of a law never rises. A rise is noise or an error of the model, and an optimum would exploit it.
        """
        from scipy.optimize import isotonic_regression

        fitted = [isotonic_regression(self.smoothed[block], increasing=False).x for block, _ in self._blocks()]
        return np.concatenate(fitted)

    @property
    def bracket(self) -> Floats:
        """The largest possible error of interpolation if the true curve never rises, (length,); 0 at the nodes."""
        distance = np.zeros(self.length)
        for block, nodes in self._blocks():
            at = np.arange(block.start, block.stop)
            revealed, mean = self.revealed[nodes], self.mean[nodes]
            left = mean[np.searchsorted(revealed, at, side="right") - 1]
            right = mean[np.searchsorted(revealed, at, side="left")]
            distance[block] = np.maximum(np.abs(left - self.curve[block]), np.abs(right - self.curve[block]))
        distance[self.revealed] = 0.0
        return distance

    def prices(self, weights: Floats) -> Floats:
        """The NELBO of each example for one schedule.

        If examples differ in size, the weights are scaled to each example's size. ``prices_by_size`` takes weights for
        each size.

        Args:
            weights: the tokens that are revealed at each entry of the curve, (length,).

        Returns:
            (examples,), nats per sequence.
        """
        return np.asarray(self.by_example @ weights * (self.shares * self.scale))

    def prices_by_size(self, weights: Callable[[int], Floats]) -> Floats:
        """The NELBO of each example, with weights for the example's own size.

        Args:
            weights: returns the weights (size,) for a size in tokens.

        Returns:
            (examples,), nats per sequence.
        """
        if self.sizes is None:
            return self.prices(weights(self.length))
        prices = np.empty(len(self.values))
        for size in np.unique(self.sizes).tolist():
            visible, first = np.unique(own_visible_count(self.revealed, size, self.length), return_index=True)
            size_weights = weights(size)
            for row in np.flatnonzero(self.sizes == size):
                prices[row] = np.interp(np.arange(size), visible, self.values[row, first]) @ size_weights
        return prices

    def price(self, weights: Floats) -> Estimate:
        """The NELBO for weights (length,), nats per sequence, with its interval; without one if exact."""
        return self.mean_nelbo(self.prices(weights))

    def mean_nelbo(self, prices: Floats) -> Estimate:
        """``mean_price`` with an interval that is cut off at 0, because a NELBO is a sum of cross-entropies."""
        return clipped_at_zero(self.mean_price(prices))

    def mean_price(self, prices: Floats) -> Estimate:
        """The mean of prices or of differences of prices (examples,), with its interval; without one if exact."""
        return Estimate(float(prices[0]), None) if self.exact else estimate(prices, groups=self.groups)

    def rises(self) -> list[Rise]:
        """The places where the measured curve clearly rises; empty if exact.

        The least-squares fit that never rises is constant on a stretch around each rise. At most one rise is returned
        for a stretch, the largest. ``clear_sigmas`` says how often a rise is a false alarm.
        """
        from scipy.optimize import isotonic_regression

        if self.exact:
            return []
        largest = []
        for _, nodes in self._blocks():
            fitted = isotonic_regression(self.mean[nodes], increasing=False).x
            for value in np.unique(fitted)[::-1]:
                stretch = np.flatnonzero(fitted == value) + nodes.start
                rises = [rise for k in range(len(stretch) - 1) if (rise := self._largest_rise(stretch[k:])) is not None]
                largest += [max(rises, key=lambda rise: rise.amount)] if rises else []
        return largest

    def worse_than_uniform(self) -> tuple[int, int] | None:
        """The first and the last node at which the loss clearly exceeds log(vocab_size); None if there is none."""
        above = np.flatnonzero(self.mean - self.clear_sigmas * self.stderr > math.log(self.vocab_size) * (1 + 1e-9))
        return (int(self.revealed[above[0]]), int(self.revealed[above[-1]])) if len(above) else None

    def to_record(self) -> dict[str, Any]:
        """The profile as a JSON object, from which ``from_record`` makes it again."""
        return {
            "length": self.length,
            "block_length": self.block_length,
            "vocab_size": self.vocab_size,
            "exact": self.exact,
            "precision": self.precision,
            "denoiser_rows": self.denoiser_rows,
            "denoiser_tokens": self.denoiser_tokens,
            "seconds": self.seconds,
            "revealed": self.revealed.tolist(),
            "values": self.values.tolist(),
            "entropies": None if self.entropies is None else self.entropies.tolist(),
            "apart": None if self.content_and_ends is None else lists_without_nan(self.content_and_ends),
            "sizes": None if self.sizes is None else self.sizes.tolist(),
            "groups": None if self.groups is None else list(self.groups),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Profile:
        """The profile of an object that ``to_record`` made; raises LookupError, TypeError or ValueError if damaged."""
        revealed, values = np.array(record["revealed"], dtype=np.int64), np.array(record["values"], dtype=np.float64)
        entropies = None if record["entropies"] is None else np.array(record["entropies"], dtype=np.float64)
        for array in (values, values if entropies is None else entropies):
            if array.shape != (len(values), len(revealed)) or not np.isfinite(array).all():
                raise ValueError(
                    f"values and entropies must be finite, one for each of {quantity(len(revealed), 'point')}"
                )
        content_and_ends = None if record["apart"] is None else np.array(record["apart"], dtype=np.float64)
        sizes = None if record["sizes"] is None else np.array(record["sizes"], dtype=np.int64)
        groups = None if record["groups"] is None else tuple(map(str, record["groups"]))
        if any(entries is not None and len(entries) != len(values) for entries in (sizes, groups)):
            raise ValueError(f"sizes and groups must have one entry for each of {quantity(len(values), 'example')}")
        arrays = {"revealed": revealed, "values": values, "entropies": entropies, "content_and_ends": content_and_ends}
        numbers = {key: value for key, value in record.items() if key != "apart"}
        return cls(**{**numbers, **arrays, "sizes": sizes, "groups": groups})

    def _largest_rise(self, stretch: NDArray[np.intp]) -> Rise | None:
        """The largest clear rise from the first node of a stretch to another one; None if there is none."""
        gains = self.values[:, stretch[1:]] - self.values[:, stretch[:1]]
        amount, stderr = self.shares @ gains / len(gains), self._stderr(gains)
        amount = np.where(amount > self.clear_sigmas * stderr, amount, -np.inf)
        last = int(amount.argmax())
        if amount[last] <= 0:
            return None
        first, second = self.revealed[stretch[[0, last + 1]]].tolist()
        return Rise(first=first, last=second, amount=float(amount[last]), stderr=float(stderr[last]))

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """For each block, the slice of its entries in the curve and the slice of its nodes."""
        for start in range(0, self.length, self.block_length):
            stop = start + self.block_length
            first, last = np.searchsorted(self.revealed, [start, stop])
            yield slice(start, stop), slice(int(first), int(last))


def own_visible_count(visible: Integers | int, size: Integers | int, length: int) -> Integers:
    """The number of visible tokens of an example that corresponds to ``visible`` of ``length`` tokens.

    It is the same share, rounded. 0 stays 0, and ``length`` - 1 becomes ``size`` - 1.

    Args:
        visible: from 0 to length - 1.
        size: masked positions of the example.
        length: masked positions of a sequence of the run.
    """
    own = np.minimum(np.round(np.multiply(visible, size) / length), np.subtract(size, 1)).astype(np.int64)
    return np.where((length > 1) & np.equal(visible, length - 1), np.subtract(size, 1), own)


def lists_without_nan(rows: Floats) -> list[list[float | None]]:
    """The rows as lists for JSON, with None in place of NaN."""
    return [[None if math.isnan(value) else value for value in row] for row in rows.tolist()]
