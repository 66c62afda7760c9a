"""LMDeploy's static strategy and SGLang's settings, derived here again."""

from __future__ import annotations

import random

import yaml

from mdm_tune.exports.engines import Lmdeploy, Sglang, lmdeploy_counts, nearest_steps
from tests.support.exports import adaptive_policy, composition, count_policies, counts_policy, module_of_text


def static_counts(block_length: int, denoising_steps: int) -> tuple[int, ...]:
    """The most confident tokens of each step; a revealed token has confidence 0 and stays as it is."""
    left, counts = block_length, []
    while left:
        counts.append(min(left, max(1, min(block_length // denoising_steps, block_length))))
        left -= counts[-1]
    return tuple(counts)


def test_three_thousand_settings_give_the_counts_of_the_strategy() -> None:
    state = random.Random(0)
    for _ in range(3000):
        length = state.randint(1, 300)
        steps = state.randint(1, 2 * length)
        assert lmdeploy_counts(length, steps) == static_counts(length, steps)


def test_the_stated_loss_is_that_of_the_stated_steps_and_no_steps_are_better() -> None:
    for policy in count_policies("equal", number=300, longest=48):
        made = Lmdeploy().export(policy)
        settings = module_of_text(made.files["mdm_tune_lmdeploy.py"]).SETTINGS
        assert policy.counts is not None
        counts = [count for count in policy.counts[0] if count]
        assert settings["dllm_block_length"] == policy.block_length

        def wrong(steps: int, counts: list[int] = counts, length: int = policy.block_length) -> int:
            parts = [
                [step for step, count in enumerate(part) for _ in range(count)]
                for part in (counts, static_counts(length, steps))
            ]
            return sum(one != other for one, other in zip(*parts, strict=True))

        least = min(wrong(steps) for steps in range(1, policy.block_length + 1))
        assert wrong(settings["dllm_denoising_steps"]) == least
        stated = [line for line in made.lost if " positions are revealed at another step" in line]
        assert [int(line.split()[0]) for line in stated] == ([least * policy.blocks] if least else [])


def test_equal_counts_lose_nothing() -> None:
    assert nearest_steps((4, 4, 4, 4)) == 4 and Lmdeploy().export(counts_policy((4, 4, 4, 4))).lost == ()
    assert lmdeploy_counts(16, 5) == (3, 3, 3, 3, 3, 1)
    state = random.Random(3)
    assert 1 <= nearest_steps(composition(state, 16, 5, 1)) <= 16


def test_thresholds() -> None:
    policy = adaptive_policy("threshold", 0.9, 64, 16)
    made = Lmdeploy().export(policy)
    assert module_of_text(made.files["mdm_tune_lmdeploy.py"]).SETTINGS == {
        "dllm_block_length": 16,
        "dllm_unmasking_strategy": "low_confidence_dynamic",
        "dllm_confidence_threshold": 0.9,
    }
    assert "--dllm-confidence-threshold 0.9" in "\n".join(made.where)
    (text,) = Sglang().export(policy).files.values()
    assert yaml.safe_load(text) == {"threshold": 0.9, "block_size": 16}


def test_an_order_that_a_server_lacks_is_said() -> None:
    made = Lmdeploy().export(counts_policy((2, 2), sampler={"order": "margin"}))
    assert "order margin" in made.lost[-1]
