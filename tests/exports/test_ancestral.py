"""The steps that are left out, and the probabilities of those that are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mdm_tune.exports.ancestral import kept_alphas, masked_shares, reveal_probabilities, settings_lost, skipped
from tests.support.exports import alphas_policies, alphas_policy


def test_steps_that_reveal_nothing_are_left_out() -> None:
    assert kept_alphas((0.0, 0.0, 0.25, 0.25, 0.5, 1.0, 1.0)) == (0.0, 0.25, 0.5, 1.0)
    policy = alphas_policy((0.0, 0.0, 0.25, 0.25, 0.5, 1.0, 1.0))
    assert masked_shares(policy) == (1.0, 0.75, 0.5, 0.0)
    assert skipped(policy) == "; 3 of the schedule's steps reveal nothing and are left out"
    assert skipped(alphas_policy((0.0, 0.5, 1.0))) == ""


def test_the_probabilities_bring_back_the_alphas() -> None:
    for policy in alphas_policies(300):
        assert policy.alphas is not None
        masked, shares = 1.0, iter(masked_shares(policy)[1:])
        chances = reveal_probabilities(policy.alphas)
        assert chances[-1] == 1.0
        for chance in chances:
            masked *= 1 - chance
            assert masked == pytest.approx(next(shares), abs=1e-12)


def test_settings_that_ancestral_sampling_does_not_have_are_not_called_lost() -> None:
    policy = replace(alphas_policy((0.0, 1.0)), sampler={"temperature": 1.0, "confidence_temperature": 0.5})
    assert settings_lost(policy) == ()
    policy = replace(policy, sampler={"temperature": 0.5, "top_p": 0.9})
    assert [sentence.split()[5] for sentence in settings_lost(policy)] == ["temperature", "top_p"]
    assert [sentence.split()[5] for sentence in settings_lost(policy, "top_p")] == ["temperature"]
