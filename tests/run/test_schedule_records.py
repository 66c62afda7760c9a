"""The schedule file as it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mdm_tune.core.text import Symbols
from mdm_tune.datasets.splits import USES, Dataset, masked_split
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.folder import RunFolder
from mdm_tune.run.schedule_records import ScheduleFileRecord
from mdm_tune.run.search_records import SearchResult
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.schedule_file import load_schedule
from mdm_tune.terminal.tables import paste
from tests.run.test_schedule_names import at
from tests.search.test_confirmation import A, Bench, run_of


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


def test_a_winner_that_is_an_adaptive_policy_is_written_as_a_policy(tmp_path: Path) -> None:
    """With the calls that it made, and read back; beside a budget with counts, which is written as before."""
    bench = Bench({"linear": 3.0, A.name: 2.0})
    fixed = bench.confirm([bench.trial(0, A, 0.1)])
    budgets, plans = [fixed], []
    for steps, name in ((16, "threshold:0.873"), (4, f"quota:{A.name}#8@0.5"), (32, "entropy-bound:0.25")):
        plan = parse_adaptive(name)
        assert plan is not None
        base = None if plan.schedule is None else bench.setting(A, plan.steps_of_counts(steps))
        base = base if base is None else replace(base, block_length=32)
        setting = Setting.of_adaptive(plan, steps, 64, base)
        calls = np.arange(64) % 7 + 1.0
        winner = replace(fixed.winner, setting=setting, nfe=float(calls.mean()), calls=calls)
        budgets.append(replace(fixed, steps=steps, winner=winner))
        plans.append(plan)
    folder = RunFolder(tmp_path)
    folder.write_schedule(ScheduleFileRecord.of_search(run_of(bench), budgets, ()).to_json())
    file = load_schedule(tmp_path)
    assert file.record["format"] == "mdm-tune-schedule-2" and "policy" not in file.record["budgets"][0]
    assert file.budget(8).counts == fixed.winner.setting.counts and file.budget(8).schedule == A
    assert [file.budget(steps).policy for steps in (16, 4, 32)] == plans
    assert [file.budget(steps).schedule for steps in (16, 4, 32)] == [None, A, None]
    assert [file.budget(steps).block_length for steps in (16, 4, 32)] == [64, 32, 64]
    quota = budgets[2].winner.setting.base
    assert quota is not None and file.budget(4).kept_counts == quota.counts and sum(quota.counts or ()) == 64
    assert ["kept_counts" in entry for entry in file.record["budgets"]] == [False, False, True, False]
    entry = file.record["budgets"][1]
    assert (entry["counts"], entry["alphas"], entry["schedule"], entry["policy"]) == (None, None, None, plans[0].name)
    assert entry["nfe_ci"][0] < entry["nfe"] == 3.953125 < entry["nfe_ci"][1]
    result = SearchResult.of(run_of(bench), folder, budgets, None)
    assert [budget.plan.policy for budget in result.budgets] == [None, *(plan.name for plan in plans)]
    assert SearchResult.from_json(result.to_json()) == result
    follows = "for mdm-tune sample or, with transformers, mdm_tune.generate"
    line = f"schedule = 'threshold:0.873'  # about 16 denoiser calls, {follows}"
    assert paste(16, result.budgets[1].plan) == line
