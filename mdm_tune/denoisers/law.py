"""The base class of exact laws: posteriors, checks, and the arithmetic of entropies."""

from __future__ import annotations

import math
import string
from abc import ABC, abstractmethod
from typing import final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity

__all__ = ["Law"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MAX_LENGTH = 16  # longest law whose subsets of positions are enumerated: 2^16 of them take seconds
MAX_WORK = 1 << 26  # most sequences, or marginal probabilities, over all subsets
CHARACTERS = string.digits + string.ascii_letters


class Law(ABC):
    """A law of sequences of fixed length with an exact posterior. Every law is a ``Denoiser``.

    Attributes:
        length: Number of positions; none is padding.
        vocab_size: Number of tokens; their ids are 0 to vocab_size - 1.
        symbols: One character per token.
    """

    length: int
    vocab_size: int
    symbols: str

    @property
    def mask_id(self) -> int:
        """The id that stands for "hidden": one past the last token."""
        return self.vocab_size

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the log posterior of the wanted positions given all visible ones.

        A context of probability zero has no posterior; its hidden positions get the uniform distribution over the
        vocabulary, never NaN. A wanted position that is visible gets the point mass on its token.

        Args:
            tokens: (rows, length) int64, ``mask_id`` at hidden positions.
            wanted: (rows, length) bool, True at the positions to predict.

        Returns:
            (wanted.sum(), vocab_size) float64, in nats.

        Raises:
            InputError: On padding, a wrong length, or tokens outside the vocabulary.
        """
        seen = self._checked(tokens, self.mask_id)
        if wanted.shape != tokens.shape:
            raise InputError(f"wanted must have the shape of tokens {tuple(tokens.shape)}, got {tuple(wanted.shape)}")
        row, position = np.nonzero(wanted.cpu().numpy())
        with np.errstate(divide="ignore"):  # log 0 = -inf is intended
            joint = self._log_joint(seen, row, position)
        token = seen[row, position]
        visible = np.flatnonzero(token != self.mask_id)
        joint[visible] = -np.inf
        joint[visible, token[visible]] = 0.0
        joint[np.isneginf(joint).all(axis=1)] = 0.0
        joint -= joint.max(axis=1, keepdims=True)
        joint -= np.log(np.exp(joint).sum(axis=1, keepdims=True))
        return torch.from_numpy(joint).to(tokens.device)

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Return the log probability of complete sequences.

        Args:
            tokens: (rows, length) int64 without hidden positions.

        Returns:
            (rows,) float64, in nats; -inf for an impossible sequence.

        Raises:
            InputError: On padding, hidden positions, a wrong length, or tokens outside the vocabulary.
        """
        with np.errstate(divide="ignore"):
            value = self._log_prob(self._checked(tokens, self.vocab_size - 1))
        return torch.from_numpy(value).to(tokens.device)

    @final
    def sample(self, count: int, seed: int) -> Tensor:
        """Draw sequences. The first rows of a longer draw equal those of a shorter draw with the same seed.

        Args:
            count: Number of sequences, at least 0.
            seed: Seed, at least 0.

        Returns:
            (count, length) int64.

        Raises:
            InputError: If count or seed is negative.
        """
        if count < 0 or seed < 0:
            raise InputError(f"count and seed must be at least 0, got count {count} and seed {seed}")
        return torch.from_numpy(self._sample(count, np.random.Generator(np.random.Philox(seed))))

    @abstractmethod
    def entropy(self) -> float:
        """The entropy H(p) in nats per sequence. Raises InputError if it needs enumeration and the law is too large."""

    @final
    def profile(self, block_length: int | None = None) -> Floats:
        """Compute the information profile.

        Entry m is the mean entropy of a uniform position given a uniform random set of m others. With blocks, which are
        filled from left to right, entry m = b * block_length + k is the mean entropy of a uniform position of block b
        given all earlier blocks and k other positions of block b.

        Source: arXiv:2510.25544 and arXiv:2511.04647.

        Args:
            block_length: Positions per block, a divisor of the length; None for one block.

        Returns:
            (length,) float64, in nats per token.

        Raises:
            InputError: If block_length is no divisor, or if the profile needs enumeration and the law is too large.
        """
        size = self.length if block_length is None else block_length
        if size < 1 or self.length % size:
            raise InputError(f"block_length must divide the length {self.length}, got {size}; choose a divisor")
        gains = [np.diff(self._set_entropies(start, start + size)) for start in range(0, self.length, size)]
        return np.maximum(np.concatenate(gains), 0.0)  # only rounding can make one negative

    @abstractmethod
    def _set_entropies(self, start: int, stop: int) -> Floats:
        """Mean joint entropy (stop - start + 1,) of the positions before ``start`` and a uniform set of m in the block.

        The block has the positions start to stop - 1. A uniform set of m positions and one more uniform position form a
        uniform set of m + 1. By the chain rule, the differences are therefore the block's profile. An implementation
        may leave out a constant.
        """

    @abstractmethod
    def _log_joint(self, seen: Integers, row: Integers, position: Integers) -> Floats:
        """Log probability (entries, vocab_size) of the context of ``row`` with each token at ``position``.

        Each entry may be off by a constant.
        """

    @abstractmethod
    def _log_prob(self, tokens: Integers) -> Floats:
        """Log probability (rows,) of complete sequences."""

    @abstractmethod
    def _sample(self, count: int, rng: np.random.Generator) -> Integers:
        """Draw sequences (count, length), each from its own row of uniforms."""

    def _checked(self, tokens: Tensor, highest: int) -> Integers:
        if tokens.ndim != 2 or tokens.shape[1] != self.length:
            raise InputError(
                f"this law has {quantity(self.length, 'position')}, so tokens must be (rows, {self.length}), got "
                f"{tuple(tokens.shape)}: use a law of that length"
            )
        if bool((tokens < 0).any()):
            raise InputError(f"an exact law has a fixed length and takes no padding, got token {int(tokens.min())}")
        if bool((tokens > highest).any()):
            raise InputError(f"tokens must be at most {highest} here, got {int(tokens.max())}")
        return tokens.cpu().numpy().astype(np.int64)


def inverse(weights: Floats, uniform: Floats) -> Integers:
    """Draw tokens (rows,): the distribution functions of weights (rows or 1, n), inverted at uniform (rows,)."""
    cumulative = np.cumsum(weights, axis=1)
    return np.asarray((uniform[:, None] >= cumulative / cumulative[:, -1:]).sum(axis=1))


def mean_over_sets(totals: Floats) -> Floats:
    """Mean entropies (n + 1,) from entropies summed over all sets of m of n positions, for m = 0 to n."""
    set_counts = [math.comb(len(totals) - 1, known) for known in range(len(totals))]
    return np.asarray(totals / np.array(set_counts, dtype=np.float64))


def check_work(length: int, work: int) -> None:
    """Raise InputError if an enumeration over subsets of positions would be too large."""
    if length > MAX_LENGTH or work > MAX_WORK:
        raise InputError(
            f"the entropies of this law are enumerated, at most for length {MAX_LENGTH} and {MAX_WORK} terms, got "
            f"length {length} and {work} terms: use a shorter law, a Markov chain, or a profile measured on samples"
        )


def checked_length(length: int) -> int:
    """The length; raises InputError if it is below 1."""
    if length < 1:
        raise InputError(f"the length of a law must be at least 1, got {length}")
    return length


def distributions(name: str, values: ArrayLike, ndim: int) -> Floats:
    """A float64 copy of values with the last axis normalised.

    Raises InputError unless values have ``ndim`` axes, are not negative, and sum to 1 within 1e-9 along the last axis.
    """
    array = np.array(values, dtype=np.float64)
    if array.ndim != ndim or array.size == 0 or not (array >= 0).all():
        raise InputError(f"{name} must have {ndim} axes and no negative entry, got {array.tolist()}")
    total = array.sum(axis=-1, keepdims=True)
    if not (np.abs(total - 1) <= 1e-9).all():
        raise InputError(f"{name} must sum to 1 along the last axis, got sums {total.tolist()}")
    return np.asarray(array / total)


def default_symbols(vocab_size: int) -> str:
    """One character per token: digits, letters, then characters from U+0100 on."""
    return (CHARACTERS + "".join(chr(0x100 + i) for i in range(vocab_size - len(CHARACTERS))))[:vocab_size]
