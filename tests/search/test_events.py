"""What an event of a trial says of it in words."""

from __future__ import annotations

import pytest

from mdm_tune.evaluation.settings import Setting
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.events import TrialDone


@pytest.mark.parametrize(
    ("fresh", "dropped", "cut", "state"),
    [
        (True, None, False, "complete"),
        (True, 8, False, "dropped"),
        (True, 8, True, "out of rows or time"),
        (False, 0, False, "scored before"),
    ],
)
def test_the_state_of_a_trial(fresh: bool, dropped: int | None, cut: bool, state: str) -> None:
    event = TrialDone(
        number=0,
        trials=1,
        policy=Beta(1, 1),
        setting=Setting("linear", 2, 4, counts=(2, 2)),
        value=0.5,
        best=0.5,
        fresh=fresh,
        dropped=dropped,
        cut=cut,
    )
    assert event.state == state
    assert event.schedule == event.policy == Beta(1, 1)  # the attribute has two names
