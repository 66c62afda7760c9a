"""The schedulers for diffusers, on base classes whose arithmetic is derived here again."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mdm_tune.exports.diffusers import AMUSED_FILE, BLOCK_FILE, Diffusers
from mdm_tune.exports.policy import Policy
from tests.support.exports import adaptive_policy, count_policies, counts_policy, module_of_text

MASK = -1


class BlockRefinementScheduler:
    """The number of tokens of a step: all above the threshold if they are enough, otherwise the step's number."""

    config = SimpleNamespace(threshold=0.95)

    def set_timesteps(self, steps: int, block_length: int) -> None:
        self.number = steps
        self._transfer_schedule = self.get_num_transfer_tokens(block_length, steps)

    def get_num_transfer_tokens(self, block_length: int, num_inference_steps: int) -> torch.Tensor:
        raise NotImplementedError

    def step(
        self, model_output: torch.Tensor, timestep: int, sample: torch.Tensor, *, mask_token_id: int, threshold: float
    ) -> torch.Tensor:
        """``model_output`` holds the confidence of each position here, (rows, block_length)."""
        sample = sample.clone()
        least = int(self._transfer_schedule[min(timestep, len(self._transfer_schedule) - 1)])
        for row, confidence in zip(sample.numpy(), model_output.numpy(), strict=True):
            masked = row == mask_token_id
            chosen = masked & (confidence > threshold)
            if chosen.sum() < least:
                chosen = np.argsort(np.where(masked, -confidence, np.inf))[: min(least, masked.sum())]
            row[chosen] = 1
        return sample


class AmusedScheduler:
    """Tokens that stay masked: tokens * ratio * share, in float32, rounded down; at least 1, and fewer than before."""

    def __init__(self, masking_schedule: str) -> None:
        self.config = SimpleNamespace(mask_token_id=MASK, masking_schedule=masking_schedule)

    def set_timesteps(self, num_inference_steps: int, temperature: Any = (2, 0)) -> None:
        self.timesteps = torch.arange(num_inference_steps).flip(0)

    def step(
        self, model_output: Any, timestep: Any, sample: torch.Tensor, ratio: Any, generator: Any, return_dict: bool
    ) -> torch.Tensor:
        before = (sample == MASK).sum(-1, keepdim=True)
        if timestep == 0:
            return torch.ones_like(sample)
        share = ((self.timesteps == timestep).nonzero() + 1) / len(self.timesteps)
        left = torch.cos(share * math.pi / 2) if self.config.masking_schedule == "cosine" else 1 - share
        masked = torch.max(torch.tensor([1]), torch.min(before - 1, (sample.shape[1] * (ratio * left)).floor()))
        sample = sample.clone()
        for row, left in zip(sample.numpy(), masked.expand(len(sample), 1).tolist(), strict=True):
            row[np.flatnonzero(row == MASK)[int(left[0]) :]] = 1
        return sample


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("diffusers")
    module.BlockRefinementScheduler = BlockRefinementScheduler  # type: ignore[attr-defined]
    module.AmusedScheduler = AmusedScheduler  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "diffusers", module)


def exported(policy: Policy, file: str = BLOCK_FILE) -> ModuleType:
    return module_of_text(Diffusers().export(policy).files[file])


def pipeline_counts(module: ModuleType, confidence: torch.Tensor, before: int = 0) -> list[list[int]]:
    """Tokens of each step by block, in a loop as the pipeline has it: at most STEPS steps, until a block is full.

    Args:
        module: the exported one.
        confidence: (positions,).
        before: tokens of the prompt in the first block.
    """
    scheduler, size = module.MdmTuneBlockRefinementScheduler(), module.BLOCK_LENGTH
    scheduler.set_timesteps(module.STEPS, block_length=size)
    found = []
    for start in range(0, len(confidence), size):
        sample = torch.full((1, size), MASK)
        sample[0, : max(0, before - start)] = 1
        counts: list[int] = []
        part = confidence[None, start : start + size]
        while (masks := np.count_nonzero(sample.numpy() == MASK)) and len(counts) < module.STEPS:
            sample = scheduler.step(part, len(counts), sample, mask_token_id=MASK, threshold=module.THRESHOLD)
            counts.append(masks - np.count_nonzero(sample.numpy() == MASK))
        found.append(counts)
    return found


def nonzero(policy: Policy) -> list[list[int]]:
    return [[count for count in block if count] for block in policy.counts or ()]


def random_confidence(length: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(length, generator=torch.Generator().manual_seed(seed))


def test_three_thousand_counts_survive_the_steps_of_blocks() -> None:
    for place, policy in enumerate(count_policies("any", longest=24)):
        assert pipeline_counts(exported(policy), random_confidence(policy.length, place)) == nonzero(policy)


@pytest.mark.parametrize(("number", "longest"), [(1440, 32), (50, 256), (10, 1024)])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_three_thousand_counts_survive_the_rounding_of_amused(schedule: str, number: int, longest: int) -> None:
    for place, policy in enumerate(count_policies("none", number, longest, seed=len(schedule))):
        module = exported(policy, AMUSED_FILE)
        scheduler = module.MdmTuneAmusedScheduler(schedule)
        scheduler.set_timesteps(module.STEPS)
        sample = torch.full((1, policy.length + place % 3), MASK)
        sample[:, policy.length :] = 1
        counts = []
        for timestep in scheduler.timesteps:
            after = scheduler.step(None, timestep, sample)
            counts.append(int((sample == MASK).sum() - (after == MASK).sum()))
            sample = after
        assert [counts] == nonzero(policy)


def test_amused_gives_rows_with_fewer_masks_the_same_shares() -> None:
    scheduler = exported(counts_policy((2, 2, 4)), AMUSED_FILE).MdmTuneAmusedScheduler("cosine")
    scheduler.set_timesteps(3)
    sample = torch.full((2, 8), MASK)
    sample[1, :4] = 1
    left = []
    for timestep in scheduler.timesteps:
        sample = scheduler.step(None, timestep, sample)
        left.append((sample == MASK).sum(1).tolist())
    assert left == [[6, 3], [4, 2], [0, 0]]
    with pytest.raises(ValueError, match="has num_inference_steps=3, got 4"):
        scheduler.set_timesteps(4)


def test_a_quota_takes_all_above_its_threshold() -> None:
    policy = counts_policy((2, 2, 2, 2), kind="quota", value=0.6, name="quota:linear@0.6")
    confidence = torch.tensor([0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert pipeline_counts(exported(policy), confidence) == [[3, 2, 2, 1]]
    assert AMUSED_FILE not in Diffusers().export(policy).files


def test_a_threshold_reveals_all_above_it_then_one_after_the_other() -> None:
    confidence = torch.tensor([0.95, 0.8, 0.99, 0.1, 0.2, 0.3, 0.91, 0.5])
    found = pipeline_counts(exported(adaptive_policy("threshold", 0.9, 8, 4)), confidence)
    assert found == [[2, 1, 1], [1, 1, 1, 1]]


def test_a_block_that_begins_in_the_prompt_gets_the_same_shares() -> None:
    module = exported(counts_policy((4, 2, 2), (1, 1, 6)))
    # The first block has 4 masks: half of them, a quarter, a quarter. The last block is the exported last one.
    assert pipeline_counts(module, random_confidence(24), before=4) == [[2, 1, 1], [1, 1, 6], [1, 1, 6]]


def test_other_arguments_are_refused() -> None:
    scheduler = exported(counts_policy((4, 2, 2))).MdmTuneBlockRefinementScheduler()
    with pytest.raises(ValueError, match="block_length=8 and num_inference_steps=3, got 8 and 4"):
        scheduler.set_timesteps(4, block_length=8)
    with pytest.raises(ValueError, match="give mask_token_id"):
        scheduler.step(None, 0, None)


def test_the_instructions_and_what_is_lost() -> None:
    made = Diffusers().export(counts_policy((3, 1), (3, 1), sampler={"order": "margin", "temperature": 0.5}))
    lines = "\n".join(made.where)
    assert "gen_length=8, block_length=4, num_inference_steps=2," in lines and "temperature=0.5" in lines
    assert any("order margin" in line for line in made.lost)
    amused = Diffusers().export(counts_policy((3, 1), sampler={"confidence_temperature": 0.25}))
    assert "temperature=(0.25, 0.25)" in "\n".join(amused.where)
