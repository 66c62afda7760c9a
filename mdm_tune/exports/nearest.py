"""What counts lose in a target that can only come near them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

__all__ = ["differing", "largest_difference", "loss_text"]


def differing(counts: Sequence[int], others: Sequence[int]) -> int:
    """How many positions are revealed at another step, if both reveal the same positions in the same order.

    Args:
        counts: (steps,) tokens per step.
        others: (other steps,), with the same sum.
    """
    same, first, second = 0, 0, 0
    for one, other in zip(counts, others, strict=False):
        same += max(0, min(first + one, second + other) - max(first, second))
        first, second = first + one, second + other
    return sum(counts) - same


def largest_difference(counts: Sequence[int], others: Sequence[int]) -> float:
    """The largest difference of the revealed share after the same number of steps; shorter counts stay at 1."""
    total, most = sum(counts), max(len(counts), len(others))
    ends = [[*accumulate(part), *[total] * (most - len(part))] for part in (counts, others)]
    largest: int = max(abs(one - other) for one, other in zip(*ends, strict=True))
    return largest / total


def loss_text(counts: Sequence[int], others: Sequence[int], blocks: int = 1) -> tuple[str, ...]:
    """The loss as a sentence, none if there is no loss.

    Args:
        counts: of a block, as they were tuned.
        others: of a block, as the target has them.
        blocks: number of blocks with these counts.
    """
    positions = blocks * differing(counts, others)
    if not positions:
        return ()
    return (
        f"{positions} of {blocks * sum(counts)} positions are revealed at another step, and the revealed share differs "
        f"by up to {100 * largest_difference(counts, others):.1f} %: {len(others)} steps"
        f"{' per block' if blocks > 1 else ''}, not {len(counts)}.",
    )
