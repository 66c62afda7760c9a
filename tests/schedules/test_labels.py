"""Labels of schedules are written and read in one place."""

from __future__ import annotations

import pytest

from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.labels import Label


@pytest.mark.parametrize("name", ["linear", "beta:0.5,1.0", "runs/blocks of 3/schedule.yaml", "in blocks of", ""])
@pytest.mark.parametrize("blocks", [None, 1, 32])
def test_what_is_written_is_read(name: str, blocks: int | None) -> None:
    label = Label(name, blocks)
    assert Label.read(str(label)) == label


def test_a_setting_says_its_blocks_where_several_are_compared() -> None:
    alone = Setting(name="sine", steps=4, length=16, counts=(4,) * 4, block_length=8)
    assert alone.label == "sine"
    among = Setting(name="sine", steps=4, length=16, counts=(4,) * 4, block_length=8, says_blocks=True)
    assert among.label == "sine in blocks of 8" and among.key == alone.key
    whole = Setting(name="sine", steps=4, length=16, counts=(4,) * 4, says_blocks=True)
    assert Label.read(whole.label) == Label("sine", 16)
