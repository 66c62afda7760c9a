"""Seeds derived by name, and noise addressed by counter.

A number is a function of its seed and its address alone, so no draw depends on the batch, the worker or the order.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["StepNoise", "derive_seed", "noise"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
STEP_STRIDE = np.uint64(1 << 32)  # addresses of one step: a row has at most 2^32 positions
TOGETHER = 1 << 12  # numbers that are made at a time; a few take as long


def derive_seed(root: int, *names: str | int) -> int:
    """A 64-bit seed for one named use of a seed; other names give an unrelated seed.

    Args:
        root: the seed that it is derived from.
        names: the use, such as a purpose and a number.
    """
    text = "\x1f".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def noise(seeds: NDArray[np.uint64], purpose: str, step: int | NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """Uniform numbers on the open interval (0, 1), addressed by (seed, purpose, step, position).

    The same address gives the same number, whatever else is drawn. A number has 52 random bits and is the centre of
    its cell. With 53 bits the centre of the last cell would round to 1, where inverse distribution functions are
    infinite.

    Source: SplitMix64 read at an arbitrary counter (Steele, Lea and Flood, OOPSLA 2014).

    Args:
        seeds: (rows,).
        purpose: the name of the use, such as "token".
        step: one step for all rows, or (rows,).
        length: positions of a row.

    Returns:
        (rows, length).
    """
    start = splitmix64(np.asarray(seeds, dtype=np.uint64) ^ _key(purpose))
    first = start + GOLDEN * (np.atleast_1d(step).astype(np.uint64) * STEP_STRIDE)  # arrays wrap without a warning
    bits = splitmix64(_counters(length) + first[:, None])
    bits >>= np.uint64(12)
    numbers: NDArray[np.float64] = bits.astype(np.float64)
    numbers += 0.5
    numbers *= 2.0**-52
    return numbers


class StepNoise:
    """``noise`` at steps that rise from call to call; the numbers of several steps are made at a time.

    Args:
        seeds: (rows,).
        purpose: the name of the use, such as "token".
        length: positions of a row.
    """

    def __init__(self, seeds: NDArray[np.uint64], purpose: str, length: int) -> None:
        self._seeds, self._purpose, self._length = seeds, purpose, length
        self._ahead = np.arange(max(1, TOGETHER // max(1, len(seeds) * length)))
        self._row = np.arange(len(seeds))
        self._first = np.zeros(len(seeds), dtype=np.int64)  # of each row: the first step whose numbers are kept
        self._kept = np.empty((len(seeds), 0, length))

    def at(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """The numbers (rows, length) at the step (rows,) of each row; none of them is below that of the last call."""
        try:
            return np.asarray(self._kept[self._row, steps - self._first])
        except IndexError:  # a step beyond those that are kept
            self._first, size = steps.copy(), len(self._ahead)
            ahead = (steps[:, None] + self._ahead).ravel()
            made = noise(self._seeds.repeat(size), self._purpose, ahead, self._length)
            self._kept = made.reshape(len(steps), size, self._length)
            return self._kept[:, 0]


@cache
def _counters(length: int) -> NDArray[np.uint64]:
    """The counters of the positions of step 0, times GOLDEN; arithmetic is modulo 2^64."""
    return GOLDEN * np.arange(1, length + 1, dtype=np.uint64)


@cache
def _key(purpose: str) -> np.uint64:
    return np.uint64(derive_seed(0, purpose))


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, elementwise on 64-bit states; arithmetic is modulo 2^64."""
    z = state ^ (state >> np.uint64(30))
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
