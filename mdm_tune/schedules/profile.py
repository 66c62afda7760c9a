"""The information profile of a denoiser: c(m), measured or exact, its error, and what it warns of.

c(m) is the cross-entropy of a uniform hidden position when m uniform random positions are visible. See ``pricing``.
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
from mdm_tune.schedules.profile_intervals import Groups, from_zero, independent, standard_errors

__all__ = ["Profile", "Rise", "finite_lists", "visible_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SIGMAS = 4.0  # of a normal law; by Student's t it is more for few examples, and alike rare for every number of them


@dataclass(frozen=True)
class Rise(JsonRecord):
    """The model predicts worse with more to see: c(last) - c(first) nats per token, paired over the examples."""

    first: int
    last: int
    amount: float
    stderr: float


@dataclass(frozen=True)
class Profile:
    """The profile at some numbers of visible tokens, and between them by linear interpolation within each block.

    length: masked positions of a sequence; where examples differ, those of the run, and m stands for the share
    m / length of an example's own. block_length: equal to length without blocks. revealed (nodes,) int64: increasing,
    the first and last entry of every block among them. values (examples, nodes): nats per token of each example; a
    single row if ``exact``. precision: relative, what the adaptive mode reached; None without it, and of too few
    examples. entropies, of the shape of values: what the model itself expects to lose there, the entropy of its
    predictions; None if exact. apart (nodes, 2): nats per token of content, and from the first end token of a text on,
    NaN where none was predicted; None where no text ends. sizes (examples,): masked positions of each; None where all
    have ``length``. groups: a name for each example, where some are no independent ones.
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
    sizes: NDArray[np.int64] | None = None
    groups: Groups | None = None

    @classmethod
    def of_law(cls, curve: Floats, vocab_size: int, block_length: int) -> Profile:
        """The exact profile of a law from its curve (length,)."""
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
        """How much each example counts in a mean over tokens (examples,), 1 on average."""
        return np.ones(len(self.values)) if self.sizes is None else self.sizes / self.sizes.mean()

    @property
    def scale(self) -> float:
        """Tokens of these examples' sequences over ``length``, on average: nats per token to those of a sequence."""
        return 1.0 if self.sizes is None else float(self.sizes.mean()) / self.length

    @property
    def mean(self) -> Floats:
        """c at ``revealed`` (nodes,), nats per token, every token of every example alike."""
        return np.asarray(self.shares @ self.values / len(self.values))

    @property
    def stderr(self) -> Floats:
        """Standard error of ``mean`` (nodes,), over examples; 0 if exact."""
        return np.zeros(len(self.revealed)) if self.exact else self._stderr(self.values)

    @property
    def intervals(self) -> Floats | None:
        """The 95 % intervals of ``mean`` (nodes, 2), as of all values, from 0 on; None if exact, or of few examples."""
        if self.exact or self.independent < FEWEST:
            return None
        mean = self.mean
        tokens = mean + self.shares[:, None] * (self.values - mean)  # (examples, nodes), whose plain mean is the mean
        return np.array([from_zero(estimate(node, groups=self.groups)).ci for node in tokens.T])

    @property
    def no_interval(self) -> str | None:
        """Why ``intervals`` has none; None where there are some."""
        return "exact" if self.exact else None if self.independent >= FEWEST else TOO_FEW

    @cached_property
    def independent(self) -> int:
        """How many examples are independent ones, or groups of them."""
        return independent(len(self.values), self.groups)

    def _stderr(self, values: Floats) -> Floats:
        """Standard error (n,) of the mean over tokens of values (examples, n)."""
        shares = self.shares[:, None]
        mean = (shares * values).sum(axis=0) / len(values)
        return standard_errors(shares * (values - mean), self.groups)

    @cached_property
    def clear(self) -> float:
        """Standard errors that a difference must exceed to be one: by chance one of 500 does in 2 % of profiles."""
        from scipy.stats import norm, t

        return float(t.isf(norm.sf(SIGMAS), self.independent - 1)) if self.independent > 1 else 0.0

    def taking(self, rows: NDArray[np.intp]) -> Profile:
        """The same profile of some of its examples alone."""
        return replace(
            self,
            values=self.values[rows],
            entropies=None if self.entropies is None else self.entropies[rows],
            sizes=None if self.sizes is None else self.sizes[rows],
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
        )

    @cached_property
    def by_example(self) -> Floats:
        """Interpolated values (examples, length), nats per token of each."""
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
    def steady(self) -> Floats:
        """The same curve with less noise, (length,): mean entropy plus a line through the calibration gap.

        Which token the data happen to hold is the larger part of a loss's noise, and the model's expected loss, the
        entropy of its prediction, is free of it. The gap between the two, 0 for a calibrated model, changes slowly with
        m: it is fitted by a line in each block. Where it is clearly no line, or unknown, this is ``curve``.
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
        """NELBO by example (examples,), nats per sequence; weights (length,): tokens priced at each entry.

        Where lengths differ, an example's tokens are priced in the same shares; ``prices_of`` knows its own counts.
        """
        return np.asarray(self.by_example @ weights * (self.shares * self.scale))

    def prices_of(self, weights: Callable[[int], Floats]) -> Floats:
        """NELBO by example (examples,), nats per sequence; weights: of an example's own tokens, by its size."""
        if self.sizes is None:
            return self.prices(weights(self.length))
        found = np.empty(len(self.values))
        for size in np.unique(self.sizes).tolist():
            shown, first = np.unique(visible_of(self.revealed, size, self.length), return_index=True)
            priced = weights(size)
            for row in np.flatnonzero(self.sizes == size):
                found[row] = np.interp(np.arange(size), shown, self.values[row, first]) @ priced
        return found

    def price(self, weights: Floats) -> Estimate:
        """NELBO, nats per sequence, with its interval over examples; without one if exact."""
        return self.priced(self.prices(weights))

    def priced(self, prices: Floats) -> Estimate:
        """``estimated`` of prices (examples,), whose interval ends at 0: they are sums of cross-entropies."""
        return from_zero(self.estimated(prices))

    def estimated(self, prices: Floats) -> Estimate:
        """The mean of prices (examples,) with its interval; without one if exact."""
        return Estimate(float(prices[0]), None) if self.exact else estimate(prices, groups=self.groups)

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
            "sizes": None if self.sizes is None else self.sizes.tolist(),
            "groups": None if self.groups is None else list(self.groups),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Profile:
        """The profile that ``to_record`` described; raises LookupError, TypeError or ValueError where it is damaged."""
        revealed, values = np.array(record["revealed"], dtype=np.int64), np.array(record["values"], dtype=np.float64)
        entropies = None if record["entropies"] is None else np.array(record["entropies"], dtype=np.float64)
        for array in (values, values if entropies is None else entropies):
            if array.shape != (len(values), len(revealed)) or not np.isfinite(array).all():
                raise ValueError(
                    f"values and entropies must be finite, one for each of {quantity(len(revealed), 'point')}"
                )
        apart = None if record["apart"] is None else np.array(record["apart"], dtype=np.float64)
        sizes = None if record["sizes"] is None else np.array(record["sizes"], dtype=np.int64)
        groups = None if record["groups"] is None else tuple(map(str, record["groups"]))
        if any(each is not None and len(each) != len(values) for each in (sizes, groups)):
            raise ValueError(f"sizes and groups must have one entry for each of {quantity(len(values), 'example')}")
        arrays = {"revealed": revealed, "values": values, "entropies": entropies, "apart": apart}
        return cls(**{**record, **arrays, "sizes": sizes, "groups": groups})

    def _rise(self, stretch: NDArray[np.intp]) -> Rise | None:
        """The largest clear rise from the first node of the stretch to another one."""
        gains = self.values[:, stretch[1:]] - self.values[:, stretch[:1]]
        amount, stderr = self.shares @ gains / len(gains), self._stderr(gains)
        amount = np.where(amount > self.clear * stderr, amount, -np.inf)
        last = int(amount.argmax())
        if amount[last] <= 0:
            return None
        first, second = self.revealed[stretch[[0, last + 1]]].tolist()
        return Rise(first=first, last=second, amount=float(amount[last]), stderr=float(stderr[last]))

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Per block its entries of the curve and its nodes."""
        for start in range(0, self.length, self.block_length):
            stop = start + self.block_length
            first, last = np.searchsorted(self.revealed, [start, stop])
            yield slice(start, stop), slice(int(first), int(last))


def visible_of(visible: Integers | int, size: Integers | int, length: int) -> Integers:
    """How many of its own ``size`` tokens an example shows where ``visible`` of ``length`` are meant.

    The ends stand for each other: none, and all but one.
    """
    shown = np.minimum(np.round(np.multiply(visible, size) / length), np.subtract(size, 1)).astype(np.int64)
    return np.where((length > 1) & np.equal(visible, length - 1), np.subtract(size, 1), shown)


def finite_lists(rows: Floats) -> list[list[float | None]]:
    """The rows for JSON, None in place of NaN."""
    return [[None if math.isnan(value) else value for value in row] for row in rows.tolist()]
