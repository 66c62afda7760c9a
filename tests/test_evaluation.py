"""Settings, the record, and comparisons pair by pair."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mdm_tune import metrics
from mdm_tune.datasets import law_dataset
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.errors import InputError
from mdm_tune.evaluation import Cost, Evaluator, Sampler, Setting, difference, gain, less_diverse
from mdm_tune.schedules import Beta, Counts, Linear, SquaredSine

LAW = MarkovChain.sticky(2, 0.1, 16)
FIXED = Sampler("random", False, 1.0, "one-per-step", 64)


def evaluator(sampler: Sampler = FIXED, report: int = 64) -> Evaluator:
    dataset = law_dataset(LAW, {"tune": 16, "choose": 16, "report": report}, root=0)
    return Evaluator(LAW, 16, sampler, metrics.PathLikelihood("nelbo", "random"), dataset)


def test_a_setting_has_counts_or_alphas() -> None:
    fixed = evaluator().setting(Linear(), 4)
    assert fixed.counts == (4, 4, 4, 4) and fixed.alphas is None
    assert fixed.revealed == (0.25, 0.5, 0.75, 1.0) and fixed.nfe == 4
    ancestral = evaluator(replace(FIXED, bernoulli=True)).setting(Linear(), 4)
    assert ancestral.alphas == (0.0, 0.25, 0.5, 0.75, 1.0) and ancestral.counts is None
    assert ancestral.revealed == (0.25, 0.5, 0.75, 1.0)


def test_steps_without_tokens_do_not_tell_settings_apart() -> None:
    one = Setting("counts", 3, 4, counts=(2, 0, 2))
    assert one.key == Setting("other", 2, 4, counts=(2, 2)).key
    assert one.nfe == 2


def test_expected_calls_of_ancestral_reveal_are_what_is_measured() -> None:
    """4,000 rows; a deviation of 4 standard errors has probability below 1e-4."""
    found = evaluator(replace(FIXED, bernoulli=True), report=4000)
    setting = found.setting(Beta(1.0, 0.4), 12)
    scores = found.score(setting, "report")
    assert setting.nfe < 11
    assert scores.nfe == pytest.approx(setting.nfe, abs=4 * 1.5 / math.sqrt(4000))


def test_what_was_scored_is_answered_from_the_record() -> None:
    found = evaluator()
    first = found.score(found.setting(Linear(), 4), "report")
    again = found.score(found.setting(Counts((4, 4, 4, 4)), 4), "report")
    assert first.cost.denoiser_rows > 0 and again.cost == Cost()
    assert again.setting.label == "counts:4,4,4,4"
    assert again.values is first.values
    assert found.known(found.setting(Linear(), 4), "report")
    assert not found.known(found.setting(Linear(), 4), "tune")


def test_schedules_meet_the_same_noise() -> None:
    """Pairs must be far less spread than unpaired differences: that is what common noise is for."""
    found = evaluator(report=400)
    one = found.score(found.setting(Linear(), 8), "report").values
    two = found.score(found.setting(Beta(0.5, 0.45), 8), "report").values
    assert one is not None and two is not None
    assert (one - two).std() < 0.5 * math.hypot(one.std(), two.std())


def test_differences_are_paired_and_gains_point_to_better() -> None:
    found = evaluator()
    one = found.score(found.setting(Linear(), 4), "report")
    two = found.score(found.setting(SquaredSine(), 4), "report")
    assert one.values is not None and two.values is not None
    assert difference(one, two).value == pytest.approx(float((one.values - two.values).mean()))
    assert gain(two, one, found.metric).value == pytest.approx(float((one.values - two.values).mean()))
    upward = replace(found.metric, direction="maximize")  # type: ignore[type-var]
    assert gain(two, one, upward).value == pytest.approx(float((two.values - one.values).mean()))


def test_less_diverse_means_below_the_interval_of_the_other() -> None:
    found = evaluator()
    base = found.score(found.setting(Linear(), 4), "report")
    spread = np.linspace(-0.1, 0.1, 16)
    linear = replace(base, diversity={"token_entropy": 1.0 + spread, "distinct_words": 0.5 + spread})
    lower = replace(base, diversity={"token_entropy": 0.9 + spread, "distinct_words": 0.499 + spread})
    assert less_diverse(lower, linear) == ("token_entropy",)
    assert less_diverse(linear, linear) == ()
    assert less_diverse(base, base) == ()


def test_sample_metrics_need_a_data_set() -> None:
    bare = Evaluator(LAW, 16, FIXED, metrics.PathLikelihood("nelbo", "random"), None)
    with pytest.raises(InputError, match="metric nelbo needs examples, and the config has no dataset section"):
        bare.score(bare.setting(Linear(), 4), "report")
