"""Runs of a stand-in for diffusers, which is written for the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.exports.diffusers import Diffusers
from mdm_tune.exports.policy import Policy
from tests.exports.test_peer_process import exported
from tests.support.exports import adaptive_policy, counts_policy

PEER = """
import math, torch
from types import SimpleNamespace
class BlockRefinementScheduler:
    def set_timesteps(self, steps, block_length):
        self.schedule = self._transfer_schedule = self.get_num_transfer_tokens(block_length, steps)
    def step(self, logits, timestep, sample, *, mask_token_id, threshold):
        values, tokens = logits.softmax(-1).max(-1)
        out = sample.clone()
        for row in range(len(sample)):
            score = values[row].masked_fill(sample[row] != mask_token_id, -1)
            above = score > threshold
            least = int(self._transfer_schedule[timestep]) {blocks}
            if int(above.sum()) < least:
                above = torch.zeros_like(above)
                above[score.topk(min(least, int((score >= 0).sum()))).indices] = True
            out[row, above] = tokens[row, above]
        return out
class LLaDA2Pipeline:
    def __init__(self, model, scheduler):
        self.model, self.scheduler = model, scheduler
    def set_progress_bar_config(self, disable):
        pass
    def __call__(self, input_ids, gen_length, block_length, num_inference_steps, threshold, editing_threshold,
                 mask_token_id, output_type):
        x = torch.nn.functional.pad(input_ids, (0, gen_length), value=mask_token_id)
        self.scheduler.set_timesteps(num_inference_steps, block_length=block_length)
        for end in range(input_ids.shape[1] + block_length, x.shape[1] + 1, block_length):
            part = x[:, end - block_length:end]
            for step in range(num_inference_steps):
                if (part == mask_token_id).any():
                    logits = self.model(x[:, :end]).logits[:, -block_length:]
                    part[:] = self.scheduler.step(
                        logits, step, part, mask_token_id=mask_token_id, threshold=threshold
                    )
        return SimpleNamespace(sequences=x[:, input_ids.shape[1]:])
class AmusedScheduler:
    def __init__(self, mask_token_id):
        self.config = SimpleNamespace(mask_token_id=mask_token_id, masking_schedule="linear")
    def set_timesteps(self, number, temperature):
        self.timesteps = torch.arange(number).flip(0)
    def step(self, logits, timestep, sample, ratio, generator, return_dict):
        share = 1 - (len(self.timesteps) - timestep) / len(self.timesteps)
        out = sample.clone()
        for row in range(len(sample)):
            places = (sample[row] == self.config.mask_token_id).nonzero()[:, 0]
            left = 0 if timestep == 0 else math.floor(sample.shape[1] * float(ratio[row]) * share) {amused}
            out[row, places[left:]] = 0
        return SimpleNamespace(prev_sample=out)
"""


def peer(folder: Path, blocks: str = "", amused: str = "") -> Path:
    (folder / "src" / "diffusers" / "schedulers").mkdir(parents=True)
    (folder / "src" / "diffusers" / "schedulers" / "scheduling_block_refinement.py").write_text("", "utf-8")
    text = PEER.replace("{blocks}", blocks).replace("{amused}", amused)
    (folder / "src" / "diffusers" / "__init__.py").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("policy", "blocks", "amused", "equal"),
    [
        (counts_policy((0, 5, 2, 1)), "", "", True),
        (counts_policy((0, 5, 2, 1)), "+ 1", "", False),
        (counts_policy((0, 5, 2, 1)), "", "+ 1", False),
        (counts_policy((5, 2, 1), (1, 1, 6)), "", "", True),
        (counts_policy((3, 3, 2), kind="quota", value=0.6), "", "", True),
        (adaptive_policy("threshold", 0.6, 16, 8), "", "", True),
        (adaptive_policy("threshold", 0.6, 16, 8), "+ 1", "", False),
    ],
)
def test_the_counts_of_diffusers_are_seen_as_they_are_realised(
    tmp_path: Path, policy: Policy, blocks: str, amused: str, equal: bool
) -> None:
    made = Diffusers().verify(policy, exported(Diffusers(), policy, tmp_path / "made"), peer(tmp_path, blocks, amused))
    assert made.equal == equal and sum(made.wanted) == policy.length
    assert ("AmusedScheduler" in made.ran) == (policy.kind == "counts" and policy.blocks == 1)


def test_a_folder_without_diffusers_is_refused(tmp_path: Path) -> None:
    policy = counts_policy((5, 2, 1))
    with pytest.raises(InputError, match=r"does not hold .*scheduling_block_refinement\.py"):
        Diffusers().verify(policy, exported(Diffusers(), policy, tmp_path / "made"), tmp_path)
