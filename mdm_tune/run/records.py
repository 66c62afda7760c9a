"""The shapes that leave the tool: one JSON object per command, the schedule file, one line per example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mdm_tune.core.intervals import finite_or_none, interval_record
from mdm_tune.core.statistics import CONFIDENCE
from mdm_tune.evaluation.evaluator import Cost, Evaluator
from mdm_tune.run.build import Run
from mdm_tune.run.folder import RunFolder, versions
from mdm_tune.run.record_parts import CallsRecord, PlanRecord
from mdm_tune.schedules.curves import Beta, Schedule
from mdm_tune.search.claims import Gain
from mdm_tune.search.confirmation import Budget
from mdm_tune.search.frontier import Frontier, Pair, frontier_of
from mdm_tune.search.power import Detectable

__all__ = [
    "Record",
    "detectable_record",
    "frontier_record",
    "schedule_file_record",
    "schedule_record",
    "search_record",
]

Record = dict[str, Any]


def search_record(run: Run, folder: RunFolder, budgets: Sequence[Budget], profile: Cost | None) -> Record:
    """The JSON of ``search``; ``trials`` counts finished trials over all budgets, those from the record included.

    profile: what measuring it took, now or in an earlier command; counted in the cost. None where none was needed.
    """
    cost = sum((budget.cost for budget in budgets), run.evaluator.preparation)
    return {
        "budgets": [_budget_record(run, budget) for budget in budgets],
        **_claims(run, budgets),
        "trials": sum(budget.trials for budget in budgets),
        "profile": None if profile is None else profile.to_json(),
        **(cost + (profile or Cost())).to_json(),
        "denoiser_rows_of": _rows_of(budgets, cost, profile),
        "files": {"schedule": str(folder.schedule), "run": str(folder.path)},
    }


def _rows_of(budgets: Sequence[Budget], cost: Cost, profile: Cost | None) -> Record:
    """Denoiser rows by what they were spent on; ``search.rows`` limits those of each budget's trials."""
    pilots = sum(budget.pilot.denoiser_rows for budget in budgets)
    trials = sum(budget.tuning.denoiser_rows for budget in budgets)
    return {
        "profile": 0 if profile is None else profile.denoiser_rows,
        "pilots": pilots,
        "trials": trials,
        "comparison": cost.denoiser_rows - pilots - trials,
    }


def schedule_record(run: Run, budgets: Sequence[Budget]) -> Record:
    """The schedule file of a search."""
    return schedule_file_record(run, [_schedule_budget(run, budget) for budget in budgets]) | _claims(run, budgets)


def schedule_file_record(run: Run, budgets: Sequence[Record]) -> Record:
    """A schedule file: what to paste into a sampler, what it is worth, and where it comes from."""
    return {
        "length": run.evaluator.length,
        "lengths": _lengths(run),
        "sampler": run.config.sampler.record,
        "budgets": list(budgets),
        "seed": run.config.seed,
        "fingerprints": run.fingerprints | ({} if run.dataset is None else {"searched": run.dataset.searched}),
        "versions": versions(run.config.model.type),
    }


def _lengths(run: Run) -> Record:
    """Whether ``length`` is that of every example or their mean, rounded; least and most, of all splits."""
    sizes = [run.evaluator.length] if run.dataset is None else run.dataset.sizes.tolist()
    least, most = min(sizes), max(sizes)
    return {"fixed": least == most, "least": least, "most": most, "mean": round(sum(sizes) / len(sizes), 4)}


def detectable_record(found: Detectable | None) -> Record | None:
    """What the report split can show, before the first trial."""
    if found is None:
        return None
    return {
        "steps": found.steps,
        "gain": finite_or_none(found.gain),
        "gain_can_be_shown": math.isfinite(found.gain),
        "limit": found.limit,
        "linear": found.linear,
        "squared_sine_minus_linear": found.difference.to_json(),
        "report": found.report,
        "report_examples": found.report if found.examples is None else found.examples,
        "report_needed": found.needed,
        "budgets": found.claims,
        "large": found.large,
    }


def frontier_record(frontier: Frontier) -> Record:
    """Which tuned schedule is no worse than linear at which larger budget, and the most steps that this saves."""
    headline = frontier.headline
    return {
        "margin": frontier.margin,
        "confidence": frontier.confidence,
        "pairs": [_pair(pair) for pair in frontier.pairs],
        "headline": None if headline is None else _pair(headline),
    }


def _pair(pair: Pair) -> Record:
    found = pair.found
    return {
        "steps": pair.budget.steps,
        "linear_steps": pair.larger.steps,
        "ratio": pair.ratio,
        "difference": finite_or_none(found.difference),
        "bound": finite_or_none(found.bound),
        "margin": finite_or_none(found.margin),
        "no_worse": found.holds,
        "linear_too": pair.linear_too,
        "flags": list(pair.budget.flags),
    }


def _described(schedule: Schedule) -> Record:
    """type, a, b: the last two are null outside the Beta family."""
    if isinstance(schedule, Beta):
        return {"type": "beta", "a": schedule.a, "b": schedule.b}
    return {"type": schedule.name, "a": None, "b": None}


def _budget_record(run: Run, budget: Budget) -> Record:
    return {
        "steps": budget.steps,
        "schedule": _described(budget.schedule),
        **PlanRecord.of(budget.winner.setting).to_json(),
        **_outcome(run.evaluator, budget),
        "trials": budget.trials,
        "answered_from_record": budget.reused,
        "dropped": budget.dropped,
        "cut": budget.cut,
        "ended": None if budget.ended is None else budget.ended.to_json(),
        "all_reachable_counts_scored": budget.exhausted,
        "choose": [{"schedule": scores.setting.label, **scores.estimate.to_json()} for scores in budget.chosen_from],
    }


def _schedule_budget(run: Run, budget: Budget) -> Record:
    return {
        "steps": budget.steps,
        "schedule": budget.schedule.name,
        **PlanRecord.of(budget.winner.setting).to_json(),
        "revealed_share_after_step": [round(share, 4) for share in budget.winner.setting.revealed],
        **_outcome(run.evaluator, budget),
    }


def _claims(run: Run, budgets: Sequence[Budget]) -> Record:
    """How sure the claims are, each alone and all together, and the one that needs several budgets."""
    found = frontier_of(budgets, run.evaluator.metric.direction, run.config.search.margin)
    return {
        "confidence": {"each": CONFIDENCE, "familywise": CONFIDENCE, "budgets": len(budgets)},
        "frontier": frontier_record(found),
    }


def _outcome(evaluator: Evaluator, budget: Budget) -> Record:
    """What the JSON and the schedule file both say of a budget's quality."""
    winner = budget.winner
    return {
        **CallsRecord.of(winner).to_json(),
        "metric": evaluator.metric.name,
        "direction": evaluator.metric.direction,
        **winner.estimate.to_json(),
        "n": winner.count,
        "split": winner.use,
        "baselines": {name: scores.estimate.to_json() for name, scores in budget.baselines.items()},
        "gain_over_linear": _gain_record(budget.gain),
        "linear": budget.baselines["linear"].setting.label,
        "gain_over_first_linear": None if budget.gain_over_first is None else _gain_record(budget.gain_over_first),
        "beats_linear": budget.beats_linear,
        "flags": list(budget.flags),
        "loser": _loser(budget),
        "data": None if budget.data is None else budget.data.estimate.to_json(),
        **_diversity(budget),
        "detectable_gain": finite_or_none(budget.detectable),
        "gain_can_be_shown": None if budget.detectable is None else math.isfinite(budget.detectable),
    }


def _loser(budget: Budget) -> Record | None:
    """The best schedule of the choose split where it is worse than linear and not returned, under its own name."""
    found = budget.loser
    if found is None:
        return None
    return {
        "schedule": found.schedule.name,
        **PlanRecord.of(found.scores.setting).to_json(),
        **CallsRecord.of(found.scores).to_json(),
        **found.scores.estimate.to_json(),
        "gain_over_linear": _gain_record(found.gain),
    }


def _gain_record(better: Gain) -> Record:
    return {
        "value": finite_or_none(better.value),
        "ci": interval_record(better.ci),
        "ci_familywise": interval_record(better.familywise),
        "no_interval": better.no_interval,
        "examples_that_differ": better.differing,
        "examples_that_must_differ": better.fewest,
        "shown": better.shown,
    }


def _diversity(budget: Budget) -> Record:
    """Figures by whom and name, and what the winner loses of them; null where the metric has none."""
    found = budget.diversity
    if found is None:
        return {"diversity": None, "diversity_losses": None}
    figures = {who: {figure: each.to_json() for figure, each in of.items()} for who, of in found.figures.items()}
    return {
        "diversity": figures,
        "diversity_losses": {
            "examples": found.examples,
            "threshold": found.threshold,
            "reference_steps": None if budget.reference is None else budget.reference.steps,
            "losses": [asdict(loss) for loss in found.losses],
        },
    }
