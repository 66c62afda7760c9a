"""The sign of a direction: multiplied by it, the better of two values is the larger."""

from __future__ import annotations

from typing import get_args

import pytest

from mdm_tune.core.types import Direction, sign_of

BETTER = {"minimize": min, "maximize": max}


@pytest.mark.parametrize("direction", get_args(Direction))
def test_the_better_value_is_the_larger_one_times_the_sign(direction: Direction) -> None:
    values = [0.25, -3.0, 7.5]
    assert sign_of(direction) * max(sign_of(direction) * value for value in values) == BETTER[direction](values)
