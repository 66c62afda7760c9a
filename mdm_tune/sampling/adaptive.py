"""Adaptive plans beside schedules: as many positions as the predictions allow, at the cost of a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from mdm_tune.datasets.splits import Split, Use
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost, Evaluator, Scores
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.sampling.adaptive_names import Adaptive
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, CountPlan, EntropyBoundPlan, QuotaPlan, ThresholdPlan
from mdm_tune.sampling.sweeping import sweep
from mdm_tune.sampling.unmasking import Unmasked, unmask
from mdm_tune.settings import Setting, plan_of

__all__ = ["check_adaptive", "score_adaptive"]

QUOTA_STEPS = 2  # times the budget, that a quota has whose threshold is swept to the budget's calls
SWEPT = 64  # tune examples that a sweep looks at


def score_adaptive(
    evaluator: Evaluator, plan: Adaptive, steps: int, setting_at: Callable[[str, int], Setting], use: Use
) -> Scores:
    """Scores of an adaptive plan on a split; ``nfe`` and ``calls`` say what it really cost.

    steps: the budget. A plan without a value gets the one whose mean NFE on some tune examples is closest to what
    linear takes there, which is less than ``steps`` where answers end early or are short; the search for it is part of
    the cost. setting_at: a schedule's setting by name and steps, for a quota; without a threshold of its own it has
    twice the budget's steps.

    Raises InputError as ``check_adaptive``, and where no value reaches the budget.
    """
    check_adaptive(evaluator, plan, steps, setting_at)
    metric = evaluator.metric
    assert not isinstance(metric, ExactMetric)
    began, spent = time.monotonic(), Cost()
    value, quota = plan.value, _quota(plan, steps, setting_at)
    if value is None:
        try:
            value, spent = _swept(evaluator, plan, quota, setting_at("linear", steps))
        except InputError as error:
            raise InputError(f"{plan.name} at {steps} steps: {error}") from None
    split = evaluator.split(use)
    result = _filled(evaluator, plan, value, quota, split)
    values = metric.values(result, split)
    spent += Cost(result.denoiser_rows, result.denoiser_tokens, time.monotonic() - began)
    label = plan.name if plan.value is not None else f"{plan.name}{'@' if quota else ':'}{value:.4g}"
    size = evaluator.sampler.block_length if quota is None else quota.block_length
    return Scores(
        Setting(evaluator.labelled(label, size), steps, evaluator.length, block_length=size),
        evaluator.estimated(values, split),
        float(result.nfe.double().mean()),
        spent,
        use,
        values,
        result.tokens,
        metric.diversity(result.tokens, split),
        result.nfe.double().cpu().numpy(),
        split.shared,
        metric.bounds,
    )


def check_adaptive(evaluator: Evaluator, plan: Adaptive, steps: int, setting_at: Callable[[str, int], Setting]) -> None:
    """Raise InputError for metrics and samplers that know no such plan, and for a quota without counts."""
    metric = evaluator.metric
    if isinstance(metric, ExactMetric) or metric.reference:
        raise InputError(
            f"{plan.name} decides by what is drawn, and metric {metric.name} draws nothing; choose a metric of samples"
        )
    if evaluator.sampler.bernoulli:
        raise InputError(
            f"{plan.name} decides how many positions each step reveals, and so does ancestral (bernoulli) reveal; set "
            "sampler.reveal to fixed"
        )
    _quota(plan, steps, setting_at)


def _quota(plan: Adaptive, steps: int, setting_at: Callable[[str, int], Setting]) -> Setting | None:
    """The counts that a quota keeps; None for other plans."""
    if plan.schedule is None:
        return None
    try:
        return setting_at(plan.schedule, steps if plan.value is not None else QUOTA_STEPS * steps)
    except InputError as error:
        if plan.value is not None:
            raise
        raise InputError(
            f"{plan.name} needs counts of twice the budget's {steps} steps where no threshold is given: {error}; or "
            f"give one, as in {plan.name}@0.9"
        ) from None


def _swept(evaluator: Evaluator, plan: Adaptive, quota: Setting | None, linear: Setting) -> tuple[float, Cost]:
    """The value at which the plan takes as many calls as linear, on the first tune examples, and what that cost."""
    pilot, spent = evaluator.split("tune").shuffled().first(SWEPT), Cost()

    def calls_of(found: Unmasked) -> float:
        nonlocal spent
        spent += Cost(found.denoiser_rows, found.denoiser_tokens)
        return float(found.nfe.double().mean())

    target = calls_of(evaluator.fill([linear], pilot.start, pilot.seeds))
    return sweep(lambda value: calls_of(_filled(evaluator, plan, value, quota, pilot)), target, *plan.range), spent


def _filled(evaluator: Evaluator, plan: Adaptive, value: float, quota: Setting | None, split: Split) -> Unmasked:
    """The split's rows filled by the plan at this value."""
    sampler, sizes = evaluator.sampler, split.hidden.sum(1)
    every = torch.full((len(split.ids),), value, dtype=torch.float64)
    chosen: AdaptivePlan
    if quota is not None:
        counts = plan_of([quota], sizes, sampler)
        assert isinstance(counts, CountPlan)  # ``check_adaptive`` refuses ancestral reveal
        chosen = QuotaPlan(counts.counts, every)
    else:
        chosen = ThresholdPlan(every) if plan.kind == "threshold" else EntropyBoundPlan(every)
    fill = evaluator.unmask or partial(unmask, evaluator.denoiser)
    size = sampler.block_length if quota is None else quota.block_length
    return fill(
        split.start,
        chosen,
        seeds=split.seeds,
        drawing=_drawing(plan, sampler.drawing),
        blocks=None if size is None else (split.hidden.cumsum(1) - 1) // size,
        batch=sampler.batch,
        reference=None,
    )


def _drawing(plan: Adaptive, given: Drawing) -> Drawing:
    """The drawing with an order that the plan can look at, where the given one is none."""
    if plan.kind == "entropy-bound":
        return replace(given, order="entropy", confidence_temperature=0.0)
    ranks = given.order in ("confidence", "top-probability", "margin")
    return replace(given, order=given.order if ranks else "confidence", confidence_temperature=0.0)
