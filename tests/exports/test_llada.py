"""The replacement of ``get_num_transfer_tokens``, in loops that are written here as LLaDA and Fast-dLLM have them."""

from __future__ import annotations

import pytest
import torch

from mdm_tune.core.errors import InputError
from mdm_tune.exports.llada import FastDllm, Llada
from mdm_tune.exports.policy import Policy
from tests.support.exports import adaptive_policy, count_policies, counts_policy, module_of_text


def text_of(known: Llada | FastDllm, policy: Policy) -> str:
    (text,) = known.export(policy).files.values()
    return text


def llada_counts(policy: Policy) -> list[int]:
    """The counts of LLaDA's loop: all steps of a block are made, one block after the other."""
    module = module_of_text(text_of(Llada(), policy))
    blocks = policy.length // module.BLOCK_LENGTH
    assert module.STEPS % blocks == 0 and policy.length == module.LENGTH
    revealed = []
    for _ in range(blocks):
        masked = torch.ones(2, module.BLOCK_LENGTH, dtype=torch.bool)
        counts = module.get_num_transfer_tokens(masked, module.STEPS // blocks)
        assert counts.dtype == torch.int64 and counts.shape == (2, module.STEPS // blocks)
        assert counts[0].tolist() == counts[1].tolist()
        left = module.BLOCK_LENGTH
        for step in range(module.STEPS // blocks):
            left -= int(counts[0, step])
            revealed.append(int(counts[0, step]))
        assert left == 0
    return revealed


def fast_dllm_counts(policy: Policy, cached: bool) -> list[int]:
    """The counts of Fast-dLLM's loops. With a cache, each block makes a second call before it looks for masks."""
    module = module_of_text(text_of(FastDllm(), policy))
    blocks = policy.length // module.BLOCK_LENGTH
    revealed = []
    for _ in range(blocks):
        masked = torch.ones(1, module.BLOCK_LENGTH, dtype=torch.bool)
        counts = module.get_num_transfer_tokens(masked, module.STEPS // blocks)
        left, step = module.BLOCK_LENGTH, 0
        while True:
            left -= int(counts[0, step])
            revealed.append(int(counts[0, step]))
            step += 1
            if left == 0 and (step > 1 or not cached):
                break
    return revealed


def test_three_thousand_counts_survive_llada() -> None:
    for policy in count_policies("any"):
        found = llada_counts(policy)
        assert [count for count in found if count] == [count for count in policy.flat_counts if count]
        assert len(found) == policy.most_steps * policy.blocks


def test_three_thousand_counts_survive_fast_dllm() -> None:
    for place, policy in enumerate(count_policies("any", seed=1)):
        found = fast_dllm_counts(policy, cached=bool(place % 2))
        assert [count for count in found if count] == [count for count in policy.flat_counts if count]


def test_zeros_keep_their_places_and_shorter_blocks_idle_at_their_end() -> None:
    policy = counts_policy((0, 3, 0, 1), (4,))
    assert llada_counts(policy) == [0, 3, 0, 1, 4, 0, 0, 0]
    assert "8 calls, not 3" in Llada().export(policy).lost[0]
    assert fast_dllm_counts(policy, cached=False) == [0, 3, 0, 1, 4]
    assert "5 calls" in FastDllm().export(policy).lost[0]
    assert Llada().export(counts_policy((3, 1), (3, 1))).lost == ()


def test_one_step_with_a_cache_gets_the_second_step_that_is_asked_for() -> None:
    assert fast_dllm_counts(counts_policy((4,), (4,)), cached=True) == [4, 0, 4, 0]
    assert "4 calls" in FastDllm().export(counts_policy((4,), (4,))).lost[0]


def test_rows_with_fewer_masks_get_the_same_shares() -> None:
    module = module_of_text(text_of(Llada(), counts_policy((4, 2, 1, 1))))
    masked = torch.zeros(3, 8, dtype=torch.bool)
    masked[0, :4], masked[1, :8] = True, True
    # Half of the ends 4, 6, 7, 8 is 2, 3, 3.5 (rounded up), 4.
    assert module.get_num_transfer_tokens(masked, 4).tolist() == [[2, 1, 1, 0], [4, 2, 1, 1], [0, 0, 0, 0]]


def test_other_steps_are_refused_and_a_stopped_call_can_be_restarted() -> None:
    module = module_of_text(text_of(Llada(), counts_policy((3, 1), (2, 2))))
    masked = torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="2 steps per block, got 3; give steps=4"):
        module.get_num_transfer_tokens(masked, 3)
    assert module.get_num_transfer_tokens(masked, 2).tolist() == [[3, 1]]
    module.restart()
    assert [module.get_num_transfer_tokens(masked, 2).tolist() for _ in range(3)] == [[[3, 1]], [[2, 2]], [[3, 1]]]


def test_the_order_is_named_as_in_llada() -> None:
    named = "\n".join(Llada().export(counts_policy((3, 1), sampler={"order": "random"})).where)
    assert 'remasking="random"' in named
    made = Llada().export(counts_policy((3, 1), sampler={"order": "margin"}))
    assert 'remasking="low_confidence"' in "\n".join(made.where) and "margin" in made.lost[0]


def test_a_threshold_is_given_to_fast_dllm_as_arguments() -> None:
    module = module_of_text(text_of(FastDllm(), adaptive_policy("threshold", 0.9, 64, 16)))
    assert module.SETTINGS == {
        "steps": 4,
        "gen_length": 64,
        "block_length": 16,
        "remasking": "low_confidence",
        "threshold": 0.9,
    }
    with pytest.raises(InputError, match=r"nearest is .* threshold:0.9 .*more than 2 calls"):
        FastDllm().export(counts_policy((3, 1), kind="quota", value=0.9))
