"""Seeds derived by name and noise addressed by counter, so that no draw depends on batch, worker or order.

Nothing here keeps state: a number is a function of its seed and its address alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["derive_seed", "noise"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
STEP_STRIDE = np.uint64(1 << 32)  # addresses between two steps, so the longest row has 2^32 positions


def derive_seed(root: int, *names: str | int) -> int:
    """A 64-bit seed for one named use of ``root``: the same names give the same seed, other names an unrelated one."""
    text = "\x1f".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def noise(seeds: NDArray[np.uint64], purpose: str, step: int | NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """Uniforms (rows, length) on the open interval (0, 1), addressed by (seed, purpose, step, position).

    seeds (rows,); step: one for all rows, or (rows,). The same address gives the same number whatever else is drawn.
    52 random bits, centred on their cell: with 53 the centre of the last cell would round to 1, which no inverse
    distribution function survives.
    Source: SplitMix64 read at an arbitrary counter (Steele, Lea and Flood, OOPSLA 2014).
    """
    key = np.uint64(derive_seed(0, purpose))
    start = splitmix64(np.asarray(seeds, dtype=np.uint64) ^ key)[:, None]
    first = np.asarray(step, dtype=np.uint64).reshape(-1, 1) * STEP_STRIDE
    counter: NDArray[np.uint64] = np.arange(1, length + 1, dtype=np.uint64) + first
    bits = splitmix64(start + GOLDEN * counter)
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, elementwise on 64-bit states; arithmetic is modulo 2^64."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
