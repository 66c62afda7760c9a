"""The rows and comparisons of evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.statistics import Estimate
from mdm_tune.run.evaluate_records import ComparisonRecord
from tests.support.profile_runs import (
    config,
    evaluate,
)


def test_the_optimum_of_a_measured_profile_is_compared_with_intervals(tmp_path: Path) -> None:
    record = evaluate(config(tmp_path, sampler__reveal="bernoulli"), (), (4,))
    linear, optimum = record["rows"]
    assert (optimum["schedule"], optimum["n"], optimum["counts"]) == ("optimum", 10, None)
    assert optimum["alphas"][0] == 0 and optimum["alphas"][-1] == 1 and len(optimum["alphas"]) == 5
    (pair,) = record["comparisons"]
    assert pair["difference"] == pytest.approx(linear["value"] - optimum["value"])
    assert pair["ci"][0] <= pair["difference"] <= pair["ci"][1]


def test_a_difference_is_read_from_both_sides() -> None:
    difference = Estimate(-0.25, (-0.5, 0.125), 20)
    pair = ComparisonRecord(first="linear", second="sine", steps=4, difference=difference)
    assert pair.minus("linear") == ("sine", Estimate(0.25, (-0.125, 0.5), 20))
    assert pair.minus("sine") == ("linear", difference) and pair.minus("llada") is None
    assert pair.to_json() == {
        "first": "linear",
        "second": "sine",
        "steps": 4,
        "difference": -0.25,
        "ci": [-0.5, 0.125],
        "no_interval": None,
        "independent": 20,
        "calls_ratio": 1.0,
        "equal_cost": True,
    }
    for ratio, equal in ((1.03, False), (0.97, False), (1.01, True)):
        record = ComparisonRecord(first="linear", second="sine", steps=4, difference=difference, calls_ratio=ratio)
        assert record.to_json()["equal_cost"] == equal
