"""The schedule file as it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from mdm_tune.core.text import Symbols
from mdm_tune.datasets.splits import USES, Dataset, masked_split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.run.schedule_records import ScheduleFileRecord
from tests.run.test_schedule_names import at


def test_a_schedule_file_says_whether_its_length_is_that_of_every_example(tmp_path: Path) -> None:
    fixed = at(tmp_path, 6)
    assert ScheduleFileRecord.of(fixed, [], ()).to_json()["lengths"] == {
        "fixed": True,
        "least": 6,
        "most": 6,
        "mean": 6.0,
    }
    splits = {use: masked_split(use, list("ab"), torch.zeros(2, 5, dtype=torch.int64), 9, 0) for use in USES}
    splits["tune"].start[0, :2] = 1  # two tokens are visible
    before = fixed.evaluator
    data = Dataset(splits, Symbols("ab"))
    run = replace(fixed, evaluator=Evaluator(before.denoiser, data.length, before.sampler, before.metric, data))
    found = ScheduleFileRecord.of(run, [], ()).to_json()
    assert (found["length"], found["lengths"]) == (5, {"fixed": False, "least": 3, "most": 5, "mean": 4.6667})
