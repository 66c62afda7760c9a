"""Exact laws of sequences: denoisers without a network, whose entropy and information profile are computed exactly.

Every number is float64 and depends on its own row alone, so no result changes with the batch.
"""

from __future__ import annotations

import functools
import math
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from mdm_tune.core.errors import InputError
from mdm_tune.core.memory import check_memory
from mdm_tune.core.messages import quantity
from mdm_tune.denoisers.law import (
    Floats,
    Integers,
    Law,
    check_work,
    checked_length,
    default_symbols,
    distributions,
    inverse,
    mean_over_sets,
)

__all__ = ["Law", "MarkovChain", "Mixture", "Parity", "RepeatedBit", "Table"]


@final
class Table(Law):
    """Finitely many sequences of one length, with relative weights. Symbols are the sorted distinct characters.

    Args:
        sequences: Distinct sequences of the same length, at least one symbol each.
        weights: One positive weight per sequence; they need not sum to 1.

    Raises:
        InputError: If the sequences or weights break these rules.
    """

    def __init__(self, sequences: tuple[str, ...], weights: tuple[float, ...]) -> None:
        lengths = {len(sequence) for sequence in sequences}
        if len(lengths) != 1 or 0 in lengths or len(set(sequences)) != len(sequences):
            raise InputError(f"a table needs distinct sequences of one length above 0, got {list(sequences)[:8]}")
        if len(weights) != len(sequences) or not all(0 < weight < math.inf for weight in weights):
            raise InputError(f"a table needs one positive weight per sequence, got {list(weights)[:8]}")
        self.sequences, self.weights = tuple(sequences), tuple(map(float, weights))
        self.symbols = "".join(sorted(set("".join(sequences))))
        self.length, self.vocab_size = lengths.pop(), len(self.symbols)
        self._tokens = np.array([[self.symbols.index(s) for s in sequence] for sequence in sequences], dtype=np.int64)
        # Not normalised: sums of whole numbers are exact in any order, so equal posteriors are equal to the last bit.
        self._weights = np.array(self.weights)

    def entropy(self) -> float:
        return float(entr(self._weights / self._weights.sum()).sum())

    def _set_entropies(self, start: int, stop: int) -> Floats:
        check_work(stop - start, len(self.sequences) << min(stop - start, 64))
        weights = self._weights / self._weights.sum()
        totals = np.zeros(stop - start + 1)

        def descend(label: Integers, position: int, known: int) -> None:
            if position == stop:
                totals[known] += entr(np.bincount(label, weights)).sum()
                return
            descend(label, position + 1, known)
            descend(self._refined(label, position), position + 1, known + 1)

        label = np.zeros(len(weights), dtype=np.int64)
        for position in range(start):
            label = self._refined(label, position)
        descend(label, start, 0)
        return mean_over_sets(totals)

    def _refined(self, label: Integers, position: int) -> Integers:
        """Labels (sequences,) that also distinguish sequences which differ at ``position``."""
        joined = label * self.vocab_size + self._tokens[:, position]
        return np.asarray(np.unique(joined, return_inverse=True)[1], dtype=np.int64)

    def _log_joint(self, seen: Integers, row: Integers, position: Integers) -> Floats:
        weight = np.broadcast_to(self._weights, (len(seen), len(self._weights))).copy()
        for at in range(self.length):
            known = seen[:, at, None]
            weight[(known != self.mask_id) & (known != self._tokens[:, at])] = 0.0
        joint = np.zeros((len(row), self.vocab_size))
        for at in range(self.length):
            entries = np.flatnonzero(position == at)
            for token in range(self.vocab_size):
                holders = np.flatnonzero(self._tokens[:, at] == token)
                joint[entries, token] = weight[row[entries]].take(holders, axis=1).sum(axis=1)
        return np.asarray(np.log(joint))

    def _log_prob(self, tokens: Integers) -> Floats:
        index = {sequence.tobytes(): i for i, sequence in enumerate(self._tokens)}
        places = np.array([index.get(row.tobytes(), -1) for row in tokens], dtype=np.int64)
        return np.where(places >= 0, np.log(self._weights[places] / self._weights.sum()), -np.inf)

    def _sample(self, count: int, rng: np.random.Generator) -> Integers:
        return self._tokens[inverse(self._weights[None, :], rng.random(count))]


@final
class RepeatedBit(Law):
    """One fair bit, repeated ``length`` times. Raises InputError if length is below 1."""

    def __init__(self, length: int) -> None:
        self.length, self.vocab_size, self.symbols = checked_length(length), 2, "01"

    def entropy(self) -> float:
        return math.log(2)

    def _set_entropies(self, start: int, stop: int) -> Floats:
        known = np.arange(stop - start + 1) + start
        return np.where(known > 0, math.log(2), 0.0)

    def _log_joint(self, seen: Integers, row: Integers, position: Integers) -> Floats:
        opposite = np.stack([(seen == 1).any(axis=1), (seen == 0).any(axis=1)], axis=1)
        return np.where(opposite, -np.inf, 0.0)[row]

    def _log_prob(self, tokens: Integers) -> Floats:
        return np.where((tokens == tokens[:, :1]).all(axis=1), -math.log(2), -np.inf)

    def _sample(self, count: int, rng: np.random.Generator) -> Integers:
        return np.repeat((rng.random((count, 1)) < 0.5).astype(np.int64), self.length, axis=1)


@final
class Parity(Law):
    """The uniform law over bit strings with an even number of ones. Raises InputError if length is below 1."""

    def __init__(self, length: int) -> None:
        self.length, self.vocab_size, self.symbols = checked_length(length), 2, "01"

    def entropy(self) -> float:
        return (self.length - 1) * math.log(2)

    def _set_entropies(self, start: int, stop: int) -> Floats:
        known = np.arange(stop - start + 1) + start
        return np.minimum(known, self.length - 1) * math.log(2)

    def _log_joint(self, seen: Integers, row: Integers, position: Integers) -> Floats:
        last = (seen == self.mask_id).sum(axis=1) == 1
        odd = (seen == 1).sum(axis=1) % 2
        wrong = last[:, None] & (odd[:, None] != np.arange(2))
        return np.where(wrong, -np.inf, 0.0)[row]

    def _log_prob(self, tokens: Integers) -> Floats:
        return np.where(tokens.sum(axis=1) % 2 == 0, -self.entropy(), -np.inf)

    def _sample(self, count: int, rng: np.random.Generator) -> Integers:
        free = (rng.random((count, self.length - 1)) < 0.5).astype(np.int64)
        return np.concatenate([free, free.sum(axis=1, keepdims=True) % 2], axis=1)


@final
class MarkovChain(Law):
    """A homogeneous Markov chain.

    Args:
        transition: (vocab_size, vocab_size) probabilities; every row sums to 1.
        start: (vocab_size,) probabilities of the first token.
        length: Number of positions, at least 1.

    Raises:
        InputError: If transition or start is no distribution, or length is below 1.
    """

    def __init__(self, transition: ArrayLike, start: ArrayLike, length: int) -> None:
        self.transition = distributions("transition", transition, 2)
        self.start = distributions("start", start, 1)
        self.length, self.vocab_size = checked_length(length), len(self.start)
        if self.transition.shape != (self.vocab_size, self.vocab_size):
            raise InputError(
                f"transition must be (vocab_size, vocab_size) with the vocab_size {self.vocab_size} of start, got "
                f"{self.transition.shape}"
            )
        self.symbols = default_symbols(self.vocab_size)
        # Powers and their logarithms, each once while it is made and once stored.
        byte_count = 4 * 8 * (self.length + 1) * self.vocab_size**2
        size = f"{quantity(self.length, 'position')} and {quantity(self.vocab_size, 'symbol')}"
        check_memory(byte_count, f"a Markov chain of {size}", "lower model.length or the number of symbols")
        powers = [np.eye(self.vocab_size)]
        for _ in range(self.length):
            powers.append(powers[-1] @ self.transition)
        self._powers = np.stack(powers)  # entry [d, a, b]: from a to b in d positions
        self._marginals = self.start @ self._powers[: self.length]
        with np.errstate(divide="ignore"):
            self._log_powers, self._log_marginals = np.log(self._powers), np.log(self._marginals)

    @classmethod
    def sticky(cls, symbols: int, flip: float, length: int) -> MarkovChain:
        """A chain with a uniform start whose symbol changes with probability ``flip``, evenly to any other symbol.

        Args:
            symbols: Number of symbols, at least 2.
            flip: Probability in [0, 1] that the next symbol differs.
            length: Number of positions, at least 1.

        Raises:
            InputError: If a value is out of range.
        """
        if symbols < 2 or not 0 <= flip <= 1:
            raise InputError(f"a sticky chain needs 2 symbols and a flip in [0, 1], got {symbols} and {flip}")
        transition = np.full((symbols, symbols), flip / (symbols - 1))
        np.fill_diagonal(transition, 1 - flip)
        return cls(transition, np.full(symbols, 1 / symbols), length)

    def entropy(self) -> float:
        return float(self._set_entropies(0, self.length)[-1])

    def _set_entropies(self, start: int, stop: int) -> Floats:
        """Mean entropies as ``Law._set_entropies`` defines them, without the entropy of the tokens before the block.

        Tokens before the block matter only through the last of them. By the chain rule, the entropy of a set is that
        of its first token plus one term per pair of neighbours. Among the sets of m of n positions, a share
        C(n - d - 1, m - 2) / C(n, m) holds a given pair at distance d, and position j comes first in a share
        C(n - 1 - j, m - 1) / C(n, m). Both shares follow by recursion, in d and in j.
        """
        count = stop - start
        what = f"the profile of a Markov chain over {quantity(count, 'position')}"
        check_memory(5 * 8 * count**2, what, "lower model.length, or fill it in blocks (sampler.block_length)")
        size, at = np.arange(count + 1.0)[:, None], np.arange(1.0, count)
        first = np.cumprod(np.hstack([size / count, (count - at - size + 1) / (count - at)]), axis=1)
        pair = first[:, :-1] * (size - 1) / (count - at)
        conditional = entr(self._powers).sum(axis=2)  # entry [d, a]: entropy of the token d positions after token a
        marginals = self._marginals[start:stop]
        before = np.cumsum(marginals, axis=0)[: count - 1][::-1]
        by_first = conditional[1 : count + 1] @ self._marginals[start - 1] if start else entr(marginals).sum(axis=1)
        return np.asarray(first @ by_first + pair @ (conditional[1:count] * before).sum(axis=1))

    def _log_joint(self, seen: Integers, row: Integers, position: Integers) -> Floats:
        hidden, index = seen == self.mask_id, np.arange(self.length)
        left = np.maximum.accumulate(np.where(hidden, -1, index), axis=1)
        right = np.minimum.accumulate(np.where(hidden, self.length, index)[:, ::-1], axis=1)[:, ::-1]
        before, after = left[row, position], right[row, position]
        joint = self._log_forward(seen, row, before, position)
        inner = np.flatnonzero(after < self.length)
        end = after[inner]
        joint[inner] += self._log_powers[end - position[inner], :, seen[row[inner], end]]
        r, at = np.nonzero(~hidden)
        previous = np.where(at > 0, left[r, at - 1], -1)
        reached = self._log_forward(seen, r, previous, at)[np.arange(len(r)), seen[r, at]]
        joint[np.isin(row, r[reached == -np.inf])] = -np.inf
        return joint

    def _log_forward(self, seen: Integers, row: Integers, before: Integers, position: Integers) -> Floats:
        """Log probability (entries, vocab_size) at ``position`` given the token at ``before``; -1 is the start."""
        started = before < 0
        token = np.where(started, 0, seen[row, before])
        return np.where(started[:, None], self._log_marginals[position], self._log_powers[position - before, token])

    def _log_prob(self, tokens: Integers) -> Floats:
        steps = self._log_powers[1][tokens[:, :-1], tokens[:, 1:]]
        return np.asarray(self._log_marginals[0, tokens[:, 0]] + steps.sum(axis=1))

    def _sample(self, count: int, rng: np.random.Generator) -> Integers:
        uniform = rng.random((count, self.length))
        tokens = np.empty((count, self.length), dtype=np.int64)
        tokens[:, 0] = inverse(self.start[None, :], uniform[:, 0])
        for at in range(1, self.length):
            tokens[:, at] = inverse(self.transition[tokens[:, at - 1]], uniform[:, at])
        return tokens


@final
class Mixture(Law):
    """A mixture of laws with independent positions.

    Args:
        weights: (classes,) probabilities of the components.
        components: (classes, length, vocab_size); ``components[c, l]`` is the distribution at position l in class c.

    Raises:
        InputError: If weights or one of ``components[c, l]`` is no distribution.
    """

    def __init__(self, weights: ArrayLike, components: ArrayLike) -> None:
        self.weights = distributions("weights", weights, 1)
        self.components = distributions("components", components, 3)
        classes, self.length, self.vocab_size = self.components.shape
        if classes != len(self.weights):
            raise InputError(f"there must be one weight per component, got {len(self.weights)} for {classes}")
        self.symbols = default_symbols(self.vocab_size)
        with np.errstate(divide="ignore"):
            self._log_weights, logs = np.log(self.weights), np.log(self.components)
        self._logs = np.concatenate([logs, np.zeros((classes, self.length, 1))], axis=2)  # a hidden token says nothing

    def entropy(self) -> float:
        return float(entr(self._joint_table()).sum())

    def _set_entropies(self, start: int, stop: int) -> Floats:
        totals = np.zeros(stop - start + 1)

        def descend(marginal: Floats, position: int, known: int) -> None:
            if position == stop:
                totals[known] += entr(marginal).sum()
                return
            descend(marginal, position + 1, known + 1)
            descend(marginal.sum(axis=start + known), position + 1, known)

        descend(self._joint_table().sum(axis=tuple(range(stop, self.length))), start, 0)
        return mean_over_sets(totals)

    def _joint_table(self) -> Floats:
        """Probability of every sequence, one axis per position."""
        check_work(self.length, (self.vocab_size + 1) ** self.length)
        table = np.zeros((self.vocab_size,) * self.length)
        for weight, component in zip(self.weights, self.components, strict=True):
            table += functools.reduce(np.multiply.outer, component, weight)
        return table

    def _log_joint(self, seen: Integers, row: Integers, position: Integers) -> Floats:
        by_class = self._log_class(seen)[:, row, None] + self._logs[:, position, :-1]
        return np.asarray(np.logaddexp.reduce(by_class, axis=0))

    def _log_prob(self, tokens: Integers) -> Floats:
        return np.asarray(np.logaddexp.reduce(self._log_class(tokens), axis=0))

    def _log_class(self, seen: Integers) -> Floats:
        """Log probability (classes, rows) of the class together with the visible tokens."""
        tokens = self._logs[:, np.arange(self.length), seen]
        return np.asarray(self._log_weights[:, None] + tokens.sum(axis=2))

    def _sample(self, count: int, rng: np.random.Generator) -> Integers:
        uniform = rng.random((count, self.length + 1))
        which = inverse(self.weights[None, :], uniform[:, -1])
        columns = [inverse(self.components[which, at], uniform[:, at]) for at in range(self.length)]
        return np.stack(columns, axis=1)
