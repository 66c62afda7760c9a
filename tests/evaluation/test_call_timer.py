"""The time per denoiser call."""

from __future__ import annotations

import pytest

from mdm_tune.evaluation.call_timer import CallTimer


def test_the_pace_is_that_of_the_latest_work_or_of_all_whichever_is_slower() -> None:
    pace = CallTimer()
    assert pace.per_call == 0.0
    pace.add(10.0, 30.0)
    for _ in range(8):
        pace.add(10.0, 10.0)
    assert pace.per_call == pytest.approx(110.0 / 90.0)  # the first is not among the latest
    for _ in range(8):
        pace.add(10.0, 50.0)
    assert pace.per_call == pytest.approx(5.0)
