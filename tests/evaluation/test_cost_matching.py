"""The parameter of a sampler that costs what another sampler costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.evaluation.cost_matching import calls_to_match, matching_cost
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import AdaptivePlan, EntropyBoundPlan, ThresholdPlan
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
    assert calls_to_match(4.0, *[3.0, 8.0] * 7) == 2 * 4.0 + 4.0 / 2 + 4.0 / 4
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
