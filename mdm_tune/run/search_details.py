"""What the page of a run shows beside the result of a search, added to its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mdm_tune.run.build import Run
from mdm_tune.run.description import RunDescription
from mdm_tune.run.page_records import BudgetDetails, SamplePair, best_baseline, profile_curves, sample_pairs
from mdm_tune.run.profiles import Profiles
from mdm_tune.run.search_records import BudgetRecord, SearchResult
from mdm_tune.search.confirmation import Budget

__all__ = ["budget_pairs", "detailed_budget", "detailed_result"]


def detailed_budget(run: Run, budget: Budget) -> BudgetRecord:
    """The record of a budget, with its trials and the cost of the paper's grid."""
    return replace(BudgetRecord.of(run, budget), details=BudgetDetails.of(run, budget))


def detailed_result(
    result: SearchResult,
    run: Run,
    budgets: Sequence[Budget],
    profiles: Mapping[int, Profiles],
    description: RunDescription,
) -> SearchResult:
    """The result with what its page shows.

    Args:
        result: The result of the search.
        run: The run that was searched.
        budgets: The budgets of the result, in the same order.
        profiles: By block length.
        description: What the result is of.
    """
    return replace(
        result,
        budgets=tuple(
            replace(record, details=BudgetDetails.of(run, budget))
            for record, budget in zip(result.budgets, budgets, strict=True)
        ),
        description=description,
        profile_curves=profile_curves(profiles),
        sample_pairs=tuple(pair for budget in budgets for pair in budget_pairs(run, budget)),
    )


def budget_pairs(run: Run, budget: Budget) -> Iterator[SamplePair]:
    """Pairs of samples of linear and of the policy that the choose split chose, whether it is returned or not.

    The sample of the best hand-made schedule stands beside each pair.
    """
    chosen = budget.winner if budget.loser is None else budget.loser.scores
    best = best_baseline(budget, run.evaluator.metric.direction)
    yield from sample_pairs(run, budget.baselines["linear"], chosen, None if best is None else best[1])
