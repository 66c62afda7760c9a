"""What every exact law shares: the posterior of a row, its checks, and the arithmetic of entropies."""

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
MAX_LENGTH = 16  # subsets of positions that a profile by enumeration visits: 2^16 takes seconds
MAX_WORK = 1 << 26  # sequences, or marginal probabilities, that the subsets touch together
CHARACTERS = string.digits + string.ascii_letters


class Law(ABC):
    """A law of sequences of fixed length with an exact posterior; every law is a ``Denoiser``.

    length: positions, none of them padding. vocab_size: tokens 0 .. vocab_size - 1. symbols: one character per token.
    """

    length: int
    vocab_size: int
    symbols: str

    @property
    def mask_id(self) -> int:
        """The id that stands for "hidden": one past the last token."""
        return self.vocab_size

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Log posterior (wanted.sum(), vocab_size) float64 of the wanted positions given all visible ones, in nats.

        tokens (rows, length) int64 with ``mask_id`` where hidden; wanted (rows, length) bool. A context of probability
        zero has no posterior: its hidden positions get the uniform distribution over the vocabulary, never NaN. A
        wanted position that is visible gets the point mass on its token.
        Raises InputError on padding, on a wrong length and on tokens outside the vocabulary.
        """
        seen = self._checked(tokens, self.mask_id)
        if wanted.shape != tokens.shape:
            raise InputError(f"wanted must have the shape of tokens {tuple(tokens.shape)}, got {tuple(wanted.shape)}")
        row, position = np.nonzero(wanted.cpu().numpy())
        with np.errstate(divide="ignore"):  # log 0 = -inf is meant
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
        """Log probability (rows,) float64 of complete sequences (rows, length) int64, in nats; -inf if impossible.

        Raises InputError on padding, hidden positions, a wrong length and tokens outside the vocabulary.
        """
        with np.errstate(divide="ignore"):
            value = self._log_prob(self._checked(tokens, self.vocab_size - 1))
        return torch.from_numpy(value).to(tokens.device)

    @final
    def sample(self, count: int, seed: int) -> Tensor:
        """Draw ``count`` sequences (count, length) int64; the first rows of a longer draw are those of a shorter one.

        Raises InputError on a negative count or seed.
        """
        if count < 0 or seed < 0:
            raise InputError(f"count and seed must be at least 0, got count {count} and seed {seed}")
        return torch.from_numpy(self._sample(count, np.random.Generator(np.random.Philox(seed))))

    @abstractmethod
    def entropy(self) -> float:
        """H(p), in nats per sequence. Raises InputError where the law is too large to enumerate and must be."""

    @final
    def profile(self, block_length: int | None = None) -> Floats:
        """Information profile (length,), in nats per token.

        Entry m is the mean entropy of a uniform position given a uniform random set of m others. With blocks, filled
        from left to right, entry m = b * block_length + k is that of a uniform position of block b given all earlier
        blocks and k other positions of the block. Raises InputError where block_length does not divide the length, and
        where the law is too large to enumerate and must be.

        Source: arXiv:2510.25544 and arXiv:2511.04647.
        """
        size = self.length if block_length is None else block_length
        if size < 1 or self.length % size:
            raise InputError(f"block_length must divide the length {self.length}, got {size}; choose a divisor")
        gains = [np.diff(self._set_entropies(start, start + size)) for start in range(0, self.length, size)]
        return np.maximum(np.concatenate(gains), 0.0)  # never negative but for rounding

    @abstractmethod
    def _set_entropies(self, start: int, stop: int) -> Floats:
        """Mean entropy (stop - start + 1,) of all positions before ``start`` and a uniform set of m in the block.

        The block is start .. stop - 1. A uniform set of m positions and one more uniform position are a uniform set of
        m + 1, so that by the chain rule the differences are the block's profile. A constant may be left out.
        """

    @abstractmethod
    def _log_joint(self, seen: Integers, row: Integers, position: Integers) -> Floats:
        """Log probability of the context of ``row`` with each token at ``position``, up to a constant per entry."""

    @abstractmethod
    def _log_prob(self, tokens: Integers) -> Floats:
        """Log probability (rows,) of complete sequences."""

    @abstractmethod
    def _sample(self, count: int, rng: np.random.Generator) -> Integers:
        """Sequences (count, length), each from its own row of uniforms."""

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
    """Tokens (rows,) by inverting the distribution function of weights (rows or 1, n) at uniform (rows,) in [0, 1)."""
    cumulative = np.cumsum(weights, axis=1)
    return np.asarray((uniform[:, None] >= cumulative / cumulative[:, -1:]).sum(axis=1))


def mean_over_sets(totals: Floats) -> Floats:
    """From entropies summed over all sets of m of the n positions, m = 0 .. n, to their means."""
    sets = [math.comb(len(totals) - 1, kept) for kept in range(len(totals))]
    return np.asarray(totals / np.array(sets, dtype=np.float64))


def check_work(length: int, work: int) -> None:
    if length > MAX_LENGTH or work > MAX_WORK:
        raise InputError(
            f"the entropies of this law are enumerated, up to length {MAX_LENGTH} and {MAX_WORK} terms, got length "
            f"{length} and {work} terms: use a shorter law, a Markov chain, or a profile measured on samples"
        )


def checked_length(length: int) -> int:
    if length < 1:
        raise InputError(f"the length of a law must be at least 1, got {length}")
    return length


def distributions(name: str, values: ArrayLike, ndim: int) -> Floats:
    """Float64 copy of values, whose last axis must sum to 1 up to 1e-9 and is then divided by its sum."""
    array = np.array(values, dtype=np.float64)
    if array.ndim != ndim or array.size == 0 or not (array >= 0).all():
        raise InputError(f"{name} must have {ndim} axes and no negative entry, got {array.tolist()}")
    total = array.sum(axis=-1, keepdims=True)
    if not (np.abs(total - 1) <= 1e-9).all():
        raise InputError(f"{name} must sum to 1 along the last axis, got sums {total.tolist()}")
    return np.asarray(array / total)


def default_symbols(vocab_size: int) -> str:
    """Digits, letters, then one more character each for large vocabularies."""
    return (CHARACTERS + "".join(chr(0x100 + i) for i in range(vocab_size - len(CHARACTERS))))[:vocab_size]
