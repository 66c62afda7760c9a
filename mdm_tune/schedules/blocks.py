"""Blocks filled from left to right: how the steps of a budget are shared out among them, and which steps fit which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity

__all__ = ["Share", "Shares", "equal_shares", "even_shares", "shares_of"]

Shares = tuple[int, ...]  # steps of each block, from left to right
Share = Callable[[int, int, int], Shares]  # of steps, length and block length


def equal_shares(steps: int, length: int, size: int) -> Shares:
    """The same number of steps for each block of ``size`` tokens.

    Raises InputError naming pairs of steps and block length that fit, where blocks cannot share the steps equally.
    """
    blocks = length // size
    if blocks == 1:
        return (steps,)
    if steps < blocks:
        raise _too_few(steps, length, size, tuned=False)
    if steps % blocks:
        raise InputError(
            f"{steps} steps cannot be shared equally by {blocks} blocks of {quantity(size, 'token')}; legal pairs "
            "of steps and "
            f"block_length are {_pairs(steps, length, size, tuned=False)}, or set sampler.block_steps to tuned"
        )
    return (steps // blocks,) * blocks


def even_shares(steps: int, length: int, size: int) -> Shares:
    """Shares that differ by one step at most, the larger ones first, and are no larger than a block.

    What a tuned allocation costs, whatever it will be. Raises InputError where steps are fewer than blocks.
    """
    blocks = length // size
    if blocks == 1:
        return (steps,)
    if steps < blocks:
        raise _too_few(steps, length, size, tuned=True)
    each, rest = divmod(min(steps, length), blocks)
    return tuple(each + (block < rest) for block in range(blocks))


def shares_of(counts: Sequence[int], size: int) -> Shares:
    """How many of the steps reveal tokens of each block; counts (steps,), each at least 1, cross the end of none."""
    found = [0] * (sum(counts) // size)
    for end in accumulate(counts):
        found[(end - 1) // size] += 1
    return tuple(found)


def _too_few(steps: int, length: int, size: int, *, tuned: bool) -> InputError:
    return InputError(
        f"{steps} steps are fewer than the {length // size} blocks of {quantity(size, 'token')}, and each block "
        "needs one; legal "
        f"pairs of steps and block_length are {_pairs(steps, length, size, tuned=tuned)}"
    )


def _pairs(steps: int, length: int, size: int, *, tuned: bool) -> str:
    """The block lengths that these steps go with, and the nearest steps that this block length goes with."""
    blocks = length // size
    whole = [fits for fits in range(1, length + 1) if length % fits == 0]
    sizes = [fits for fits in whole if length // fits <= steps and (tuned or steps % (length // fits) == 0)]
    if tuned:
        near = f"{blocks} to {length}"
    else:
        near = ", ".join(str(blocks * i) for i in range(max(1, steps // blocks - 1), steps // blocks + 3))
    own = f"{steps} with {', '.join(map(str, sizes))}; " if sizes else ""
    return f"{own}{near} with {size}"
