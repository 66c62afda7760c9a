"""The parameter of a sampler that costs what another sampler costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.evaluation.cost_matching import Match, Scale, Stage, calls_to_match, match_in_stages, matching_cost
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, EntropyBoundPlan, ThresholdPlan
from mdm_tune.schedules.adaptive_names import parse_adaptive
from tests.sampling.test_plans import each, sampled


def mean_nfe(made: Callable[[Tensor], AdaptivePlan], order: Any, rows: int, value: float) -> float:
    return float(sampled(Drawing(order), made(each(value, rows)), None, rows).nfe.double().mean())


def sweep(nfe_of: Callable[[float], float], target: float, low: float, high: float, **options: Any) -> float:
    """What ``matching_cost`` finds where it is answered by a function."""
    asking = matching_cost(target, low, high, **options)
    values = next(asking)
    while True:
        try:
            values = asking.send([nfe_of(value) for value in values])
        except StopIteration as end:
            return float(end.value)


@pytest.mark.parametrize(
    ("made", "order", "high"), [(ThresholdPlan, "confidence", 1.0), (EntropyBoundPlan, "entropy", 4.0)]
)
def test_a_sweep_finds_the_parameter_of_a_budget(made: Any, order: Any, high: float) -> None:
    """A threshold costs more the higher it is, an entropy bound less."""
    nfe_of = partial(mean_nfe, made, order, 2000)
    found = sweep(nfe_of, 2.0, 0.0, high, tolerance=0.02)
    grid = [abs(nfe_of(value) - 2.0) for value in np.linspace(0, high, 21)]
    assert abs(nfe_of(found) - 2.0) <= max(0.04, min(grid) + 1e-9)


def test_the_calls_that_are_left_are_foreseen() -> None:
    """Where the NFE follows the value smoothly, each try halves what is missing; a jump ends after the last try."""
    for target in (3.3, 7.1, 17.9):
        asked: list[float] = []
        sweep(lambda value, asked=asked: asked.append(value) or value, target, 1.0, 64.0)  # type: ignore[misc]
        ratios = [calls_to_match(target, *asked[:at]) / sum(asked[at:]) for at in range(2, len(asked) - 1)]
        assert np.median(ratios) == pytest.approx(1, abs=0.5)
    assert calls_to_match(4.0, *[3.0, 8.0] * 8) == 0
    assert calls_to_match(4.0, *[3.0, 8.0] * 7) == pytest.approx(2 * 4.0 + 4.0 * 2 / 3 + 4.0 * 4 / 9)
    assert calls_to_match(4.0, *[3.0] * 12, 8.0, 6.0) == pytest.approx(2 * 4.0 + 2.0 / 2 + 2.0 / 4)
    assert calls_to_match(4.0, 4.0) == 4.0  # one more at least, while it goes on


def test_a_sweep_asks_rarely_and_keeps_the_closest() -> None:
    asked: list[float] = []

    def steps(value: float) -> float:
        asked.append(value)
        return 3.0 if value < 0.3 else 8.0

    found = sweep(steps, 4.0, 0.0, 1.0, tries=10)
    assert len(asked) == 10 and steps(found) == 3.0 and found < 0.3
    assert sweep(steps, 7.0, 0.0, 1.0) >= 0.3
    asked.clear()
    assert sweep(steps, 8.0, 0.0, 1.0) == 1.0 and len(asked) == 2
    assert sweep(lambda x: 10 - x, 3.0, 0.0, 10.0, tolerance=1e-6, tries=60) == pytest.approx(7.0, abs=1e-5)
    assert sweep(lambda x: 1.0 + (x > 0), 1.4, 0.0, 5e-324, tries=60) == 0.0  # no number lies between the two


@pytest.mark.parametrize(
    ("target", "low", "high", "message"),
    [
        (9.0, 0.0, 1.0, r"9 is out of reach: it is 3 at 0 and 8 at 1"),
        (2.9, 0.0, 1.0, "out of reach"),
        (4.0, 1.0, 1.0, "low < high"),
        (0.0, 0.0, 1.0, "a target above 0"),
    ],
)
def test_a_sweep_that_cannot_be(target: float, low: float, high: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep(lambda value: 3.0 + 5.0 * value, target, low, high)


def staged(
    calls_at: Callable[[float, int], float], plan: str, target: float, guess: float | None = None
) -> tuple[Match, list[tuple[float, int]]]:
    """What ``match_in_stages`` finds where it is answered by a function, and what it asked."""
    named = parse_adaptive(plan)
    assert named is not None
    stages = (Stage(16, 8, 0.05), Stage(64, 3, 0.02))
    asking = match_in_stages(lambda examples: target, stages, Scale(named), guess)
    asked = [next(asking)]
    while True:
        try:
            asked.append(asking.send(calls_at(*asked[-1])))
        except StopIteration as end:
            return end.value, asked


@pytest.mark.parametrize("plan", ["threshold", "quota:linear", "entropy-bound"])
@pytest.mark.parametrize("target", [2.0, 5.0, 13.0, 31.0])
@pytest.mark.parametrize("guess", [None, 0.3, 0.999])
def test_stages_meet_the_calls_of_a_smooth_plan(plan: str, target: float, guess: float | None) -> None:
    """The calls grow from 1 to 32 with the place on the scale; the few examples of the first stage are off by 7 %."""
    bold = plan == "entropy-bound"

    def calls_at(value: float, examples: int) -> float:
        caution = (1 / (1 + value)) if bold else value
        return float(1 + 31 * caution**6) * (1.07 if examples == 16 else 1.0)

    match, asked = staged(calls_at, plan, target, guess)
    assert match.reached and abs(match.calls - target) <= 0.05 * target
    assert match.calls == calls_at(match.value, 64)
    assert [examples for _, examples in asked] == sorted(examples for _, examples in asked)
    assert len(asked) <= 11 and sum(examples == 64 for _, examples in asked) <= 3


def test_of_calls_that_jump_the_smaller_is_taken() -> None:
    """The calls are 6 below a threshold of 0.8 and 8.4 above: 6.3 is met by 6, and 7.2 by neither within a tenth."""

    def calls_at(value: float, examples: int) -> float:
        return 6.0 if value < 0.8 else 8.4

    low, _ = staged(calls_at, "threshold", 6.3)
    assert low.reached and low.calls == 6.0 and low.value < 0.8
    neither, _ = staged(calls_at, "threshold", 7.2)
    assert not neither.reached and neither.calls == 6.0 and set(neither.tried.values()) <= {6.0, 8.4}


@pytest.mark.parametrize(("calls", "target"), [(4.0, 8.0), (16.0, 8.0)])
def test_calls_out_of_reach_are_not_met(calls: float, target: float) -> None:
    match, asked = staged(lambda value, examples: calls, "threshold", target)
    assert not match.reached and match.calls == calls
    ends = {1.0} if calls < target else {0.0}
    assert ends <= {value for value, _ in asked}


@pytest.mark.parametrize("plan", ["threshold", "entropy-bound", "cap:linear", "klass"])
def test_a_scale_and_its_places_are_inverse(plan: str) -> None:
    named = parse_adaptive(plan)
    assert named is not None
    scale = Scale(named)
    low, high = scale.ends
    places = np.linspace(low, high, 60)
    values = [scale.value(place) for place in places]
    cautious = np.diff(values) <= 0 if plan == "entropy-bound" else np.diff(values) >= 0
    assert cautious.all() and values[-1] == (0.0 if plan == "entropy-bound" else 1.0)
    for value in values:
        assert scale.value(scale.place(value)) == pytest.approx(value, rel=1e-3, abs=1e-6)
        assert named.at(value).value == pytest.approx(value, rel=1e-3, abs=1e-6)
