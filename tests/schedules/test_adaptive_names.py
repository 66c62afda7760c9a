"""Values in the names of adaptive policies."""

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
        (
            "quota:linear#0@0.9",
            "the steps of the counts must be a whole number from 1 to 65536, got 'quota:linear#0@0.9'",
        ),
        ("quota:linear#65537", "the steps of the counts must be"),
        ("quota:linear#@0.9", "write quota:linear#32@0.9, or leave # out"),
        ("quota:linear#4.0@0.9", "the steps of the counts must be"),
        ("quota:#4@0.9", "quota needs a schedule"),
        ("cap", "cap needs a schedule whose counts it does not exceed, got 'cap'; write cap:linear@0.9"),
        ("cap:@0.9", "cap needs a schedule"),
        ("cap:linear@1.1", "cap needs a probability from 0 to 1, got 'cap:linear@1.1'; write cap:linear alone, or"),
        ("cap:linear#0@0.5", "write cap:linear#32@0.9, or leave # out"),
        ("cap:quota:linear@0.5", "cap reveals at most the counts of a schedule, and 'quota:linear' has none"),
        ("cap:klass", "and 'klass' has none; give one such as linear"),
        ("klass@2", "klass needs a probability from 0 to 1, got 'klass@2'; write klass alone, or klass@0.9"),
        ("klass:0.01@", "klass needs a probability .*; write klass:0.01 alone, or klass:0.01@0.9"),
        ("klass:-1", "the KL of klass must be a number of at least 0, got 'klass:-1'; write klass alone, or klass:"),
        ("klass:inf@0.9", "the KL of klass must be a number of at least 0"),
        ("klass:@0.9", "the KL of klass must be"),
    ],
)
def test_values_of_adaptive_policies_lie_in_their_range(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_adaptive(name)
    (line,) = problems(tmp_path, whole_config(evaluate={"schedules": [name]}))
    assert line.startswith("evaluate.schedules[0]: ")


@pytest.mark.parametrize(
    ("name", "value"), [("threshold:0", 0), ("threshold:1", 1), ("cap:linear@1", 1), ("entropy-bound:7.5", 7.5)]
)
def test_the_ends_of_a_range_belong_to_it(name: str, value: float) -> None:
    plan = parse_adaptive(name)
    assert plan is not None and plan.value == value


def test_the_name_of_a_quota_says_the_steps_of_its_counts_where_they_are_not_those_of_the_budget() -> None:
    for name, counts_steps, steps, written in [
        ("quota:linear", None, 16, "quota:linear#16@0.7"),  # of a budget of 8, where no value is given
        ("quota:linear#8", 8, 8, "quota:linear#8@0.7"),
        ("quota:beta:0.9,0.3#5", 5, 5, "quota:beta:0.9,0.3#5@0.7"),
        ("quota:linear@0.5", None, 8, "quota:linear@0.5"),
        ("quota:linear#32@0.5", 32, 32, "quota:linear#32@0.5"),
        ("quota:runs/a#1/b", None, 16, "quota:runs/a#1/b#16@0.7"),  # a folder
        ("quota:runs/a#1/b.yaml#6", 6, 6, "quota:runs/a#1/b.yaml#6@0.7"),
        ("quota:a#1.yaml@0.5", None, 8, "quota:a#1.yaml@0.5"),
    ]:
        plan = parse_adaptive(name)
        assert plan is not None and plan.counts_steps == counts_steps and plan.steps_of_counts(8) == steps
        found = plan.at(0.7, 8)
        assert found.name == written and parse_adaptive(written) == found and found.steps_of_counts(8) == steps
        assert plan.at(0.7).name == (name if "@" in name else f"{name}@0.7")
    names = ("threshold:0.5", "threshold", "quota:linear@0.5", "quota:linear#8@0.5", "quota:linear#8")
    plans = [plan for name in names if (plan := parse_adaptive(name)) is not None]
    assert [plan.same_at_every_budget for plan in plans] == [True, False, False, True, False]
    assert plans[3].with_schedule("/home/q.yaml") == parse_adaptive("quota:/home/q.yaml#8@0.5")


def test_a_name_repeats_its_value_however_near_to_1_it_is() -> None:
    plan = parse_adaptive("quota:linear#8")
    assert plan is not None
    for value in (0.99999886, 1 - 1e-9, 1 - 1.25e-13, 1 - 2**-53, 1.0):
        found = plan.at(value, 8)
        assert parse_adaptive(found.name) == found and found.value == plan.rounded(value)
        assert found.value == 1.0 or 1 - found.value == pytest.approx(1 - value, rel=0.005)
    assert plan.at(1 - 1e-13, 8).name == "quota:linear#8@0.9999999999999"


@pytest.mark.parametrize(
    ("name", "kl", "value", "written"),
    [
        ("klass", 0.01, None, "klass@0.6235"),
        ("klass:0.005", 0.005, None, "klass:0.005@0.6235"),
        ("klass@0.9", 0.01, 0.9, "klass@0.9"),
        ("klass:1e-3@1", 0.001, 1.0, "klass:1e-3@1"),
        ("klass:0@0", 0.0, 0.0, "klass:0@0"),
    ],
)
def test_both_numbers_of_klass_may_be_left_out(name: str, kl: float, value: float | None, written: str) -> None:
    plan = parse_adaptive(name)
    assert plan is not None and (plan.kind, plan.kl, plan.value) == ("klass", kl, value)
    found = plan.at(0.62345678, 8)
    assert found.name == written and parse_adaptive(written) == found
    assert found.numbers == (kl, found.value) and found.same_at_every_budget


def test_the_counts_of_a_cap_have_half_the_steps_of_the_budget_where_its_value_is_sought() -> None:
    for name, steps, written in [
        ("cap:linear", 4, "cap:linear#4@0.7"),
        ("cap:linear#6", 6, "cap:linear#6@0.7"),
        ("cap:linear@0.5", 8, "cap:linear@0.5"),
    ]:
        plan = parse_adaptive(name)
        assert plan is not None and plan.schedule == "linear" and plan.steps_of_counts(8) == steps
        found = plan.at(0.7, 8)
        assert found.name == written and parse_adaptive(written) == found and found.steps_of_counts(8) == steps
    plan = parse_adaptive("cap:linear")
    assert plan is not None and [plan.steps_of_counts(steps) for steps in (1, 3)] == [1, 1]
    other = parse_adaptive("cap:sine#4@0.5")
    assert other is not None and other.with_schedule("q.yaml").name == "cap:q.yaml#4@0.5"
