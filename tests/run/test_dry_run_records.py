"""The records of a dry run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mdm_tune.commands import dry_run as module
from mdm_tune.commands import timing
from mdm_tune.run.folder import RunFolder
from tests.commands.test_dry_run import SECTIONS, timed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SECTIONS), encoding="utf-8")
    return tmp_path / "c.yaml"


def test_the_total_is_the_start_the_rows_and_what_else_a_search_does(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = timed(config)
    monkeypatch.setattr(timing, "_seconds", lambda work: (work(), 1.0)[1])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 10.0))
    found = module._priced(run, RunFolder(config.parent / "run"), began=3.0)
    tune, choose, report = found.phases
    # 6 trials are recorded, and each budget's list of points is made; a report's intervals are timed once for all.
    assert (tune.overhead_seconds, choose.overhead_seconds) == (6 + 1, 0.0)
    assert report.overhead_seconds == timing.INTERVALS
    seconds = sum(phase.seconds for phase in found.phases)
    rows = sum(phase.cost.denoiser_rows for phase in found.phases)
    assert found.start_seconds == 7.0
    assert (found.total.seconds, found.total.denoiser_rows) == (7.0 + seconds, rows)
