"""A schedule at a budget: its counts or alphas, its calls, and rows of other lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mdm_tune.evaluation.settings import Setting, plan_of
from mdm_tune.sampling.unmasking import CountPlan
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Beta, Counts, Linear
from mdm_tune.schedules.labels import Label
from tests.evaluation.test_evaluator import evaluator
from tests.support.helpers import resampled, sampler_of

FIXED = sampler_of()


def test_rows_of_another_length_follow_the_same_curve() -> None:
    """Counts for 12 tokens, by 6 and 24 of them: halves and doubles; and with fewer tokens than steps, ones."""
    setting = Setting.of(Counts((2, 4, 6)), 3, 12, FIXED)
    plan = plan_of([setting, Setting.of(Counts((4, 4, 4)), 3, 12, FIXED)], torch.tensor([12, 6, 24, 2]), FIXED)
    assert isinstance(plan, CountPlan)
    rows = plan.counts[:, 0].tolist()
    assert rows[:4] == [[2, 4, 6], [1, 2, 3], [4, 8, 12], [1, 1, 0]]
    assert rows[4:] == [[4, 4, 4], [2, 2, 2], [8, 8, 8], [1, 1, 0]]


def test_a_curve_and_its_counts_nearly_agree_at_another_length() -> None:
    """Counts at the length 100 say the curve to within half a token, so that 120 tokens differ by one at most."""
    for a, b in ((0.4, 1.0), (1.0, 1.0), (2.0, 0.5)):
        through = Setting.of(Beta(a, b), 8, 100, FIXED).counts_for(120, "one-per-step")
        direct = Setting.of(Beta(a, b), 8, 120, FIXED).counts
        assert sum(through) == 120 and min(through) >= 1
        assert np.abs(np.cumsum(through) - np.cumsum(direct)).max() <= 1


def test_more_steps_than_the_length_fill_longer_rows_by_all_of_them() -> None:
    """12 tokens on average and 16 steps: a row of 30 takes all 16 and not 12, and other steps are another key."""
    setting = Setting(name="linear", steps=16, length=12, counts=(1,) * 12)
    assert setting.counts_for(30, "one-per-step") == to_counts(Linear(), 16, 30)
    assert len(setting.counts_for(30, "one-per-step")) == 16 and setting.counts_for(5, "one-per-step") == (1,) * 5
    assert [setting.calls_for(size, "one-per-step") for size in (5, 12, 30)] == [5, 12, 16]
    reveal = Setting("x", 2, 12, alphas=(0.0, 0.5, 1.0))
    assert reveal.calls_for(3, "one-per-step") == pytest.approx(2 * (1 - 0.5**3))  # each step reveals half of them
    assert setting.key != Setting(name="linear", steps=20, length=12, counts=(1,) * 12).key
    assert Setting(name="linear", steps=12, length=12, counts=(1,) * 12).key == (1,) * 12


def test_a_setting_has_counts_or_alphas() -> None:
    fixed = evaluator().setting(Linear(), 4)
    assert fixed.counts == (4, 4, 4, 4) and fixed.alphas is None
    assert fixed.revealed == (0.25, 0.5, 0.75, 1.0) and fixed.nfe == 4
    ancestral = evaluator(resampled(FIXED, reveal="bernoulli")).setting(Linear(), 4)
    assert ancestral.alphas == (0.0, 0.25, 0.5, 0.75, 1.0) and ancestral.counts is None
    assert ancestral.revealed == (0.25, 0.5, 0.75, 1.0)


def test_steps_without_tokens_do_not_tell_settings_apart() -> None:
    one = Setting("counts", 3, 4, counts=(2, 0, 2))
    assert one.key == Setting("other", 2, 4, counts=(2, 2)).key
    assert one.nfe == 2


def test_expected_calls_of_ancestral_reveal_are_what_is_measured() -> None:
    """4,000 rows; a deviation of 4 standard errors has probability below 1e-4."""
    found = evaluator(resampled(FIXED, reveal="bernoulli"), report=4000)
    setting = found.setting(Beta(1.0, 0.4), 12)
    scores = found.score(setting, "report")
    assert setting.nfe < 11
    assert scores.nfe == pytest.approx(setting.nfe, abs=4 * 1.5 / math.sqrt(4000))


def test_a_setting_says_its_blocks_where_several_are_compared() -> None:
    alone = Setting(name="sine", steps=4, length=16, counts=(4,) * 4, block_length=8)
    assert alone.label == "sine"
    among = Setting(name="sine", steps=4, length=16, counts=(4,) * 4, block_length=8, says_blocks=True)
    assert among.label == "sine in blocks of 8" and among.key == alone.key
    whole = Setting(name="sine", steps=4, length=16, counts=(4,) * 4, says_blocks=True)
    assert Label.read(whole.label) == Label("sine", 16)
