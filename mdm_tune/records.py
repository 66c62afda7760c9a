"""The shapes that leave the tool: one JSON object per command, the schedule file, one line per example."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

from mdm_tune.build import Run
from mdm_tune.confirmation import Budget
from mdm_tune.evaluation import Cost, Evaluator, Scores, Setting, difference
from mdm_tune.results import RunFolder, versions
from mdm_tune.schedules import Beta, Schedule
from mdm_tune.statistics import Estimate, estimate

__all__ = [
    "Record",
    "comparison_records",
    "cost_record",
    "difference_records",
    "estimate_record",
    "example_records",
    "plan_record",
    "row_record",
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
        "trials": sum(budget.trials for budget in budgets),
        "profile": None if profile is None else cost_record(profile),
        **cost_record(cost + (profile or Cost())),
        "files": {"schedule": str(folder.schedule), "run": str(folder.path)},
    }


def schedule_record(run: Run, budgets: Sequence[Budget]) -> Record:
    """The schedule file of a search."""
    return schedule_file_record(run, [_schedule_budget(run, budget) for budget in budgets])


def schedule_file_record(run: Run, budgets: Sequence[Record]) -> Record:
    """A schedule file: what to paste into a sampler, what it is worth, and where it comes from."""
    sampler = run.config.sampler
    return {
        "length": run.evaluator.length,
        "sampler": {
            "order": sampler.order,
            "reveal": sampler.reveal,
            "temperature": sampler.temperature,
            "counts": sampler.counts,
            "block_length": sampler.block_length,
        },
        "budgets": list(budgets),
        "seed": run.config.seed,
        "fingerprints": run.fingerprints,
        "versions": versions(),
    }


def row_record(scores: Scores, metric: str) -> Record:
    """One row of ``evaluate``."""
    setting = scores.setting
    return {
        "schedule": setting.label,
        "steps": setting.steps,
        **plan_record(scores.setting),
        "nfe": scores.nfe,
        "metric": metric,
        **estimate_record(scores.estimate),
        "n": scores.count,
        **{name: float(values.mean()) for name, values in scores.diversity.items()},
    }


def comparison_records(scores: Sequence[Scores]) -> list[Record]:
    """Every pair of schedules at the same budget: first - second, paired example by example."""
    pairs = ((a, b) for a, b in combinations(scores, 2) if a.setting.steps == b.setting.steps)
    return [
        {
            "first": a.setting.label,
            "second": b.setting.label,
            "steps": a.setting.steps,
            "difference": d.value if math.isfinite(d.value) else None,
            "ci": _ci(d),
        }
        for a, b in pairs
        for d in (difference(a, b),)
    ]


def example_records(run: Run, scores: Iterable[Scores]) -> Iterator[Record]:
    """One line per example and schedule: its value and, where tokens were drawn, its sample."""
    for found in scores:
        if found.values is None or found.tokens is None or found.use is None or run.dataset is None:
            continue
        ids = run.evaluator.split(found.use).ids
        texts = run.dataset.decode(found.tokens)
        for name, value, text in zip(ids, found.values.tolist(), texts, strict=True):
            yield {
                "split": found.use,
                "id": name,
                "steps": found.setting.steps,
                "schedule": found.setting.label,
                "value": value,
                "text": text,
            }


def difference_records(examples: Sequence[Record], most: int = 3) -> list[Record]:
    """Per budget the examples on which linear and the last schedule differ most, from the same noise, both ways."""
    found = []
    for steps in dict.fromkeys(example["steps"] for example in examples):
        here = [example for example in examples if example["steps"] == steps]
        labels = list(dict.fromkeys(example["schedule"] for example in here))
        if "linear" not in labels or len(labels) < 2:
            continue
        other = next(label for label in reversed(labels) if label != "linear")
        linear = {example["id"]: example for example in here if example["schedule"] == "linear"}
        tuned = {example["id"]: example for example in here if example["schedule"] == other}
        pairs = sorted(linear, key=lambda name: tuned[name]["value"] - linear[name]["value"])
        for name in dict.fromkeys([*pairs[-most:][::-1], *pairs[:most]]):
            if tuned[name]["value"] == linear[name]["value"]:
                continue
            sides = {"first": linear[name], "second": tuned[name]}
            shown = {side: {key: of[key] for key in ("schedule", "value", "text")} for side, of in sides.items()}
            found.append({"steps": steps, "id": name, **shown})
    return found


def cost_record(cost: Cost) -> Record:
    """Rows, tokens and seconds."""
    return {
        "denoiser_rows": cost.denoiser_rows,
        "denoiser_tokens": cost.denoiser_tokens,
        "seconds": round(cost.seconds, 3),
    }


def estimate_record(found: Estimate) -> Record:
    """A value with its interval; JSON has no infinity, so an infinite value is null."""
    return {"value": found.value if math.isfinite(found.value) else None, "ci": _ci(found)}


def _ci(found: Estimate) -> list[float] | None:
    return None if found.ci is None else list(found.ci)


def plan_record(setting: Setting) -> Record:
    """What the sampler gets: counts, or alphas for ancestral reveal."""
    return {
        "counts": None if setting.counts is None else list(setting.counts),
        "alphas": None if setting.alphas is None else list(setting.alphas),
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
        **plan_record(budget.winner.setting),
        **_outcome(run.evaluator, budget),
        "trials": budget.trials,
        "answered_from_record": budget.reused,
        "all_reachable_counts_scored": budget.exhausted,
        "choose": [
            {"schedule": scores.setting.label, **estimate_record(scores.estimate)} for scores in budget.chosen_from
        ],
    }


def _schedule_budget(run: Run, budget: Budget) -> Record:
    return {
        "steps": budget.steps,
        "schedule": budget.schedule.name,
        **plan_record(budget.winner.setting),
        "revealed_share_after_step": [round(share, 4) for share in budget.winner.setting.revealed],
        **_outcome(run.evaluator, budget),
    }


def _outcome(evaluator: Evaluator, budget: Budget) -> Record:
    """What the JSON and the schedule file both say of a budget's quality."""
    winner = budget.winner
    return {
        "nfe": winner.nfe,
        "metric": evaluator.metric.name,
        "direction": evaluator.metric.direction,
        **estimate_record(winner.estimate),
        "n": winner.count,
        "split": winner.use,
        "baselines": {name: estimate_record(scores.estimate) for name, scores in budget.baselines.items()},
        "gain_over_linear": estimate_record(budget.gain),
        "beats_linear": budget.beats_linear,
        "flags": [f"less-diverse:{figure}" for figure in budget.flags],
        "data": None if budget.data is None else estimate_record(budget.data.estimate),
        "diversity": _diversity({"winner": winner, "linear": budget.baselines["linear"], "data": budget.data}),
        "detectable_gain": budget.detectable,
    }


def _diversity(scores: dict[str, Scores | None]) -> Record | None:
    """By whom and figure, with intervals; None where the metric has no such figures."""
    found = {
        name: {figure: estimate_record(estimate(values)) for figure, values in each.diversity.items()}
        for name, each in scores.items()
        if each is not None
    }
    return found if any(found.values()) else None
