"""Runs of stand-ins for the dllm plugin, LMDeploy and SGLang, which are written for the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.exports.engines import Lmdeploy, Sglang
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.vllm import Vllm
from tests.exports.test_peer_process import exported
from tests.support.exports import adaptive_policy, counts_policy

POLICY = """
from types import SimpleNamespace
class Llada2DefaultRemaskingPolicy:
    def apply(self, *, input_draft, logits, remasking_config):
        mask, number = remasking_config["mask_token_id"], remasking_config["num_transfer"] {change}
        import math
        score = [max(math.exp(x - max(row)) for x in row) / sum(math.exp(x - max(row)) for x in row) for row in logits]
        masked = [i for i, token in enumerate(input_draft) if token == mask]
        chosen = [i for i in masked if score[i] > remasking_config["commit_confidence_threshold"]]
        if len(chosen) < number:
            chosen = sorted(masked, key=lambda i: -score[i])[:number]
        draft = tuple(0 if i in chosen else token for i, token in enumerate(input_draft))
        return SimpleNamespace(committed_token_ids=() if mask in draft else draft, next_input_block=draft)
"""
HANDOFF = """
def remask_after_block_forward(*, input_draft, logits, policy, remasking_config):
    return policy.apply(input_draft=input_draft, logits=logits, remasking_config=remasking_config)
"""
UNMASKING = """
import torch
from lmdeploy.pytorch import consts
from lmdeploy.pytorch.config import DLLMConfig, UnmaskingStrategy
DLLM_MASKED = consts.DLLM_MASKED
class UnmaskingProcessor:
    def __init__(self, config):
        self.config = config
    def __call__(self, logits, inputs, tokens, masked):
        score = logits.softmax(-1).amax(-1).masked_fill(masked != DLLM_MASKED, -1)
        if self.config.unmasking_strategy == UnmaskingStrategy.LOW_CONFIDENCE_STATIC:
            chosen = score.topk(max(1, len(score) // self.config.denoising_steps {change})).indices
        else:
            chosen = (score >= min(float(score.max()), self.config.confidence_threshold)).nonzero()[:, 0]
        masked[chosen] = 1
        return masked, tokens
"""


def plugin(folder: Path, change: str) -> Path:
    inner = folder / "vllm_dllm_plugin" / "remasking"
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("", "utf-8")
    (inner.parent / "config.py").write_text("DRAFT_SIZE, LLADA2_DEFAULT_MASK_TOKEN_ID = 32, 1\n", "utf-8")
    (inner / "llada2_default.py").write_text(POLICY.replace("{change}", change), "utf-8")
    (inner / "handoff.py").write_text(HANDOFF, "utf-8")
    return folder


def engine(folder: Path, change: str) -> Path:
    inner = folder / "lmdeploy" / "pytorch" / "strategies" / "dllm"
    inner.mkdir(parents=True)
    (inner.parents[1] / "consts.py").write_text("DLLM_MASKED = 0\n", "utf-8")
    (inner / "unmasking.py").write_text(UNMASKING.replace("{change}", change), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("policy", "change", "equal"),
    [
        (counts_policy((5, 0, 2, 1), (5, 0, 2, 1)), "", True),
        (counts_policy((5, 0, 2, 1), (5, 0, 2, 1)), "+ 1", False),
        (counts_policy((3, 3, 2), kind="quota", value=0.6), "", True),
        (adaptive_policy("threshold", 0.6, 16, 8), "", True),
    ],
)
def test_the_counts_of_the_plugin_are_seen(tmp_path: Path, policy: Policy, change: str, equal: bool) -> None:
    made = Vllm().verify(policy, exported(Vllm(), policy, tmp_path / "made"), plugin(tmp_path / "peer", change))
    assert made.equal == equal and sum(made.wanted) == policy.length


@pytest.mark.parametrize(
    ("policy", "change", "equal"),
    [
        (counts_policy((4, 4, 2), (4, 4, 2)), "", True),
        (counts_policy((4, 4, 2), (4, 4, 2)), "+ 1", False),
        (adaptive_policy("threshold", 0.6, 16, 8), "", True),
    ],
)
def test_the_counts_of_the_engine_are_seen(tmp_path: Path, policy: Policy, change: str, equal: bool) -> None:
    made = Lmdeploy().verify(policy, exported(Lmdeploy(), policy, tmp_path / "made"), engine(tmp_path / "peer", change))
    assert made.equal == equal and sum(made.wanted) == policy.length


SGLANG_CONFIG = """
import yaml
from types import SimpleNamespace
from sglang.srt.arg_groups.overrides import resolving_view
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.server_args import ServerArgs
class DllmConfig:
    @staticmethod
    def from_server_args(server_args):
        given = resolving_view(server_args)
        assert ModelConfig.from_server_args(given, model_path="").hf_config.architectures == ["LLaDA2MoeModelLM"]
        settings = yaml.safe_load(open(given.dllm_algorithm_config))
        return SimpleNamespace(algorithm_config=settings, block_size=settings["block_size"], mask_id=156895)
"""
SGLANG_ALGORITHM = """
import torch
from sglang.srt.dllm.config import DllmConfig
from sglang.srt.model_executor.model_runner import ModelRunner
from sglang.srt.utils import is_npu
class LowConfidence:
    def __init__(self, config):
        self.threshold = config.algorithm_config["threshold"]
        self.block_size, self.mask_id = config.block_size, config.mask_id
    def run(self, model_runner, forward_batch):
        assert not is_npu()
        while (hidden := forward_batch.input_ids == self.mask_id).any():
            out = model_runner.forward(forward_batch, pp_proxy_tensors=None)
            assert out.logits_output is out[0] and not out.can_run_graph
            score = out.logits_output.full_logits.softmax(-1).amax(-1).masked_fill(~hidden, -1)
            chosen = score > self.threshold {change}
            chosen[score.argmax()] = True
            forward_batch.input_ids[chosen] = 0
Algorithm = LowConfidence
"""


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 1.2", False)])
def test_the_threshold_of_sglang_is_seen(tmp_path: Path, change: str, equal: bool) -> None:
    folder = tmp_path / "peer" / "python" / "sglang" / "srt" / "dllm"
    (folder / "algorithm").mkdir(parents=True)
    (folder / "algorithm" / "__init__.py").write_text("", "utf-8")
    (folder / "config.py").write_text(SGLANG_CONFIG, "utf-8")
    (folder / "algorithm" / "low_confidence.py").write_text(SGLANG_ALGORITHM.replace("{change}", change), "utf-8")
    policy = adaptive_policy("threshold", 0.6, 32, 8)
    made = Sglang().verify(policy, exported(Sglang(), policy, tmp_path / "made"), tmp_path / "peer")
    assert made.equal == equal and sum(made.realised) == 32 and max(made.wanted) > 1


def test_folders_without_the_code_are_refused(tmp_path: Path) -> None:
    policy = counts_policy((2, 2))
    for known, missing in ((Vllm(), "handoff"), (Lmdeploy(), "unmasking")):
        with pytest.raises(InputError, match=f"does not hold .*{missing}"):
            known.verify(policy, exported(known, policy, tmp_path / known.name), tmp_path)
