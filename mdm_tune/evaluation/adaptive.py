"""Adaptive plans, which reveal as many positions as the predictions allow, at the cost of a step budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import quantity
from mdm_tune.datasets.splits import Split, Use
from mdm_tune.evaluation.cost_matching import matching_cost
from mdm_tune.evaluation.evaluator import Cost, Evaluator, Measurement
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.settings import Sampler, Setting, plan_of
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, CountPlan, EntropyBoundPlan, QuotaPlan, ThresholdPlan
from mdm_tune.schedules.adaptive_names import AdaptiveName

__all__ = ["PILOT", "QUOTA_STEPS", "AdaptiveRequest", "adaptive_rows", "calibrated", "check_adaptive", "value_at_cost"]

Sweep = Generator[list[Rows], list[float], float]  # yields rows, receives their mean NFEs, returns a plan's value

QUOTA_STEPS = 2  # steps of a quota whose threshold is not given, as a multiple of the budget
PILOT = 64  # tune examples of a sweep


@dataclass(frozen=True)
class AdaptiveRequest:
    """An adaptive plan at a step budget.

    Attributes:
        evaluator: The evaluator for the plan's block length.
        plan: The parsed name of the plan.
        steps: The step budget.
        setting_at: Returns a schedule's setting, from its name and steps.
    """

    evaluator: Evaluator
    plan: AdaptiveName
    steps: int
    setting_at: Callable[[str, int], Setting]

    @property
    def quota(self) -> Setting | None:
        """The setting whose counts a quota follows; None for other plans."""
        return _quota_setting(self.plan, self.steps, self.setting_at)


def calibrated(requests: Sequence[AdaptiveRequest], use: Use) -> list[tuple[Measurement, Cost]]:
    """Find the value of each adaptive plan that has none, so that it costs what linear costs.

    The value is the one whose mean NFE on 64 tune examples is closest to linear's NFE there. That NFE is below the
    budget if answers are short or end early. A quota without a threshold gets twice the budget's steps. Rows of all
    plans are filled together.

    Args:
        requests: The plans and their budgets.
        use: The split to measure on.

    Returns:
        For each plan the measurement to make, and the cost of finding its value.

    Raises:
        InputError: As in ``check_adaptive``, and if no value reaches the cost of linear.
    """
    for request in requests:
        check_adaptive(request.evaluator, request.plan, request.steps, request.setting_at)
    sweeps = {place: _sweep(request) for place, request in enumerate(requests) if request.plan.value is None}
    values = {place: (request.plan.value, Cost()) for place, request in enumerate(requests)}
    values |= _sweep_together(requests, sweeps)
    measurements = []
    for place, request in enumerate(requests):
        value, cost = values[place]
        assert value is not None
        plan, quota, evaluator = request.plan, request.quota, request.evaluator
        size = evaluator.block_length if quota is None else quota.block_length
        setting = Setting(
            plan.with_value(value), request.steps, evaluator.length, block_length=size, says_blocks=evaluator.several
        )
        rows = _rows(request, value, evaluator.split(use))
        measurements.append(
            (Measurement(setting=setting, split=evaluator.split(use), plan=rows.plan, drawing=rows.drawing), cost)
        )
    return measurements


def check_adaptive(
    evaluator: Evaluator, plan: AdaptiveName, steps: int, setting_at: Callable[[str, int], Setting]
) -> None:
    """Check that the metric and the sampler allow an adaptive plan, and that a quota has counts.

    Raises:
        InputError: If the metric draws no samples, if reveal is ancestral, or if a quota has no counts at this budget.
    """
    metric = evaluator.metric
    if isinstance(metric, ExactMetric) or metric.needs_originals:
        raise InputError(
            f"{plan.name} decides by what is drawn, and metric {metric.name} draws nothing; choose a metric of samples"
        )
    if evaluator.sampler.bernoulli:
        raise InputError(
            f"{plan.name} decides how many positions each step reveals, and so does ancestral (bernoulli) reveal; set "
            "sampler.reveal to fixed"
        )
    _quota_setting(plan, steps, setting_at)


def _quota_setting(plan: AdaptiveName, steps: int, setting_at: Callable[[str, int], Setting]) -> Setting | None:
    """The setting whose counts a quota follows; None for other plans."""
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


def _sweep_together(
    requests: Sequence[AdaptiveRequest], sweeps: Mapping[int, Sweep]
) -> dict[int, tuple[float | None, Cost]]:
    """Run sweeps side by side, so that the rows they need next are filled together.

    Returns:
        The value and the cost of each sweep, by the place of its request.
    """
    values: dict[int, tuple[float | None, Cost]] = {}
    wanted, costs = {place: next(sweep) for place, sweep in sweeps.items()}, dict.fromkeys(sweeps, Cost())
    while wanted:
        began = time.monotonic()
        evaluator = requests[next(iter(wanted))].evaluator
        results = evaluator.fill_each([rows for rows_of_sweep in wanted.values() for rows in rows_of_sweep])
        nfes_by_place: dict[int, list[float]] = {}
        for place, rows_of_sweep in wanted.items():
            for result in islice(results, len(rows_of_sweep)):
                seconds, began = time.monotonic() - began, time.monotonic()
                costs[place] += Cost(result.denoiser_rows, result.denoiser_tokens, seconds)
                nfes_by_place.setdefault(place, []).append(float(result.nfe.double().mean()))
        for place, nfes in nfes_by_place.items():
            try:
                wanted[place] = sweeps[place].send(nfes)
            except StopIteration as end:
                values[place] = end.value, costs[place]
                del wanted[place]
            except InputError as error:
                request = requests[place]
                raise InputError(f"{request.plan.name} at {quantity(request.steps, 'step')}: {error}") from None
    return values


def _sweep(request: AdaptiveRequest) -> Sweep:
    """Find the value at which the plan makes as many calls as linear, on the first tune examples."""
    pilot = request.evaluator.split("tune").shuffled().first(PILOT)
    linear = Rows([request.setting_at("linear", request.steps)], pilot.start, pilot.seeds)
    return value_at_cost(linear, partial(_rows, request, split=pilot), request.plan.range)


def value_at_cost(linear: Rows, rows_at: Callable[[float], Rows], ends: tuple[float, float]) -> Sweep:
    """Find the value of a plan at which its mean NFE is closest to that of linear.

    Args:
        linear: The rows with linear's plan.
        rows_at: Returns the rows with the plan at a value.
        ends: The smallest and the largest value.

    Yields:
        Rows to fill; ``send`` their mean NFEs.

    Returns:
        The value.

    Raises:
        InputError: If no value reaches the cost of linear.
    """
    target, *nfes = yield [linear, *map(rows_at, ends)]
    bisection = matching_cost(target, *ends)
    next(bisection)  # yields the ends, whose NFEs are known
    while True:
        try:
            values = bisection.send(nfes)
        except StopIteration as end:
            return float(end.value)
        nfes = yield [rows_at(value) for value in values]


def _rows(request: AdaptiveRequest, value: float, split: Split) -> Rows:
    """The split's rows, with the plan at this value."""
    evaluator = request.evaluator
    blocks = request.quota or Setting("", request.steps, evaluator.length, block_length=evaluator.block_length)
    return adaptive_rows(request.plan, value, split, evaluator.sampler, blocks)


def adaptive_rows(plan: AdaptiveName, value: float, split: Split, sampler: Sampler, blocks: Setting) -> Rows:
    """The rows of a split, with an adaptive plan.

    Args:
        plan: The parsed name of the plan.
        value: Its threshold or bound.
        split: The rows.
        sampler: How tokens are drawn. If its order does not fit the plan, positions are ranked by another.
        blocks: Gives the blocks and, for a quota, the counts.
    """
    values = torch.full((len(split.ids),), value, dtype=torch.float64)
    adaptive_plan: AdaptivePlan
    if plan.kind == "quota":
        counts = plan_of([blocks], split.hidden.sum(1), sampler)
        assert isinstance(counts, CountPlan)  # ``check_adaptive`` refuses ancestral reveal
        adaptive_plan = QuotaPlan(counts.counts, values)
    else:
        adaptive_plan = ThresholdPlan(values) if plan.kind == "threshold" else EntropyBoundPlan(values)
    drawing = _drawing(plan, sampler.drawing)
    return Rows([blocks], split.start, split.seeds, plan=adaptive_plan, drawing=drawing)


def _drawing(plan: AdaptiveName, drawing: Drawing) -> Drawing:
    """The drawing with an order that ranks positions, which the plan needs."""
    if plan.kind == "entropy-bound":
        return replace(drawing, order="entropy", confidence_temperature=0.0)
    ranks = drawing.order in ("confidence", "top-probability", "margin")
    return replace(drawing, order=drawing.order if ranks else "confidence", confidence_temperature=0.0)
