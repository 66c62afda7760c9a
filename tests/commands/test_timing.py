"""What a search takes besides its denoiser rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdm_tune.commands import timing
from mdm_tune.config.file import load_config
from mdm_tune.run.build import build
from mdm_tune.search.space import BudgetOutlook
from tests.commands.test_dry_run import SECTIONS
from tests.support.helpers import changed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    return tmp_path / "c.yaml"


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"trials": 20}, 20 + 14 / 4 + 1),  # records, batches of proposals behind the six given points, and the points
        ({"trials": 20, "strategy": "qmc"}, 20 + 1),
        ({"trials": 20, "strategy": "tpe", "auto_stop": True, "together": 2}, 20 + 14 / 2 + 1 + 5),
    ],
)
def test_proposals_and_records_are_timed_for_each_trial(
    config: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], seconds: float
) -> None:
    monkeypatch.setattr(timing, "_seconds", lambda work: (work(), 1.0)[1])
    run = build(load_config(config))
    run = replace(run, config=run.config.model_copy(update={"search": changed(run.config.search, **changes)}))
    assert (
        timing.trial_overhead(run, [BudgetOutlook(steps=4, block_length=20, steps_of_blocks=(4,), counts=29)])
        == seconds
    )


@pytest.mark.parametrize(("counts", "trials"), [(None, 6), (1, 0), (2, 4), (5, 6), (100, 6)])
def test_where_few_counts_can_be_reached_there_are_few_trials(config: Path, counts: int | None, trials: int) -> None:
    assert (
        timing.most_trials(
            build(load_config(config)), BudgetOutlook(steps=4, block_length=20, steps_of_blocks=(4,), counts=counts)
        )
        == trials
    )
