"""What a name of a schedule or a policy is read as, and what is said of one that is neither."""

from __future__ import annotations

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.curves import Beta, Linear
from mdm_tune.schedules.policy_names import parse_policy


def test_schedules_and_plans_are_read() -> None:
    assert parse_policy(" linear ") == Linear() and parse_policy("beta:0.9,0.3") == Beta(0.9, 0.3)
    assert parse_policy("quota:linear@0.9") == parse_adaptive("quota:linear@0.9") is not None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("treshold:0.9", "threshold"),
        ("Threshold", "threshold"),
        ("entropy_bound:0.1", "entropy-bound"),
        ("quotta:linear@0.9", "quota"),
        ("klas@0.9", "klass"),
        ("lineer", "linear"),
        ("linear:3", "linear"),
        ("bata:1,1", "beta"),
    ],
)
def test_a_mistyped_name_of_either_sort_is_recognised(name: str, meant: str) -> None:
    with pytest.raises(
        InputError, match=rf"^Unknown schedule '{name}'\. Did you mean {meant}\? .*linear, sine.*threshold\["
    ):
        parse_policy(name)


def test_the_message_lists_what_the_caller_takes_besides() -> None:
    with pytest.raises(
        InputError, match=r"'runs/x'\. A schedule is one of: .* adaptive policy: .* Or a file that ends in"
    ):
        parse_policy("runs/x")
    with pytest.raises(InputError, match=r" Or optimum\.$"):
        parse_policy("zzz", "optimum")
    with pytest.raises(InputError, match="name is empty; give a name such as linear"):
        parse_policy(" ")
    with pytest.raises(InputError, match="a probability from 0 to 1, got 'threshold:2'"):
        parse_policy("threshold:2")
    with pytest.raises(InputError, match=r"'beta:0\.9': 2 numbers are needed"):
        parse_policy("beta:0.9")
