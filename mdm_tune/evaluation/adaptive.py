"""Adaptive policies, which reveal as many positions as the predictions allow, at the cost of a step budget."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut, quantity, shown_path
from mdm_tune.datasets.splits import Use
from mdm_tune.evaluation.cost_matching import MANY, Match, Scale, Stage, match_in_stages
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.filling import Rows
from mdm_tune.evaluation.scores import Cost
from mdm_tune.evaluation.settings import Setting, calls_in_advance
from mdm_tune.metrics.quality import ExactMetric
from mdm_tune.schedules.adaptive_names import AdaptiveName

__all__ = [
    "PILOT",
    "AdaptiveRequest",
    "base_setting",
    "calibrated",
    "check_adaptive",
    "check_metric",
    "check_sampler",
    "miss",
    "usual_fills",
    "usual_rows",
    "value_at_cost",
]

Calls = NDArray[np.float64]  # denoiser calls of each row
# Yields rows and about how many are still to be filled, these included; receives their calls, returns a policy's match.
Sweep = Generator[tuple[Rows, float], Calls, Match]

PILOT = 64  # tune examples on which the value of a policy is found
CLOSE = 0.01  # the largest relative distance from linear's calls, unless calls jump
STAGES = (Stage(examples=16, tries=12, tolerance=0.05), Stage(examples=PILOT, tries=5, tolerance=CLOSE, enough=CLOSE))
# Tries of the stages on average, and those that are left at least, on average, while a stage goes on. For 60 policies
# on the task model (5 kinds, 4 to 12 steps, 4 seeds) they were 5.9 (5.2 to 6.6) and 3.3 (2.8 to 3.8), for 25 policies
# on the text model (6 steps, 5 seeds) 6.4 (5.5 to 7.4) and 2.2 (1.6 to 2.8): 95 % intervals over the policies, at
# 1ca26dd.
USUAL = (6, 3)
LEFT = (3, 2.3)


@dataclass(frozen=True)
class AdaptiveRequest:
    """An adaptive policy at a step budget.

    Attributes:
        evaluator: The evaluator for the policy's block length.
        plan: The parsed name of the policy.
        steps: The step budget.
        setting_at: Returns a schedule's setting, from its name and steps.
    """

    evaluator: Evaluator
    plan: AdaptiveName
    steps: int
    setting_at: Callable[[str, int], Setting]

    @cached_property
    def base(self) -> Setting | None:
        """The setting whose counts a quota or a cap follows; None for other policies."""
        return base_setting(self.plan, self.steps, self.setting_at)

    @property
    def rows(self) -> int:
        """The rows on which its value is found."""
        return min(len(self.evaluator.split("tune").ids), PILOT)

    def at(self, value: float) -> Setting:
        """The setting of the policy; ``value`` is used if the policy has none."""
        return self.evaluator.adaptive_setting(self.plan.at(value, self.steps), self.steps, self.base)


def calibrated(
    requests: Sequence[AdaptiveRequest],
    use: Use,
    foresee: Callable[[float], None] = lambda rows: None,
    missed: Callable[[str], None] = lambda text: None,
) -> list[tuple[Measurement, Cost]]:
    """Find the value of each adaptive policy that has none, so that it costs what linear costs.

    The mean NFE at the value is that of linear on 64 tune examples, see ``value_at_cost``. It is below the budget if
    answers are short or end early. The counts of a quota without a threshold have twice the budget's steps, those of a
    cap half of them. Rows of all policies are filled together.

    Args:
        requests: The policies and their budgets.
        use: The split to measure on.
        foresee: Called with the denoiser rows that finding the values will still take, about.
        missed: Called with a sentence for each value whose calls are not within 1 % of linear's.

    Returns:
        For each policy the measurement to make, and the cost of finding its value.

    Raises:
        InputError: As in ``check_adaptive``, and if no value makes about as many calls as linear.
    """
    for request in requests:
        check_adaptive(request.evaluator, request.plan, request.steps, request.setting_at)
    sweeps = {place: _sweep(request) for place, request in enumerate(requests) if request.plan.value is None}
    found = _sweep_together(requests, sweeps, foresee)
    measurements = []
    for place, request in enumerate(requests):
        value, cost = request.plan.value or 0.0, Cost()
        if place in found:
            match, cost = found[place]
            value = match.value
            if (text := miss(match, request.plan, request.steps, request.rows)) is not None:
                missed(text)
        measurements.append((Measurement(request.at(value), request.evaluator.split(use)), cost))
    return measurements


def check_adaptive(
    evaluator: Evaluator, plan: AdaptiveName, steps: int, setting_at: Callable[[str, int], Setting]
) -> None:
    """Check that the metric and the sampler allow an adaptive policy, and that a quota or a cap has counts.

    Raises:
        InputError: If the metric draws no samples, if reveal is ancestral, if a user's own code draws the samples, or
            if a quota or a cap has no counts at this budget.
    """
    check_metric(evaluator, plan)
    check_sampler(evaluator, plan)
    base_setting(plan, steps, setting_at)


def check_metric(evaluator: Evaluator, plan: AdaptiveName, file: str | None = None) -> None:
    """Raise InputError if the metric draws no samples, by which an adaptive policy could decide.

    Args:
        evaluator: The evaluator.
        plan: The policy.
        file: The schedule file that holds it, for the message; None if the policy was named.
    """
    metric = evaluator.metric
    if isinstance(metric, ExactMetric) or metric.needs_originals:
        named = plan.name if file is None else f"{plan.name} of {cut(file)}"
        raise InputError(
            f"{named} decides by what is drawn, and metric {metric.name} draws nothing; choose a metric of samples"
        )


def check_sampler(evaluator: Evaluator, plan: AdaptiveName) -> None:
    """Raise InputError if the sampler cannot fill rows with an adaptive policy."""
    if (target := evaluator.sampler.section.target) is not None:
        raise InputError(
            f"sampler.target: {shown_path(target)} receives the number of tokens per step in advance, got the adaptive "
            f"policy {plan.name}, whose numbers depend on the predictions; leave it out, or set sampler.type to builtin"
        )
    if evaluator.sampler.bernoulli:
        raise InputError(
            f"{plan.name} decides how many positions each step reveals, and so does ancestral (bernoulli) reveal; set "
            "sampler.reveal to fixed"
        )
    drawing = evaluator.sampler.drawing
    if drawing.order == "random":
        raise InputError(
            f"{plan.name} reveals what the predictions are sure of, which has no meaning in random order; set "
            "sampler.order to confidence"
        )
    if drawing.order == "entropy" and plan.kind != "entropy-bound":
        raise InputError(
            f"{plan.name} compares probabilities with a threshold, got sampler.order 'entropy'; set it to confidence, "
            "top-probability or margin"
        )
    if drawing.confidence_temperature:
        raise InputError(
            f"{plan.name} reveals by confidence alone: sampler.confidence_temperature must be 0, got "
            f"{drawing.confidence_temperature:g}; leave it out"
        )


def base_setting(plan: AdaptiveName, steps: int, setting_at: Callable[[str, int], Setting]) -> Setting | None:
    """The setting whose counts a quota or a cap follows; None for other policies."""
    if plan.schedule is None:
        return None
    try:
        base = setting_at(plan.schedule, plan.steps_of_counts(steps))
    except InputError as error:
        if plan.value is not None or plan.counts_steps is not None:
            raise
        share = "twice" if plan.kind == "quota" else "half"
        raise InputError(
            f"{plan.name} needs counts of {share} the budget's {quantity(steps, 'step')} where no threshold is given: "
            f"{error}; or give one, as in {plan.name}@0.9, or other steps, as in {plan.name}#{steps}"
        ) from None
    if base.adaptive is not None:
        raise InputError(
            f"{plan.kind} keeps the counts of a schedule, and {cut(plan.schedule)} holds the adaptive policy "
            f"{base.adaptive.name}; name a schedule such as linear"
        )
    return base


def miss(match: Match, plan: AdaptiveName, steps: int, rows: int) -> str | None:
    """A sentence about a value whose calls are not those of linear.

    Args:
        match: What was found.
        plan: The policy.
        steps: The step budget.
        rows: The rows on which it was found.

    Returns:
        The sentence; None if the calls are within 1 % of linear's, or within one call of one row.
    """
    if abs(match.calls - match.target) <= max(CLOSE * match.target, 1 / rows):
        return None
    return (
        f"{plan.at(match.value, steps).name} makes {match.calls:.4g} calls in the mean where its value was found, and "
        f"linear makes {match.target:.4g}: {match.nearest}"
    )


def _sweep_together(
    requests: Sequence[AdaptiveRequest], sweeps: Mapping[int, Sweep], foresee: Callable[[float], None]
) -> dict[int, tuple[Match, Cost]]:
    """Run sweeps side by side, so that the rows they need next are filled together.

    Returns:
        The match and the cost of each sweep, by the place of its request.
    """
    matches: dict[int, tuple[Match, Cost]] = {}
    costs = dict.fromkeys(sweeps, Cost())
    wanted = {place: next(sweep) for place, sweep in sweeps.items()}
    while wanted:
        began = time.monotonic()
        results = requests[next(iter(wanted))].evaluator.fill_each([rows for rows, _ in wanted.values()])
        filled = dict(zip(list(wanted), results, strict=True))
        for place, result in filled.items():
            seconds, began = time.monotonic() - began, time.monotonic()
            costs[place] += Cost(result.denoiser_rows, result.denoiser_tokens, seconds)
            try:
                wanted[place] = sweeps[place].send(result.nfe.double().numpy())
            except StopIteration as end:
                matches[place] = end.value, costs[place]
                del wanted[place]
        going_on = [(requests[place], fills) for place, (_, fills) in wanted.items()]
        foresee(sum(_rows_of(request.evaluator, request.steps, fills) for request, fills in going_on))
    return matches


def usual_rows(evaluator: Evaluator, steps: int) -> float:
    """The denoiser rows that finding the value of a policy takes on average, for progress.

    Args:
        evaluator: The evaluator.
        steps: The step budget.
    """
    if evaluator.exact:
        return 0.0
    whole = min(len(evaluator.split("tune").ids), PILOT)
    return _rows_of(evaluator, steps, usual_fills(whole) + whole * evaluator.sampler.section.stop_at_end)


def _rows_of(evaluator: Evaluator, steps: int, fills: float) -> float:
    """The denoiser rows of filling so many rows in the steps of a budget."""
    forwards: int = getattr(evaluator.denoiser, "forwards", 1)
    return float(forwards * steps * fills)


def usual_fills(whole: int, examples: int = 0, tries: int = 0) -> float:
    """The rows that finding the value of a policy still fills on average, at the calls of the budget each.

    Args:
        whole: The examples of the last stage.
        examples: The examples of the present stage; those of the first by default.
        tries: The values that were tried on them so far.
    """
    few, most = (min(whole, stage.examples) for stage in STAGES)
    first, last = (max(usual - tries, left) for usual, left in zip(USUAL, LEFT, strict=True))
    if examples > few:
        return last * most - few * (tries == 0)  # the first value was tried on a part of them
    return first * few + USUAL[1] * most - few


def _sweep(request: AdaptiveRequest) -> Sweep:
    """Find the value at which the policy makes as many calls as linear, on the first tune examples."""
    evaluator = request.evaluator
    pilot = evaluator.split("tune").shuffled().first(PILOT)

    def rows_at(value: float) -> Rows:
        return Rows([request.at(value)], pilot.start, pilot.seeds)

    linear = request.setting_at("linear", request.steps)
    calls = calls_in_advance(linear, pilot.hidden.sum(1), evaluator.sampler)
    return value_at_cost(Rows([linear], pilot.start, pilot.seeds), calls, rows_at, request.plan)


def value_at_cost(linear: Rows, calls: Calls | None, rows_at: Callable[[float], Rows], plan: AdaptiveName) -> Sweep:
    """Find the value of a policy at which its mean NFE is that of linear, within 1 % unless its calls jump.

    The value is looked for on 16 rows first, and then on all, see ``match_in_stages``. Rows with a value are left
    unfinished once they make more than ``MANY`` times linear's calls, unless it is the boldest, whose calls a message
    may tell. Of a value that was not left so, no row is filled twice.

    Args:
        linear: The rows with linear's plan.
        calls: Linear's calls of each row; None if the rows must be filled to know them.
        rows_at: Returns the rows with the policy at a value.
        plan: The policy.

    Yields:
        Rows to fill, and about how many are still to be filled, these included; ``send`` the calls of each.

    Returns:
        The match on all rows, which is reached.

    Raises:
        InputError: If no value makes about as many calls as linear.
    """
    whole, known, steps = len(linear.seeds), dict[float, Calls](), linear.settings[0].steps
    if calls is None:
        calls = yield linear, whole + usual_fills(whole)
    stages, scale = [replace(stage, examples=min(whole, stage.examples)) for stage in STAGES], Scale(plan)
    boldest = scale.value(scale.ends[0])
    search = match_in_stages(lambda examples: float(calls[:examples].mean()), stages, scale)
    value, examples = next(search)
    tries = Counter[int]()  # of each stage, by its examples
    while True:
        made, most = known.get(value, np.empty(0)), math.inf if value == boldest else MANY * calls[:examples].sum()
        if len(made) < examples:
            rows, part = rows_at(value), slice(len(made), examples)
            rows = replace(rows, start=rows.start[part], seeds=rows.seeds[part], most_calls=most - made.sum())
            made = np.concatenate([made, (yield rows, usual_fills(whole, examples, tries[examples]))])
            tries[examples] += 1
        if made.sum() <= most:
            known[value] = made
        try:
            value, examples = search.send(float(made.mean()) if made.sum() <= most else math.inf)
        except StopIteration as end:
            match: Match = end.value
            break
    if (why := match.unreachable(steps)) is None:
        return match
    larger = f", or a larger KL divergence, as in klass:{10 * plan.kl:g}" if plan.kl else ""
    raise InputError(
        f"{plan.name} {why}; choose another number of steps, or give a value, as in {plan.at(match.value, steps).name}"
        f"{larger}"
    )
