"""The JSON of results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mdm_tune.core.text import Symbols
from mdm_tune.datasets.splits import USES, Dataset, masked_split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.records import detectable_record, schedule_file_record, schedule_record, search_record
from mdm_tune.schedules.curves import Linear
from mdm_tune.search.outcomes import Ended, Ending
from mdm_tune.search.power import detectable
from tests.run.test_schedule_names import at
from tests.search.test_confirmation import BASELINES, A, B, Bench, budgets_of, run_of


def test_the_records_hold_claims_and_diversity(tmp_path: Path) -> None:
    bench = Bench({"linear": 3.0, A.name: 2.0, "data": 0.0}, tokens={A.name: 80})
    many = bench.made("linear", bench.setting(Linear(), 32), "report")
    trials = [bench.trial(0, A, 0.1), bench.trial(1, B, 9.0, dropped=True)]
    budgets = [
        bench.confirm(trials, claims=2, reference=many, ended=Ended.of(Ending.TIME)),
        *budgets_of({16: (2.5, 1.0)}),
    ]
    record = search_record(run_of(bench), RunFolder(tmp_path), budgets, None)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["confidence"] == {"each": 0.95, "familywise": 0.95, "budgets": 2}
    (pair,) = record["frontier"]["pairs"]
    assert record["frontier"]["headline"] == pair and pair["no_worse"]
    assert (pair["steps"], pair["linear_steps"]) == (8, 16)
    assert pair["flags"] == ["less-diverse:token_entropy", "less-diverse-than-data:token_entropy"]
    first = record["budgets"][0]
    assert first["flags"] == pair["flags"] and not first["beats_linear"] and first["gain_over_linear"]["shown"]
    assert first["gain_over_linear"]["examples_that_differ"] == 64
    low, high = first["gain_over_linear"]["ci_familywise"]
    assert low < first["gain_over_linear"]["ci"][0] < first["gain_over_linear"]["ci"][1] < high
    assert set(first["diversity"]) == {"winner", "linear", "reference", "data"}
    losses = first["diversity_losses"]
    assert (losses["examples"], losses["threshold"], losses["reference_steps"]) == (64, 0.05, 32)
    assert losses["losses"][0] == {
        "figure": "token_entropy",
        "than": "reference",
        "share": pytest.approx(0.2),
        "share_of_linear": 0.0,
        "flagged": True,
        "blocks": True,
    }
    assert (first["dropped"], first["ended"], first["all_reachable_counts_scored"]) == (
        1,
        "the time for trials is used up",
        False,
    )
    file = schedule_record(run_of(bench), budgets)
    assert (file["frontier"], file["confidence"]) == (record["frontier"], record["confidence"])
    assert file["budgets"][0]["diversity_losses"] == losses


def test_the_record_of_what_can_be_seen() -> None:
    bench = Bench({"linear": 3.0, "squared-sine": 3.005})
    one, two = bench.score([bench.setting(each, 8, name) for name, each in BASELINES.items()], "tune")
    found = detectable(one, two, 16, 2)
    record = detectable_record(found)
    assert found is not None and record is not None
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["steps"], record["report"], record["budgets"], record["large"]) == (8, 16, 2, found.large)
    assert record["report_needed"] == found.needed
    assert detectable_record(None) is None


def test_a_schedule_file_says_whether_its_length_is_that_of_every_example(tmp_path: Path) -> None:
    fixed = at(tmp_path, 6)
    assert schedule_file_record(fixed, [])["lengths"] == {"fixed": True, "least": 6, "most": 6, "mean": 6.0}
    splits = {use: masked_split(use, list("ab"), torch.zeros(2, 5, dtype=torch.int64), 9, 0) for use in USES}
    splits["tune"].start[0, :2] = 1  # two tokens are visible
    before = fixed.evaluator
    data = Dataset(splits, Symbols("ab"))
    run = replace(fixed, evaluator=Evaluator(before.denoiser, data.length, before.sampler, before.metric, data))
    found = schedule_file_record(run, [])
    assert (found["length"], found["lengths"]) == (5, {"fixed": False, "least": 3, "most": 5, "mean": 4.6667})
