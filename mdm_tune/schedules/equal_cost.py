"""When two policies are compared at equal cost: their denoiser calls differ by no more than 2 %."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MORE_CALLS", "CallRatio", "equal_cost"]

MORE_CALLS = 0.02  # a share of linear's calls; a policy that makes more calls than that is not compared at equal cost
FLAG = "more-calls"
ROUNDING = 1e-9


@dataclass(frozen=True)
class CallRatio:
    """The denoiser calls of a policy, compared with those of linear at the same budget.

    Attributes:
        ratio: Calls of the policy over calls of linear, as they were made on the same examples.
    """

    ratio: float

    @property
    def more(self) -> bool:
        """Whether the policy makes over 2 % more calls than linear. A gain of it is then no gain at equal cost."""
        return self.ratio > 1 + MORE_CALLS + ROUNDING

    @property
    def flag(self) -> str | None:
        """``more-calls`` if the policy makes more calls; otherwise None."""
        return FLAG if self.more else None

    @property
    def text(self) -> str:
        """The ratio in words."""
        return f"{self.ratio:.3g} times linear's calls"


def equal_cost(calls: float, linear_calls: float) -> CallRatio:
    """Compare the denoiser calls of a policy with those of linear at the same budget.

    The calls are those that were made on the examples of the comparison, not those that the budget allows. Fewer calls
    are not flagged: a gain at fewer calls is a gain at equal cost too.

    Args:
        calls: Mean calls of the policy, above 0.
        linear_calls: Mean calls of linear on the same examples, above 0.
    """
    return CallRatio(calls / linear_calls)
