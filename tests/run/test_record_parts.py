"""The parts that the records of several commands share."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mdm_tune.core.statistics import Estimate, estimate
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.record_parts import CallsRecord, PlanRecord, WarningRecord
from mdm_tune.schedules.adaptive_names import parse_adaptive


def test_a_plan_says_the_length_of_its_blocks_where_it_has_counts() -> None:
    whole = PlanRecord.of(Setting("linear", 2, 8, counts=(4, 4)))
    assert whole == PlanRecord(block_length=8, counts=(4, 4), alphas=None) and whole.blocks == 1
    blocks = PlanRecord.of(Setting("linear", 2, 8, counts=(4, 4), block_length=4))
    assert blocks.blocks == 2 and blocks.to_json() == {
        "block_length": 4,
        "counts": [4, 4],
        "alphas": None,
        "policy": None,
    }
    ancestral = PlanRecord.of(Setting("linear", 2, 8, alphas=(0.0, 0.5, 1.0)))
    assert ancestral.to_json() == {
        "block_length": None,
        "counts": None,
        "alphas": [0.0, 0.5, 1.0],
        "policy": None,
    }
    adaptive = parse_adaptive("threshold:0.9")
    assert adaptive is not None
    policy = PlanRecord.of(Setting.of_adaptive(adaptive, 2, 8, block_length=4))
    assert policy == PlanRecord(block_length=4, counts=None, alphas=None, policy="threshold:0.9")
    assert (policy.blocks, policy.calls) == (1, None)
    for plan in (whole, blocks, ancestral, policy):
        assert PlanRecord.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_calls_have_an_interval_where_rows_differ() -> None:
    setting = Setting("linear", 4, 8, counts=(2, 2, 2, 2))
    found = Scores(setting=setting, estimate=Estimate(0.5, None), nfe=4.0, cost=Cost())
    assert CallsRecord.of(found).to_json() == {"nfe": 4.0, "nfe_ci": None} and CallsRecord.of(found).text == "4"
    calls = np.array([3.0, 4.0] * 10)
    found = Scores(setting=setting, estimate=Estimate(0.5, None), nfe=3.5, cost=Cost(), calls=calls)
    assert CallsRecord.of(found).nfe_ci == estimate(calls, bounds=(1.0, 4.0)).ci
    assert CallsRecord.of(found).text.startswith("3.5")


def test_a_warning_is_read_back() -> None:
    warning = WarningRecord("code", "text", "advice")
    assert WarningRecord.from_json(warning.to_json()) == warning


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Estimate(0.5, None), "0.50000"),
        (Estimate(0.5, None, 9), "0.5 (too few examples)"),
        (Estimate(0.5, (0.4, 0.62), 20), "0.50 [0.40, 0.62]"),
        (Estimate(math.inf, None), "infinite"),
        (Estimate(0.5, (-math.inf, 1.0), 20), "0.50000 [unknown]"),
    ],
)
def test_an_estimate_is_read_back_and_shown(found: Estimate, text: str) -> None:
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert found.text == text and Estimate.from_json(record).text == text
    assert Estimate.from_json(record).to_json() == record and found.exact == (found.count is None)


def test_the_other_way_round_zero_has_no_minus() -> None:
    assert str(Estimate(0.0, (-1.0, 0.0), 20).negated.ci) == "(0.0, 1.0)"
    assert str(Estimate(0.0, None).negated.value) == "0.0"


@pytest.mark.parametrize("record", [{}, [], {"value": "x", "ci": None}, {"value": 1.0, "ci": [1.0]}])
def test_what_is_no_estimate_is_refused(record: object) -> None:
    with pytest.raises(ValueError, match="estimate"):
        Estimate.from_json(record)
