"""How busy trials keep several replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mdm_tune.commands.occupancy import busy_record
from mdm_tune.terminal.cost_tables import busy_replicas
from tests.commands.test_dry_run import SECTIONS, with_copies


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    return tmp_path / "c.yaml"


@pytest.mark.parametrize(
    ("copies", "search", "together", "fill"),
    [
        (2, {"together": 7, "trials": 8}, 7, 10),  # 3 pieces keep two busy for 3 of 4 rounds
        (2, {"together": 64}, 5, 5),  # after linear there are five trials
        (2, {"together": 4, "racing": False}, 4, 4),
        (64, {"together": 4}, 4, None),
        (64, {"together": 4, "racing": False}, 4, 12),
    ],
)
def test_which_batch_of_trials_fills_the_replicas(
    config: Path, copies: int, search: dict[str, Any], together: int, fill: int | None
) -> None:
    given = {**SECTIONS, "search": {**SECTIONS["search"], **search}}
    config.write_text(yaml.safe_dump(given), encoding="utf-8")
    run = with_copies(config, copies)
    found = busy_record(run)
    assert found is not None and (found.together, found.together_to_fill) == (together, fill)
    if fill is None:
        assert busy_replicas(found).endswith("would not fill them: lower sampler.batch or raise dataset.tune")
    if fill == together:
        assert "would" not in busy_replicas(found)


def test_trials_without_a_denoiser_fill_nothing(config: Path) -> None:
    given = {**SECTIONS, "objective": {"metric": "nelbo"}, "sampler": {"steps": [4], "batch": 40}}
    config.write_text(yaml.safe_dump(given), encoding="utf-8")
    assert busy_record(with_copies(config, 3)) is None
