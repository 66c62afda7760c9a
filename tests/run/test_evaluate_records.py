"""The rows and comparisons of evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

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
