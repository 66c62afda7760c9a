"""Schedule files that a person has changed: what contradicts itself is refused, what is merely another's is noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta, Linear
from mdm_tune.schedules.schedule_file import check_schedule_names, load_schedule
from tests.run.test_schedule_names import schedule_file

INSIDE = to_counts(Beta(2.0, 0.5), 2, 4)


@pytest.mark.parametrize(
    "entry",
    [
        {"steps": 3, "schedule": "beta:0.9,0.3", "counts": list(to_counts(Beta(0.9, 0.3), 3, 8))},
        {"steps": 3, "schedule": "llada", "counts": [3, 3, 2]},
        {"steps": 3, "schedule": "dream", "counts": list(to_counts(Linear("dream"), 3, 8))},
        {"steps": 12, "schedule": "linear", "counts": [1] * 8},  # fewer tokens than steps
        {"steps": 4, "schedule": "beta:2,0.5", "counts": [*INSIDE, *INSIDE], "block_length": 4},
        {"steps": 3, "schedule": "linear", "counts": [2, 2, 4], "block_length": 4},  # shares that are not equal
        {"steps": 2, "schedule": "squared-sine", "alphas": [0.0, 0.5, 1.0]},
        {"steps": 2, "schedule": "alphas:0,0.3,1", "alphas": [0.0, 0.3, 1.0]},
    ],
)
def test_a_name_that_gives_its_counts_passes(tmp_path: Path, entry: dict[str, Any]) -> None:
    check_schedule_names(load_schedule(schedule_file(tmp_path / "run", 8, entry)), "name")


def test_the_rule_of_the_counts_is_the_one_that_the_file_says(tmp_path: Path) -> None:
    counts = list(to_counts(Beta(2.0, 2.0), 6, 8, "cumulative"))
    assert counts != list(to_counts(Beta(2.0, 2.0), 6, 8))
    entry = {"steps": 6, "schedule": "beta:2.0,2.0", "counts": counts}
    name = schedule_file(tmp_path / "run", 8, entry, sampler={"counts": "cumulative"})
    check_schedule_names(load_schedule(name), name)
    with pytest.raises(InputError, match="whose counts are"):
        check_schedule_names(load_schedule(schedule_file(tmp_path / "other", 8, entry)), "other")
