"""The frontier of a search: the best of each policy at each budget, compared with one token per step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mdm_tune.commands.events import Note
from mdm_tune.commands.frontier import few_for_ties, frontier_record, reference_note, reference_rows, reference_setting
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.build import Run
from mdm_tune.run.frontier_records import PolicyFrontierRecord
from mdm_tune.schedules.curves import parse_schedule
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.events import Comparison
from mdm_tune.search.stored_scores import StoredScores

__all__ = ["few_for_frontier", "frontier_of_search"]


def few_for_frontier(run: Run) -> Iterator[Note]:
    """A warning that the report split is too small for the frontier of a search, see ``few_for_ties``."""
    settings = run.config.search
    if settings.frontier:
        kinds = len({"linear", *settings.baselines}) + len(settings.policies)
        yield from few_for_ties(run, kinds, len(run.config.sampler.steps))


def frontier_of_search(
    run: Run, scores: StoredScores, budgets: Sequence[Budget], notify: Callable[[Note | Comparison], None]
) -> tuple[PolicyFrontierRecord, Cost]:
    """The frontier of the best policies of a search, and the cost of measuring one token per step for it.

    Args:
        run: The run.
        scores: Scores settings, and stores what was measured.
        budgets: The budgets of the search.
        notify: Called with the announcement of the cost, and before the measurement.

    Raises:
        InputError: If reveal is ancestral.
    """
    named: list[tuple[str | None, Scores]] = []
    for budget in budgets:
        named += [(None, each) for each in budget.baselines.values()]
        best = [(_tuned(outcome.kind), outcome.best.scores) for outcome in budget.policies if outcome.best is not None]
        named += best if budget.policies else [(_tuned("counts"), budget.winner)]
    evaluator, settings = run.evaluator, [each.setting for _, each in named]

    def setting_at(name: str, steps: int) -> Setting:
        return evaluator.setting(parse_schedule(name), steps, name)

    reference = reference_setting(run, settings, setting_at, asked=True)
    assert reference is not None
    notify(reference_note(reference, reference_rows(run, reference, settings)))
    (measured,) = scores.score(
        [reference],
        "report",
        lambda setting, place: notify(Comparison(use="report", setting=setting, done=0, total=1)),
    )
    scored = [(each, each.cost) for _, each in named]
    return frontier_record(
        run, scored, reference, (measured, measured.cost), [name for name, _ in named]
    ), measured.cost


def _tuned(kind: str) -> str:
    """The name of a tuned policy: its number follows from the budget alone, or it was searched."""
    return kind if kind in ("threshold", "entropy-bound") else f"tuned {kind}"
