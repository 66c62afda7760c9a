"""Labels of schedules are written and read in one place."""

from __future__ import annotations

import pytest

from mdm_tune.schedules.labels import Label, short_label


@pytest.mark.parametrize("name", ["linear", "beta:0.5,1.0", "runs/blocks of 3/schedule.yaml", "in blocks of", ""])
@pytest.mark.parametrize("blocks", [None, 1, 32])
def test_what_is_written_is_read(name: str, blocks: int | None) -> None:
    label = Label(name, blocks)
    assert Label.read(str(label)) == label


@pytest.mark.parametrize(
    ("label", "short"),
    [
        ("beta:0.43123456789012345,12.000012345 in blocks of 8", "beta:0.4312,12 in blocks of 8"),
        ("shift:0.30000000000000004", "shift:0.3"),
        ("runs/a:0.123456/schedule.yaml", "schedule.yaml"),
        ("beta:x", "beta:x"),
        ("counts:3,1", "counts:3,1"),
        ("linear", "linear"),
    ],
)
def test_a_short_label_has_four_digits_and_no_folders(label: str, short: str) -> None:
    assert short_label(label) == short
