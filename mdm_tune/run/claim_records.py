"""The records of claims: their confidence, and tuned policies in comparison with linear at larger budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mdm_tune.core.json_record import JsonRecord
from mdm_tune.core.statistics import CONFIDENCE
from mdm_tune.run.build import Run
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.frontier import Frontier, Pair, frontier_of

__all__ = ["ClaimsRecord", "ConfidenceRecord", "FrontierRecord", "PairRecord"]


@dataclass(frozen=True, kw_only=True)
class PairRecord(JsonRecord):
    """A tuned policy in comparison with linear at a larger budget.

    Attributes:
        steps, linear_steps: The two budgets.
        ratio: Denoiser calls of linear over those of the tuned policy.
        difference, bound, margin, no_worse, better: As in ``search.gains.NoWorse``; ``no_worse`` is its ``holds``.
        linear_too: As in ``search.frontier.Pair``.
        flags: Codes of the reasons to doubt the tuned policy.
        ratio_ci: As in ``search.frontier.Pair``.
        calls_vary: Whether some examples take more calls than others; None in older records.
    """

    steps: int
    linear_steps: int
    ratio: float
    difference: float
    bound: float | None
    margin: float
    no_worse: bool
    linear_too: bool
    flags: tuple[str, ...]
    better: bool = False
    ratio_ci: tuple[float, float] | None = None
    calls_vary: bool | None = None

    @classmethod
    def of(cls, pair: Pair) -> PairRecord:
        """The record of a pair."""
        return cls(
            steps=pair.budget.steps,
            linear_steps=pair.larger.steps,
            ratio=pair.ratio,
            difference=pair.test.difference,
            bound=pair.test.bound,
            margin=pair.test.margin,
            no_worse=pair.test.holds,
            linear_too=pair.linear_too,
            flags=pair.budget.flags,
            better=pair.test.better,
            ratio_ci=pair.ratio_ci,
            calls_vary=pair.calls_vary,
        )


@dataclass(frozen=True, kw_only=True)
class FrontierRecord(JsonRecord):
    """The tuned policies that are no worse than linear at larger budgets, and the largest saving of denoiser calls.

    Attributes:
        margin: The share of linear's absolute value that counts as no loss.
        confidence: One-sided confidence of each pair's bound; all bounds hold together at 95 %.
        pairs: Every tuned policy with linear at every budget that takes more denoiser calls.
        headline: The pair that holds and saves most calls; None if no pair holds.
    """

    margin: float
    confidence: float
    pairs: tuple[PairRecord, ...]
    headline: PairRecord | None

    @classmethod
    def of(cls, frontier: Frontier) -> FrontierRecord:
        """The record of a frontier."""
        headline = frontier.headline
        return cls(
            margin=frontier.margin,
            confidence=frontier.confidence,
            pairs=tuple(map(PairRecord.of, frontier.pairs)),
            headline=None if headline is None else PairRecord.of(headline),
        )

    def reached(self, steps: int) -> int | None:
        """The largest budget at which linear is no better than the policy of ``steps``; None if there is none."""
        return max((pair.linear_steps for pair in self.pairs if pair.steps == steps and pair.no_worse), default=None)


@dataclass(frozen=True, kw_only=True)
class ConfidenceRecord(JsonRecord):
    """The confidence of each claim by itself, and of the claims of all budgets and policies together (familywise).

    Attributes:
        each: Of each claim by itself.
        familywise: Of all claims together.
        budgets: Budgets of the search.
        policies: Kinds of policy that are compared at each budget.
    """

    each: float
    familywise: float
    budgets: int
    policies: int = 1


@dataclass(frozen=True, kw_only=True)
class ClaimsRecord(JsonRecord):
    """The confidence of the claims, and the comparison with linear at larger budgets."""

    confidence: ConfidenceRecord
    frontier: FrontierRecord

    @classmethod
    def of(cls, run: Run, budgets: Sequence[Budget]) -> ClaimsRecord:
        """The claims of all budgets of a search."""
        frontier = frontier_of(budgets, run.evaluator.metric.direction, run.config.search.margin)
        return cls(
            confidence=ConfidenceRecord(
                each=CONFIDENCE,
                familywise=CONFIDENCE,
                budgets=len(budgets),
                policies=max((len(budget.policies) for budget in budgets), default=0) or 1,
            ),
            frontier=FrontierRecord.of(frontier),
        )
