"""The policy for vLLM's dllm plugin, on a base class whose arithmetic is derived here again."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mdm_tune.exports.policy import Policy
from mdm_tune.exports.vllm import Vllm
from tests.support.exports import adaptive_policy, count_policies, counts_policy, module_of_text

MASK = -1


class Llada2DefaultRemaskingPolicy:
    """All masked tokens above the threshold if they are enough, otherwise num_transfer. Logits are confidences here."""

    def apply(self, *, input_draft: Sequence[int], logits: Sequence[float], remasking_config: Mapping[str, Any]) -> Any:
        mask, number = remasking_config["mask_token_id"], remasking_config["num_transfer"]
        assert number >= 0
        masked = [place for place, token in enumerate(input_draft) if token == mask]
        chosen = [place for place in masked if logits[place] > remasking_config["commit_confidence_threshold"]]
        if len(chosen) < number:
            chosen = sorted(masked, key=lambda place: (-logits[place], place))[:number]
        chosen = set(chosen)
        return SimpleNamespace(draft=[1 if place in chosen else token for place, token in enumerate(input_draft)])


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (
        ("vllm_dllm_plugin", {}),
        ("vllm_dllm_plugin.config", {"LLADA2_DEFAULT_MASK_TOKEN_ID": MASK}),
        ("vllm_dllm_plugin.remasking", {}),
        ("vllm_dllm_plugin.remasking.llada2_default", {"Llada2DefaultRemaskingPolicy": Llada2DefaultRemaskingPolicy}),
    ):
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


def realised(policy: Policy, confidence: Sequence[float], before: int = 0) -> list[int]:
    """The tokens of each step of a block, of which the first ``before`` are given."""
    made = module_of_text(Vllm().export(policy).files["mdm_tune_vllm.py"]).MdmTuneRemaskingPolicy()
    draft, counts = [1] * before + [MASK] * (policy.block_length - before), []
    while MASK in draft:
        config = {"denoise_step_index": len(counts)}
        after = made.apply(input_draft=draft, logits=confidence, remasking_config=config).draft
        counts.append(draft.count(MASK) - after.count(MASK))
        draft = after
    return counts


def test_three_thousand_counts_survive_the_policy() -> None:
    state = random.Random(0)
    for policy in count_policies("equal", longest=32):
        assert policy.counts is not None
        confidence = [state.random() for _ in range(policy.block_length)]
        assert realised(policy, confidence) == [count for count in policy.counts[0] if count]


def test_a_block_that_begins_in_the_prompt_goes_on_behind_it() -> None:
    assert realised(counts_policy((4, 2, 1, 1)), [0.5] * 8, before=5) == [1, 1, 1]


def test_a_quota_and_a_threshold() -> None:
    confidence = [0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.4, 0.5]
    quota = counts_policy((2, 2, 2, 2), kind="quota", value=0.6, name="quota:linear@0.6")
    assert realised(quota, confidence) == [3, 2, 2, 1]
    assert realised(adaptive_policy("threshold", 0.6, 8, 8), confidence) == [3, 1, 1, 1, 1, 1]


def test_another_block_length_is_said() -> None:
    assert any("DRAFT_SIZE" in line for line in Vllm().export(counts_policy((3, 1))).lost)
    assert not any("DRAFT_SIZE" in line for line in Vllm().export(counts_policy((16, 16))).lost)
