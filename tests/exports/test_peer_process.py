"""Runs of a peer's code. The peers here are written for the tests; they keep what the real ones look like from outside.

Covers: peer_process, peer_runs, peer_tools, peer_llada.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.exports.base import ExportFormat
from mdm_tune.exports.dinfer import Dinfer
from mdm_tune.exports.llada import FastDllm, Llada
from mdm_tune.exports.policy import Policy
from tests.support.exports import adaptive_policy, counts_policy

# Reveals the most confident tokens of a block, as many as get_num_transfer_tokens says.
LLADA = """
import torch
def get_num_transfer_tokens(mask_index, steps):
    raise AssertionError("not replaced")
def generate(model, prompt, steps, gen_length, block_length, mask_id):
    x = torch.cat([prompt, torch.full((len(prompt), gen_length), mask_id)], 1)
    blocks = gen_length // block_length
    for block in range(blocks):
        start = prompt.shape[1] + block * block_length
        part = x[:, start:start + block_length]
        counts = get_num_transfer_tokens(part == mask_id, steps // blocks)
        for step in range(counts.shape[1]):
            values, tokens = model(x).logits.softmax(-1)[:, start:start + block_length].max(-1)
            values = values.masked_fill(part != mask_id, -1)
            for row in range(len(x)):
                chosen = values[row].topk(int(counts[row, step]) {change}).indices
                part[row, chosen] = tokens[row, chosen]
    return x
"""
FAST = """
import torch
from model.modeling_llada import LLaDAModelLM
print("a line on stdout")
def get_num_transfer_tokens(mask_index, steps):
    raise AssertionError("not replaced")
def loop(model, prompt, steps, gen_length, block_length, mask_id, threshold, first, later):
    x = torch.cat([prompt, torch.full((1, gen_length), mask_id)], 1)
    blocks = gen_length // block_length
    for block in range(blocks):
        start = prompt.shape[1] + block * block_length
        end = start + block_length
        counts = get_num_transfer_tokens(x[:, start:end] == mask_id, steps // blocks) if threshold is None else None
        step = 0
        while True:
            begin, stop = (0, None) if step == 0 or later == "all" else (start, end if later == "block" else None)
            logits = model(x[:, begin:stop]).logits
            confidence = logits.softmax(-1).amax(-1)[:, start - begin:end - begin]
            hidden = x[0, start:end] == mask_id
            confidence = confidence[0].masked_fill(~hidden, -1)
            if threshold is None:
                chosen = confidence.topk(int(counts[0, step])).indices
            else:
                chosen = (confidence >= threshold).nonzero()[:, 0]
                chosen = chosen if len(chosen) else confidence.topk(1).indices
            x[0, start + chosen] = 0
            step += 1
            if (step > 1 or later == "all") and not (x[:, start:end] == mask_id).any():
                break
    return x, 0
def generate(model, prompt, steps, gen_length, block_length, mask_id, remasking="", threshold=None):
    return loop(model, prompt, steps, gen_length, block_length, mask_id, threshold, 0, "all")
def generate_with_prefix_cache(model, prompt, steps, gen_length, block_length, mask_id, remasking="", threshold=None):
    return loop(model, prompt, steps, gen_length, block_length, mask_id, threshold, 1, "rest")
def generate_with_dual_cache(model, prompt, steps, gen_length, block_length, mask_id, remasking="", threshold=None):
    return loop(model, prompt, steps, gen_length, block_length, mask_id, threshold, 1, "block")
"""


def exported(known: ExportFormat, policy: Policy, folder: Path) -> Path:
    folder.mkdir()
    for name, text in known.export(policy).files.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.usefixtures("new_interpreter")
def test_the_counts_of_llada_are_seen_as_they_are_realised(tmp_path: Path) -> None:
    policy = counts_policy((3, 0, 1), (4,))
    files = exported(Llada(), policy, tmp_path / "made")
    (tmp_path / "generate.py").write_text(LLADA.replace("{change}", ""), "utf-8")
    made = Llada().verify(policy, files, tmp_path)
    assert made.equal and made.wanted == (3, 1, 4) and made.ran == "generate() of generate.py"


def test_a_peer_that_reveals_fewer_is_seen(tmp_path: Path) -> None:
    policy = counts_policy((3, 1))
    files = exported(Llada(), policy, tmp_path / "made")
    (tmp_path / "generate.py").write_text(LLADA.replace("{change}", "- (row == 1 and step == 0)"), "utf-8")
    made = Llada().verify(policy, files, tmp_path)
    assert not made.equal and (made.wanted, made.realised) == ((3, 1), (2, 1))


def test_all_functions_of_fast_dllm_are_run(tmp_path: Path) -> None:
    policy = counts_policy((4,), (4,), (4,))
    files = exported(FastDllm(), policy, tmp_path / "made")
    (tmp_path / "llada").mkdir()
    (tmp_path / "llada" / "generate.py").write_text(FAST, "utf-8")
    made = FastDllm().verify(policy, files, tmp_path)
    assert made.equal and made.wanted == (4, 4, 4)
    assert "generate_with_prefix_cache(), generate_with_dual_cache()" in made.ran


def test_a_threshold_of_fast_dllm_is_compared_with_the_rule(tmp_path: Path) -> None:
    policy = adaptive_policy("threshold", 0.6, 32, 8)
    files = exported(FastDllm(), policy, tmp_path / "made")
    (tmp_path / "generate.py").write_text(FAST, "utf-8")
    made = FastDllm().verify(policy, files, tmp_path)
    assert made.equal and sum(made.wanted) == 32 and max(made.wanted) > 1


@pytest.mark.usefixtures("new_interpreter")
def test_other_folders_and_failing_code_are_told_apart(tmp_path: Path) -> None:
    policy = counts_policy((3, 1))
    files = exported(Llada(), policy, tmp_path / "made")
    with pytest.raises(InputError, match="there is no folder"):
        Llada().verify(policy, files, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"does not hold generate\.py; give the folder that does"):
        Llada().verify(policy, files, tmp_path)
    (tmp_path / "generate.py").write_text("raise ValueError('broken on purpose')", "utf-8")
    with pytest.raises(RunError, match="failed: ValueError: broken on purpose; correct it"):
        Llada().verify(policy, files, tmp_path)


UNIFORM = """
import torch
from .utils import BlockIteratorFactory
class BlockWiseDiffusionLLM:
    def __init__(self, model, decoder, iterator_factory):
        self.model, self.decoder = model, decoder
    def generate(self, prompt, gen_length, block_length):
        x = torch.nn.functional.pad(prompt, (0, gen_length), value=self.decoder.mask_id)
        for number, start in enumerate(range(prompt.shape[1], x.shape[1], block_length)):
            block = x[:, start:start + block_length]
            self.decoder.block_init(block, number)
            while (block == self.decoder.mask_id).any():
                logits = self.model(x).logits[:, start:start + block_length]
                self.decoder.decode(logits, start, start + block_length, x)
        return x
"""
STRATEGY = """
class ThresholdParallelDecoder:
    def __init__(self, temperature, threshold, mask_id, eos_id, use_float64):
        self.threshold, self.mask_id = threshold, mask_id
    def block_init(self, block, number):
        pass
    def decode(self, logits, start, end, x):
        hidden = x[:, start:end] == self.mask_id
        sure = logits.softmax(-1).amax(-1).masked_fill(~hidden, -1)
        x[:, start:end][sure >= min(self.threshold, float(sure.max()))] = 0
"""


def dinfer_of(folder: Path) -> Path:
    decoding = folder / "dinfer" / "decoding"
    decoding.mkdir(parents=True)
    (folder / "dinfer" / "__init__.py").write_text("raise ImportError('needs a GPU')", "utf-8")
    (decoding / "utils.py").write_text("class BlockIteratorFactory: pass\nget_num_transfer_tokens = None", "utf-8")
    (decoding / "generate_uniform.py").write_text(UNIFORM, "utf-8")
    (decoding / "parallel_strategy.py").write_text(STRATEGY, "utf-8")
    text = FAST.replace("from model.modeling_llada", "from ..model.modeling_llada_fastdllm")
    (decoding / "generate_fastdllm.py").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("policy", "ran"),
    [
        (counts_policy((3, 0, 1), (2, 1, 1)), "BlockWiseDiffusionLLM.generate() and generate(), "),
        (counts_policy((2, 2, 2, 2), kind="quota", value=0.6), "BlockWiseDiffusionLLM.generate()"),
        (adaptive_policy("threshold", 0.6, 32, 8), "BlockWiseDiffusionLLM.generate()"),
    ],
)
def test_counts_quota_and_threshold_are_seen_in_dinfer(tmp_path: Path, policy: Policy, ran: str) -> None:
    files = exported(Dinfer(), policy, tmp_path / "made")
    made = Dinfer().verify(policy, files, dinfer_of(tmp_path))
    assert made.equal and made.ran.startswith(ran) and sum(made.wanted) == policy.length
