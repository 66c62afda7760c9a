"""Adaptive plans beside schedules: as many positions as the predictions allow, at the cost of a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.datasets.splits import Split, Use
from mdm_tune.evaluation.cost_matching import matching_cost
from mdm_tune.evaluation.evaluator import Cost, Evaluator, Measurement
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Setting, plan_of
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, CountPlan, EntropyBoundPlan, QuotaPlan, ThresholdPlan
from mdm_tune.schedules.adaptive_names import AdaptiveName

__all__ = ["AdaptiveRequest", "calibrated", "check_adaptive"]

Search = Generator[list[Rows], list[float], float]  # asks for the mean NFE of rows

QUOTA_STEPS = 2  # times the budget, that a quota has whose threshold is swept to the budget's calls
SWEPT = 64  # tune examples that a sweep looks at


@dataclass(frozen=True)
class AdaptiveRequest:
    """An adaptive plan at a budget. evaluator: for its blocks. setting_at: a schedule's setting by name and steps."""

    evaluator: Evaluator
    plan: AdaptiveName
    steps: int
    setting_at: Callable[[str, int], Setting]

    @property
    def quota(self) -> Setting | None:
        """The counts that a quota keeps; None for other plans."""
        return _quota(self.plan, self.steps, self.setting_at)


def calibrated(asked: Sequence[AdaptiveRequest], use: Use) -> list[tuple[Measurement, Cost]]:
    """What measures each plan on a split, and what finding its value cost.

    A plan without a value gets the one whose mean NFE on some tune examples is closest to what linear takes there,
    which is less than the budget where answers end early or are short. A quota without a threshold of its own has twice
    the budget's steps. Values of several plans are looked for side by side.

    Raises InputError as ``check_adaptive``, and where no value reaches the budget.
    """
    for each in asked:
        check_adaptive(each.evaluator, each.plan, each.steps, each.setting_at)
    works = {place: _swept(each) for place, each in enumerate(asked) if each.plan.value is None}
    values = {place: (each.plan.value, Cost()) for place, each in enumerate(asked)} | _in_step(asked, works)
    found = []
    for place, each in enumerate(asked):
        value, spent = values[place]
        assert value is not None
        plan, quota, evaluator = each.plan, each.quota, each.evaluator
        name = plan.name if plan.value is not None else f"{plan.name}{'@' if quota else ':'}{value:.4g}"
        size = evaluator.block_length if quota is None else quota.block_length
        setting = Setting(name, each.steps, evaluator.length, block_length=size, says_blocks=evaluator.several)
        rows = _rows(each, value, evaluator.split(use))
        found.append(
            (Measurement(setting=setting, split=evaluator.split(use), plan=rows.plan, drawing=rows.drawing), spent)
        )
    return found


def check_adaptive(
    evaluator: Evaluator, plan: AdaptiveName, steps: int, setting_at: Callable[[str, int], Setting]
) -> None:
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


def _quota(plan: AdaptiveName, steps: int, setting_at: Callable[[str, int], Setting]) -> Setting | None:
    """The counts that a quota keeps; None for other plans."""
    if plan.schedule is None:
        return None
    try:
        return setting_at(plan.schedule, steps if plan.value is not None else QUOTA_STEPS * steps)
    except InputError as error:
        if plan.value is not None:
            raise
        raise InputError(
            f"{plan.name} needs counts of twice the budget's {quantity(steps, 'step')} where no threshold is given: "
            f"{error}; or "
            f"give one, as in {plan.name}@0.9"
        ) from None


def _in_step(asked: Sequence[AdaptiveRequest], works: Mapping[int, Search]) -> dict[int, tuple[float | None, Cost]]:
    """What each search finds, by its place; the rows that all of them ask for next are filled together."""
    found: dict[int, tuple[float | None, Cost]] = {}
    wanted, spent = {place: next(work) for place, work in works.items()}, dict.fromkeys(works, Cost())
    while wanted:
        began = time.monotonic()
        results = asked[next(iter(wanted))].evaluator.fill_each([rows for each in wanted.values() for rows in each])
        answers: dict[int, list[float]] = {}
        for place, each in wanted.items():
            for result in islice(results, len(each)):
                seconds, began = time.monotonic() - began, time.monotonic()
                spent[place] += Cost(result.denoiser_rows, result.denoiser_tokens, seconds)
                answers.setdefault(place, []).append(float(result.nfe.double().mean()))
        for place, nfes in answers.items():
            try:
                wanted[place] = works[place].send(nfes)
            except StopIteration as end:
                found[place] = end.value, spent[place]
                del wanted[place]
            except InputError as error:
                raise InputError(
                    f"{asked[place].plan.name} at {quantity(asked[place].steps, 'step')}: {error}"
                ) from None
    return found


def _swept(asked: AdaptiveRequest) -> Search:
    """The value at which the plan takes as many calls as linear, on the first tune examples."""
    pilot, (low, high) = asked.evaluator.split("tune").shuffled().first(SWEPT), asked.plan.range
    linear = asked.setting_at("linear", asked.steps)
    ends = [_rows(asked, value, pilot) for value in (low, high)]
    target, *nfes = yield [Rows([linear], pilot.start, pilot.seeds), *ends]
    sweep = matching_cost(target, low, high)
    next(sweep)  # asks for the ends
    while True:
        try:
            values = sweep.send(nfes)
        except StopIteration as end:
            return float(end.value)
        nfes = yield [_rows(asked, value, pilot) for value in values]


def _rows(asked: AdaptiveRequest, value: float, split: Split) -> Rows:
    """The split's rows, to be filled by the plan at this value."""
    sampler, quota, sizes = asked.evaluator.sampler, asked.quota, split.hidden.sum(1)
    every = torch.full((len(split.ids),), value, dtype=torch.float64)
    chosen: AdaptivePlan
    if quota is not None:
        counts = plan_of([quota], sizes, sampler)
        assert isinstance(counts, CountPlan)  # ``check_adaptive`` refuses ancestral reveal
        chosen = QuotaPlan(counts.counts, every)
    else:
        chosen = ThresholdPlan(every) if asked.plan.kind == "threshold" else EntropyBoundPlan(every)
    size = asked.evaluator.block_length if quota is None else quota.block_length
    setting = Setting(asked.plan.name, asked.steps, asked.evaluator.length, block_length=size)
    return Rows(
        settings=[setting],
        start=split.start,
        seeds=split.seeds,
        reference=None,
        plan=chosen,
        drawing=_drawing(asked.plan, sampler.drawing),
    )


def _drawing(plan: AdaptiveName, given: Drawing) -> Drawing:
    """The drawing with an order that the plan can look at, where the given one is none."""
    if plan.kind == "entropy-bound":
        return replace(given, order="entropy", confidence_temperature=0.0)
    ranks = given.order in ("confidence", "top-probability", "margin")
    return replace(given, order=given.order if ranks else "confidence", confidence_temperature=0.0)
