"""Quality against denoiser calls over the budgets of a search: where fewer steps lose nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mdm_tune.core.statistics import corrected_confidence
from mdm_tune.core.types import Direction
from mdm_tune.evaluation.evaluator import Scores
from mdm_tune.search.claims import NoWorse, no_worse
from mdm_tune.search.confirmation import Budget

__all__ = ["Frontier", "Pair", "frontier_of"]


@dataclass(frozen=True)
class Pair:
    """A budget's winner beside linear at a larger budget.

    ratio: how many times fewer denoiser calls. found: whether the winner is no worse. linear_too: whether linear at the
    winner's own budget is none the worse either, so that the saving is not the schedule's.
    """

    budget: Budget
    larger: Budget
    found: NoWorse
    linear_too: bool

    @property
    def ratio(self) -> float:
        return self.larger.baselines["linear"].nfe / self.budget.winner.nfe


@dataclass(frozen=True)
class Frontier:
    """Quality against denoiser calls over the budgets of a search.

    margin: the share of |linear's value| that counts as no loss. confidence: of each pair's one-sided bound, so that
    all of them hold together at 95 %. pairs: by budget, then by linear's.
    """

    margin: float
    confidence: float
    pairs: tuple[Pair, ...]

    @property
    def headline(self) -> Pair | None:
        """The pair that saves most calls, of those that hold; None where none does."""
        return max((pair for pair in self.pairs if pair.found.holds), key=lambda pair: pair.ratio, default=None)


def frontier_of(budgets: Sequence[Budget], direction: Direction, margin: float) -> Frontier:
    """Which winner is no worse than linear at which larger budget, on the same report examples with the same noise.

    Every winner is tested against linear at each budget with more denoiser calls (non-inferiority), each test at the
    one-sided level 0.05 / number of tests (Bonferroni), so that any of them holds wrongly in 5 % of searches at most.
    """
    pairs = [
        (one, two)
        for one, two in combinations(sorted(budgets, key=lambda budget: budget.steps), 2)
        if two.baselines["linear"].nfe > one.winner.nfe
    ]
    confidence = corrected_confidence(max(1, len(pairs)))

    def test(scores: Scores, larger: Budget) -> NoWorse:
        return no_worse(scores, larger.baselines["linear"], direction, margin, 1 - confidence)

    found = [
        Pair(budget=one, larger=two, found=test(one.winner, two), linear_too=test(one.baselines["linear"], two).holds)
        for one, two in pairs
    ]
    return Frontier(margin, confidence, tuple(found))
