"""Labels of schedules are written and read in one place."""

from __future__ import annotations

import pytest

from mdm_tune.schedules.labels import Label


@pytest.mark.parametrize("name", ["linear", "beta:0.5,1.0", "runs/blocks of 3/schedule.yaml", "in blocks of", ""])
@pytest.mark.parametrize("blocks", [None, 1, 32])
def test_what_is_written_is_read(name: str, blocks: int | None) -> None:
    label = Label(name, blocks)
    assert Label.read(str(label)) == label
