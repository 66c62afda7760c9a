"""The information profile of a denoiser: c(m), measured or exact, its error, and what it warns of.

c(m) is the cross-entropy of a uniform hidden position when m uniform random positions are visible. See ``pricing``.
Source: arXiv:2510.25544 and arXiv:2511.04647.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdm_tune.statistics import Estimate, estimate

__all__ = ["Profile", "Rise", "finite_lists"]

Floats = NDArray[np.float64]
SIGMAS = 4.0  # of a normal law; by Student's t it is more for few examples, and alike rare for every number of them


@dataclass(frozen=True)
class Rise:
    """The model predicts worse with more to see: c(last) - c(first) nats per token, paired over the examples."""

    first: int
    last: int
    amount: float
    stderr: float


@dataclass(frozen=True)
class Profile:
    """The profile at some numbers of visible tokens, and between them by linear interpolation within each block.

    length: masked positions of a sequence; where examples differ, their mean, rounded, and m stands for the share
    m / length. block_length: equal to length without blocks. revealed (nodes,) int64: increasing, the first and last
    entry of every block among them. values (examples, nodes): nats per token, weighted by the example's share of the
    tokens; a single row if ``exact``. precision: relative, what the adaptive mode reached; None without it. entropies,
    of the shape of values: what the model itself expects to lose there, the entropy of its predictions; None if exact.
    apart (nodes, 2): nats per token of content, and from the first end token of a text on, NaN where none was
    predicted; None where no text ends.
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
    apart: Floats | None = None

    @classmethod
    def of_law(cls, curve: Floats, vocab_size: int, block_length: int | None) -> Profile:
        """The exact profile of a law from its curve (length,)."""
        length = len(curve)
        return cls(length, block_length or length, vocab_size, np.arange(length), curve[None], True)

    @property
    def mean(self) -> Floats:
        """c at ``revealed`` (nodes,), nats per token."""
        return np.asarray(self.values.mean(axis=0))

    @property
    def stderr(self) -> Floats:
        """Standard error of ``mean`` (nodes,), over examples; 0 if exact."""
        if self.exact:
            return np.zeros(len(self.revealed))
        return np.asarray(self.values.std(axis=0, ddof=1) / math.sqrt(len(self.values)))

    @cached_property
    def clear(self) -> float:
        """Standard errors that a difference must exceed to be one: by chance one of 500 does in 2 % of profiles."""
        from scipy.stats import norm, t

        return float(t.isf(norm.sf(SIGMAS), len(self.values) - 1)) if len(self.values) > 1 else 0.0

    @cached_property
    def by_example(self) -> Floats:
        """Interpolated values (examples, length)."""
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
        return np.asarray(self.by_example.mean(axis=0))

    @cached_property
    def steady(self) -> Floats:
        """The same curve with less noise, (length,): mean entropy plus a line through the calibration gap.

        Which token the data happen to hold is the larger part of a loss's noise, and the model's expected loss, the
        entropy of its prediction, is free of it. The gap between the two, 0 for a calibrated model, changes slowly with
        m: it is fitted by a line in each block. Where it is clearly no line, or unknown, this is ``curve``.
        """
        if self.entropies is None:
            return self.curve
        expected, gap = self.entropies.mean(axis=0), self.values - self.entropies
        amount, stderr = gap.mean(axis=0), gap.std(axis=0, ddof=1) / math.sqrt(len(gap))
        stderr = np.maximum(stderr, 1e-3 * stderr.max() + 1e-12)
        steady = np.empty(self.length)
        for block, nodes in self._blocks():
            at = self.revealed[nodes]
            line = np.polynomial.Polynomial.fit(at, amount[nodes], min(1, len(at) - 1), w=1 / stderr[nodes])
            if (np.abs(line(at) - amount[nodes]) > self.clear * stderr[nodes]).any():
                return self.curve
            steady[block] = np.interp(np.arange(block.start, block.stop), at, expected[nodes] + line(at))
        return steady

    @cached_property
    def monotone(self) -> Floats:
        """The least-squares fit to ``steady`` that rises nowhere within a block, (length,): for optimisation.

        The law's own profile never rises, so that a rise is noise or the model's fault, and an optimum would chase it.
        """
        from scipy.optimize import isotonic_regression

        fitted = [isotonic_regression(self.steady[block], increasing=False).x for block, _ in self._blocks()]
        return np.concatenate(fitted)

    @property
    def bracket(self) -> Floats:
        """How far c(m) of a curve that never rises can lie from ``curve`` between its nodes, (length,); 0 at them."""
        distance = np.zeros(self.length)
        for block, nodes in self._blocks():
            at = np.arange(block.start, block.stop)
            known, mean = self.revealed[nodes], self.mean[nodes]
            left = mean[np.searchsorted(known, at, side="right") - 1]
            right = mean[np.searchsorted(known, at, side="left")]
            distance[block] = np.maximum(np.abs(left - self.curve[block]), np.abs(right - self.curve[block]))
        distance[self.revealed] = 0.0
        return distance

    def prices(self, weights: Floats) -> Floats:
        """NELBO by example (examples,), nats per sequence; weights (length,): tokens priced at each entry."""
        return np.asarray(self.by_example @ weights)

    def price(self, weights: Floats) -> Estimate:
        """NELBO, nats per sequence, with its interval over examples; without one if exact."""
        prices = self.prices(weights)
        return Estimate(float(prices[0]), None) if self.exact else estimate(prices)

    def rises(self) -> list[Rise]:
        """Where the measured curve rises by more than its error, at most once in each stretch that a fit levels.

        The fit is the least-squares one to the points that never rises. False alarms: see ``clear``. Empty if exact.
        """
        from scipy.optimize import isotonic_regression

        if self.exact:
            return []
        found = []
        for _, nodes in self._blocks():
            level = isotonic_regression(self.mean[nodes], increasing=False).x
            for value in np.unique(level)[::-1]:
                stretch = np.flatnonzero(level == value) + nodes.start
                rises = [rise for k in range(len(stretch) - 1) if (rise := self._rise(stretch[k:])) is not None]
                found += [max(rises, key=lambda rise: rise.amount)] if rises else []
        return found

    def worse_than_uniform(self) -> tuple[int, int] | None:
        """First and last measured m at which the loss exceeds log(vocab_size) by more than its error."""
        above = np.flatnonzero(self.mean - self.clear * self.stderr > math.log(self.vocab_size) * (1 + 1e-9))
        return (int(self.revealed[above[0]]), int(self.revealed[above[-1]])) if len(above) else None

    def to_record(self) -> dict[str, Any]:
        """Everything as JSON types; ``from_record`` reads it back."""
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
            "apart": None if self.apart is None else finite_lists(self.apart),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Profile:
        """The profile that ``to_record`` described; raises LookupError, TypeError or ValueError where it is damaged."""
        revealed, values = np.array(record["revealed"], dtype=np.int64), np.array(record["values"], dtype=np.float64)
        entropies = None if record["entropies"] is None else np.array(record["entropies"], dtype=np.float64)
        for array in (values, values if entropies is None else entropies):
            if array.shape != (len(values), len(revealed)) or not np.isfinite(array).all():
                raise ValueError(f"values and entropies must be finite, one for each of {len(revealed)} points")
        apart = None if record["apart"] is None else np.array(record["apart"], dtype=np.float64)
        return cls(**{**record, "revealed": revealed, "values": values, "entropies": entropies, "apart": apart})

    def _rise(self, stretch: NDArray[np.intp]) -> Rise | None:
        """The largest clear rise from the first node of the stretch to another one."""
        gains = self.values[:, stretch[1:]] - self.values[:, stretch[:1]]
        amount, stderr = gains.mean(axis=0), gains.std(axis=0, ddof=1) / math.sqrt(len(gains))
        amount = np.where(amount > self.clear * stderr, amount, -np.inf)
        last = int(amount.argmax())
        if amount[last] <= 0:
            return None
        first, second = self.revealed[stretch[[0, last + 1]]].tolist()
        return Rise(first, second, float(amount[last]), float(stderr[last]))

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Per block its entries of the curve and its nodes."""
        for start in range(0, self.length, self.block_length):
            stop = start + self.block_length
            first, last = np.searchsorted(self.revealed, [start, stop])
            yield slice(start, stop), slice(int(first), int(last))


def finite_lists(rows: Floats) -> list[list[float | None]]:
    """The rows for JSON, None in place of NaN."""
    return [[None if math.isnan(value) else value for value in row] for row in rows.tolist()]
