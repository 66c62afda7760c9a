"""When two policies are compared at equal cost: their denoiser calls differ by no more than 2 %."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from mdm_tune.core.errors import InputError
from mdm_tune.core.interval_text import interval_text
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.labels import Label

__all__ = ["MORE_CALLS", "CallRatio", "equal_cost", "nearest_budgets"]

MORE_CALLS = 0.02  # a share of linear's calls; a policy that makes more calls than that is not compared at equal cost
FLAG = "more-calls"
ROUNDING = 1e-9


@dataclass(frozen=True)
class CallRatio:
    """The denoiser calls of a policy, compared with those of linear at the same budget.

    Attributes:
        ratio: Calls of the policy over calls of linear, as they were made on the same examples.
        ci: Its 95 % interval; None if it is unknown, or if the calls do not vary.
    """

    ratio: float
    ci: tuple[float, float] | None = None

    @property
    def more(self) -> bool:
        """Whether the policy made over 2 % more calls than linear. No gain at equal cost is then claimed."""
        return self.ratio > 1 + MORE_CALLS + ROUNDING

    @property
    def surely_more(self) -> bool:
        """Whether it makes over 2 % more calls on other examples too: the whole interval lies above."""
        return self.more and (self.ci is None or self.ci[0] > 1 + MORE_CALLS)

    @property
    def flag(self) -> str | None:
        """``more-calls`` if the policy made more calls; otherwise None."""
        return FLAG if self.more else None

    @property
    def text(self) -> str:
        """How many more calls these are, in words."""
        share = 100 * (self.ratio - 1)
        if self.ci is None:
            return f"{share:.2g} % more calls than linear"
        return f"{interval_text(share, (100 * (self.ci[0] - 1), 100 * (self.ci[1] - 1)))} % more calls than linear"

    @property
    def verdict(self) -> str:
        """What more calls mean for a gain."""
        return "no gain at equal cost" if self.surely_more else "not surely a gain at equal cost"


def equal_cost(calls: float, linear_calls: float, ci: tuple[float, float] | None = None) -> CallRatio:
    """Compare the denoiser calls of a policy with those of linear at the same budget.

    The calls are those that were made on the examples of the comparison, not those that the budget allows. Fewer calls
    are not flagged: a gain at fewer calls is a gain at equal cost too.

    Args:
        calls: Mean calls of the policy, above 0.
        linear_calls: Mean calls of linear on the same examples, above 0.
        ci: The interval of their ratio; None if it is unknown.
    """
    return CallRatio(calls / linear_calls, ci)


def nearest_budgets(measured: Iterable[tuple[str, int, float]]) -> dict[str, int]:
    """The budget nearest to the calls of each policy that is the same at every budget, in log scale.

    Such a policy, for example ``threshold:0.9``, is measured once, and shown once: where the comparison with linear is
    nearest to equal cost.

    Args:
        measured: labels of policies, budgets, and mean calls above 0.

    Returns:
        The budgets by label, without the labels of other policies.
    """
    found: dict[str, tuple[float, int]] = {}
    for label, steps, calls in measured:
        plan = None
        with suppress(InputError):  # a person may have edited the file that the label is from
            plan = parse_adaptive(Label.read(label).name)
        if plan is not None and plan.same_at_every_budget:
            here = abs(math.log(calls / steps)), steps
            found[label] = min(found.get(label, here), here)
    return {label: steps for label, (_, steps) in found.items()}
