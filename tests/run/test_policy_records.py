"""The best of each kind of policy as a record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mdm_tune.evaluation.settings import Setting
from mdm_tune.run.policy_records import PolicyRecord
from mdm_tune.schedules.adaptive_names import parse_adaptive
from mdm_tune.schedules.equal_cost import equal_cost
from mdm_tune.search.comparing import Compared, PolicyOutcome
from mdm_tune.search.gains import Diversity, Loss, gain_of
from tests.search.test_confirmation import A, Bench

BENCH = Bench({"linear": 3.0, A.name: 2.0, "threshold:0.9": 2.5})
LOSS = Loss("token_entropy", "reference", 0.08, 0.0, flagged=True, blocks=True)


def outcome(name: str, calls: float = 8.0, *losses: Loss) -> PolicyOutcome:
    plan = parse_adaptive(name)
    setting = BENCH.setting(A, 8) if plan is None else Setting.of_adaptive(plan, 8, 64)
    scores = replace(BENCH.made(setting.name, setting, "report"), nfe=calls)
    linear = BENCH.made("linear", BENCH.setting(A, 8, "linear"), "report")
    best = Compared(
        policy=A if plan is None else plan,
        scores=scores,
        gain=gain_of(scores, linear, "minimize", 2),
        calls=equal_cost(calls, 8.0),
        diversity=Diversity(16, 0.05, {}, losses),
    )
    return PolicyOutcome("counts" if plan is None else plan.kind, best, trials=4)


NOTHING = PolicyOutcome("klass", None, trials=1, why="cannot make 8 calls at 8 steps")


@pytest.mark.parametrize("one", [outcome(A.name), outcome("threshold:0.9", 8.4, LOSS), NOTHING])
def test_a_record_is_read_as_it_was_written(one: PolicyOutcome) -> None:
    record = PolicyRecord.of(one)
    assert PolicyRecord.from_json(record.to_json()) == record
    assert record.policy == (None if one.best is None else one.best.policy.name)


def test_more_calls_are_said_beside_the_number() -> None:
    record = PolicyRecord.of(outcome("threshold:0.9", 8.4))
    assert record.more_calls and record.calls_of_linear == pytest.approx(1.05)
    assert not PolicyRecord.of(outcome("threshold:0.9", 8.1)).more_calls


def test_a_gain_at_more_calls_or_of_less_diverse_samples_is_no_win() -> None:
    shown = outcome("threshold:0.9")
    assert shown.best is not None and shown.best.gain.shown
    assert PolicyRecord.of(shown).beats_linear is True and PolicyRecord.of(NOTHING).beats_linear is False
    assert PolicyRecord.of(outcome("threshold:0.9", 8.4)).beats_linear is False
    less = outcome("threshold:0.9", 8.0, LOSS, replace(LOSS, figure="answer_length", flagged=False, blocks=False))
    record = PolicyRecord.of(less)
    assert record.beats_linear is False and record.losses == (LOSS,)
    assert less.best is not None and less.best.flags == ("less-diverse:token_entropy",)
    more = outcome("threshold:0.9", 8.4).best
    assert more is not None and more.flags == ("more-calls",)
    harmless = PolicyRecord.of(outcome("threshold:0.9", 8.0, replace(LOSS, blocks=False)))
    assert harmless.beats_linear is True and len(harmless.losses) == 1  # linear is as far below
