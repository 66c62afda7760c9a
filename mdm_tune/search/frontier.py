"""Quality against denoiser calls over the budgets of a search: which winners match linear at more steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mdm_tune.core.statistics import corrected_confidence
from mdm_tune.core.types import Direction
from mdm_tune.evaluation.scores import Scores
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.gains import NoWorse, calls_interval, no_worse

__all__ = ["Frontier", "Pair", "frontier_of"]


@dataclass(frozen=True)
class Pair:
    """A budget's winner compared with linear at a larger budget.

    Attributes:
        budget: The winner's budget.
        larger: The budget of linear.
        test: The test whether the winner is no worse, and whether it is better.
        linear_too: Whether linear at the winner's budget is no worse either, so that tuning saves nothing.
        ratio_ci: The 95 % interval of ``ratio``, corrected for all pairs; None if the ratio does not vary, and for too
            few examples.
    """

    budget: Budget
    larger: Budget
    test: NoWorse
    linear_too: bool
    ratio_ci: tuple[float, float] | None = None

    @property
    def calls_vary(self) -> bool:
        """Whether some examples take more calls than others."""
        return any(scores.calls is not None for scores in (self.budget.winner, self.larger.baselines["linear"]))

    @property
    def ratio(self) -> float:
        """Denoiser calls of linear divided by those of the winner."""
        return self.larger.baselines["linear"].nfe / self.budget.winner.nfe


@dataclass(frozen=True)
class Frontier:
    """Quality against denoiser calls over the budgets of a search.

    Attributes:
        margin: The share of |linear's value| that counts as no loss.
        confidence: Of each pair's one-sided bound; all bounds hold together at 95 %.
        pairs: The pairs, ordered by the winner's budget, then by linear's.
    """

    margin: float
    confidence: float
    pairs: tuple[Pair, ...]

    @property
    def headline(self) -> Pair | None:
        """The pair that saves most denoiser calls among those whose winner is no worse; None if there is none."""
        return max((pair for pair in self.pairs if pair.test.holds), key=lambda pair: pair.ratio, default=None)


def frontier_of(budgets: Sequence[Budget], direction: Direction, margin: float) -> Frontier:
    """Test which winners are no worse than linear at larger budgets, on the same report examples with the same noise.

    Every winner is tested against linear at each budget with more denoiser calls (non-inferiority). Each test has the
    one-sided level 0.05 / number of tests (Bonferroni), so that at most 5 % of searches claim a saving wrongly.

    Args:
        budgets: The outcomes of the budgets.
        direction: The metric's direction.
        margin: The share of |linear's value| that counts as no loss.
    """
    budget_pairs = [
        (budget, larger)
        for budget, larger in combinations(sorted(budgets, key=lambda budget: budget.steps), 2)
        if larger.baselines["linear"].nfe > budget.winner.nfe
    ]
    confidence = corrected_confidence(max(1, len(budget_pairs)))

    def test(scores: Scores, larger: Budget) -> NoWorse:
        return no_worse(scores, larger.baselines["linear"], direction, margin, 1 - confidence)

    pairs = [
        Pair(
            budget=budget,
            larger=larger,
            test=test(budget.winner, larger),
            linear_too=test(budget.baselines["linear"], larger).holds,
            ratio_ci=calls_interval(larger.baselines["linear"], budget.winner, confidence),
        )
        for budget, larger in budget_pairs
    ]
    return Frontier(margin, confidence, tuple(pairs))
