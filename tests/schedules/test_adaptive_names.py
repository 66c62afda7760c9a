"""Values in the names of adaptive plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.adaptive_names import parse_adaptive
from tests.support.configs import problems
from tests.support.configs import whole as whole_config


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("threshold:", "threshold needs a probability from 0 to 1, got 'threshold:'"),
        ("threshold:2", "threshold needs a probability from 0 to 1, got 'threshold:2'"),
        ("threshold:1.5", "threshold needs a probability"),
        ("threshold:-0.1", "threshold needs a probability"),
        ("threshold:nan", "threshold needs a probability"),
        ("threshold:0_1", "threshold needs a probability"),
        ("entropy-bound:", "entropy-bound needs a number of at least 0"),
        ("entropy-bound:inf", "entropy-bound needs a number of at least 0"),
        ("quota:linear@2", "quota needs a probability from 0 to 1, got 'quota:linear@2'"),
        ("quota:linear@", "quota needs a probability"),
        ("quota:", "quota needs a schedule"),
        ("quota:@0.9", "quota needs a schedule"),
        ("quota:threshold:0.5", "quota keeps a schedule's counts|quota keeps the counts"),
        ("quota:quota:linear", "quota keeps"),
    ],
)
def test_values_of_adaptive_plans_lie_in_their_range(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_adaptive(name)
    (line,) = problems(tmp_path, whole_config(evaluate={"schedules": [name]}))
    assert line.startswith("evaluate.schedules[0]: ")


@pytest.mark.parametrize(("name", "value"), [("threshold:0", 0), ("threshold:1", 1), ("entropy-bound:7.5", 7.5)])
def test_the_ends_of_a_range_belong_to_it(name: str, value: float) -> None:
    plan = parse_adaptive(name)
    assert plan is not None and plan.value == value
