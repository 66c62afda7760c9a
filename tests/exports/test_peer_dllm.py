"""Runs of a stand-in for dllm, which is written for the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.exports.dllm import Dllm
from tests.exports.test_peer_process import exported
from tests.support.exports import alphas_policy, counts_policy

SCHEDULERS = """
import dataclasses, torch
@dataclasses.dataclass
class BaseAlphaScheduler:
    pass
"""
UTILS = """
import torch
def get_num_transfer_tokens(mask_index, steps, scheduler, stochastic=False):
    left, counts = int(mask_index[0].sum()), []
    for step in range(steps, 0, -1):
        chance = (1 - scheduler.reverse_mask_prob(s=(step - 1) / steps, t=step / steps)) {change}
        if stochastic:
            counts.append(int(torch.distributions.Binomial(torch.tensor(left), chance).sample()))
        else:
            counts.append(round(left * chance))
        left -= counts[-1]
    return torch.tensor([count for count in counts if count]).expand(len(mask_index), -1)
"""
MDLM = """
import dataclasses, torch
from dllm.core.samplers.utils import get_num_transfer_tokens
@dataclasses.dataclass
class MDLMSamplerConfig:
    max_new_tokens: int
    block_size: int
    steps: int
@dataclasses.dataclass
class MDLMSampler:
    model: object
    tokenizer: object
    scheduler: object
    def sample(self, inputs, config):
        mask = self.tokenizer.mask_token_id
        x = torch.nn.functional.pad(torch.stack(inputs), (0, config.max_new_tokens), value=mask)
        blocks, place = config.max_new_tokens // config.block_size, len(inputs[0])
        for _ in range(blocks):
            hidden = x[:, place:place + config.block_size] == mask
            for count in get_num_transfer_tokens(hidden, config.steps // blocks, self.scheduler)[0].tolist():
                self.model(x)
                x[:, place:place + count] = 0
                place += count
        return x
"""


def peer(folder: Path, change: str) -> Path:
    core = folder / "dllm" / "core"
    (core / "samplers").mkdir(parents=True)
    for part in (folder / "dllm", core, core / "samplers"):
        (part / "__init__.py").write_text("raise ImportError('needs what is not installed')", "utf-8")
    (core / "schedulers.py").write_text(SCHEDULERS, "utf-8")
    (core / "samplers" / "utils.py").write_text(UTILS.replace("{change}", change), "utf-8")
    (core / "samplers" / "mdlm.py").write_text(MDLM, "utf-8")
    return folder


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.5", False)])
def test_the_counts_of_dllm_are_seen_as_they_are_realised(tmp_path: Path, change: str, equal: bool) -> None:
    policy = counts_policy((0, 5, 2, 1), (0, 5, 2, 1))
    files = exported(Dllm(), policy, tmp_path / "made")
    made = Dllm().verify(policy, files, peer(tmp_path, change))
    assert made.equal == equal and made.wanted == (5, 2, 1, 5, 2, 1)


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.999", False)])
def test_the_probabilities_of_dllm_are_compared(tmp_path: Path, change: str, equal: bool) -> None:
    policy = alphas_policy((0.0, 0.25, 0.25, 1.0, 1.0), 16)
    files = exported(Dllm(), policy, tmp_path / "made")
    made = Dllm().verify(policy, files, peer(tmp_path, change))
    assert made.equal == equal and made.wanted == (0.25, 0.0, 1.0)
