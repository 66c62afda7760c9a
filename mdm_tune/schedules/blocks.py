"""Blocks, which are filled from left to right: how the steps of a budget are shared among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity

__all__ = ["ShareRule", "Shares", "equal_shares", "even_shares", "steps_by_block"]

Shares = tuple[int, ...]  # the steps of the blocks, from left to right
ShareRule = Callable[[int, int, int], Shares]  # (steps, length, block length) -> shares


def equal_shares(steps: int, length: int, size: int) -> Shares:
    """The same number of steps for every block.

    Args:
        steps: the budget, at least 1.
        length: tokens of a sequence.
        size: tokens of a block, a divisor of ``length``.

    Returns:
        (blocks,).

    Raises:
        InputError: the number of blocks does not divide the steps; the message names pairs that fit.
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
    """Shares that differ by at most one step, the larger ones first. No share is larger than a block.

    Every tuned allocation of the steps costs as much as this one.

    Args:
        steps: the budget, at least 1.
        length: tokens of a sequence.
        size: tokens of a block, a divisor of ``length``.

    Returns:
        (blocks,).

    Raises:
        InputError: there are fewer steps than blocks.
    """
    blocks = length // size
    if blocks == 1:
        return (steps,)
    if steps < blocks:
        raise _too_few(steps, length, size, tuned=True)
    share, rest = divmod(min(steps, length), blocks)
    return tuple(share + (block < rest) for block in range(blocks))


def steps_by_block(counts: Sequence[int], size: int) -> Shares:
    """The number of steps that reveal tokens of each block.

    Args:
        counts: (steps,), each at least 1; no step crosses the end of a block.
        size: tokens of a block.
    """
    shares = [0] * (sum(counts) // size)
    for end in accumulate(counts):
        shares[(end - 1) // size] += 1
    return tuple(shares)


def _too_few(steps: int, length: int, size: int, *, tuned: bool) -> InputError:
    return InputError(
        f"{steps} steps are fewer than the {length // size} blocks of {quantity(size, 'token')}, and each block "
        "needs one; legal "
        f"pairs of steps and block_length are {_pairs(steps, length, size, tuned=tuned)}"
    )


def _pairs(steps: int, length: int, size: int, *, tuned: bool) -> str:
    """Legal block lengths for these steps, and the nearest legal steps for this block length, as text."""
    blocks = length // size
    divisors = [divisor for divisor in range(1, length + 1) if length % divisor == 0]
    sizes = [other for other in divisors if length // other <= steps and (tuned or steps % (length // other) == 0)]
    if tuned:
        near = f"{blocks} to {length}"
    else:
        near = ", ".join(str(blocks * share) for share in range(max(1, steps // blocks - 1), steps // blocks + 3))
    own = f"{steps} with {', '.join(map(str, sizes))}; " if sizes else ""
    return f"{own}{near} with {size}"
