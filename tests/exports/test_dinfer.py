"""The decoder for dInfer and its replaced function, in loops that are written here as dInfer has them."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from mdm_tune.exports.dinfer import Dinfer
from mdm_tune.exports.policy import Policy
from tests.support.exports import adaptive_policy, count_policies, counts_policy, module_of_text

MASK = 5


def exported(policy: Policy) -> ModuleType:
    (text,) = Dinfer().export(policy).files.values()
    return module_of_text(text)


def decoded(policy: Policy, logits: torch.Tensor, unrolled: int = 1) -> list[list[int]]:
    """The tokens that each call of the decoder reveals, by block; calls go on in groups until a block is full."""
    decoder = exported(policy).CountsDecoder(mask_id=MASK)
    x = torch.full((1, policy.length), MASK)
    found = []
    for block in range(policy.blocks):
        start, end = block * policy.block_length, (block + 1) * policy.block_length
        decoder.block_init(x[:, start:end], block)
        counts: list[int] = []
        while bool((x[:, start:end] == MASK).any()):
            for _ in range(unrolled):
                before = int((x == MASK).sum())
                decoder.decode(logits[:, start:end], start, end, x)
                counts.append(before - int((x == MASK).sum()))
        found.append([count for count in counts if count])
    return found


def random_logits(length: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(1, length, MASK + 1, generator=torch.Generator().manual_seed(seed))


def test_three_thousand_counts_survive_the_decoder() -> None:
    for place, policy in enumerate(count_policies("any", longest=20)):
        found = decoded(policy, random_logits(policy.length, place), unrolled=1 + place % 4)
        assert found == [[count for count in block if count] for block in policy.counts or ()]


def test_three_thousand_counts_survive_the_function() -> None:
    for policy in count_policies("any", seed=2):
        module = exported(policy)
        for block in policy.padded:
            masked = torch.ones(1, policy.block_length, dtype=torch.bool)
            assert module.get_num_transfer_tokens(masked, module.STEPS // policy.blocks).tolist() == [list(block)]


def test_the_most_confident_tokens_go_first_and_the_mask_is_never_drawn() -> None:
    logits = torch.zeros(1, 4, MASK + 1)
    logits[0, :, 2] = torch.tensor([1.0, 4.0, 3.0, 2.0])
    logits[0, :, MASK] = 9.0
    decoder = exported(counts_policy((2, 1, 1))).CountsDecoder(mask_id=MASK)
    x = torch.full((1, 4), MASK)
    decoder.block_init(x, 0)
    decoder.decode(logits, 0, 4, x)
    assert x.tolist() == [[MASK, 2, 2, MASK]]
    decoder.decode(logits, 0, 4, x)
    assert x.tolist() == [[MASK, 2, 2, 2]]


def test_tokens_are_drawn_at_a_temperature() -> None:
    """20,000 draws of a token of probability 1/(1 + e^-2) = 0.881, within five standard deviations."""
    logits = torch.full((1, 20_000, MASK + 1), -torch.inf)
    logits[..., 0], logits[..., 1] = 1.0, 0.0
    decoder = exported(counts_policy((20_000,))).CountsDecoder(temperature=0.5, mask_id=MASK)
    x = torch.full((1, 20_000), MASK)
    with torch.random.fork_rng():
        torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
        decoder.decode(logits, 0, 20_000, x)
    assert float((x == 0).double().mean()) == pytest.approx(0.8808, abs=5 * 0.0023)


def test_a_block_that_begins_in_the_prompt_goes_on_behind_it() -> None:
    decoder = exported(counts_policy((4, 2, 1, 1))).CountsDecoder(mask_id=MASK)
    x = torch.full((2, 8), MASK)
    x[:, :5] = 1
    x[1, 5] = 1
    decoder.block_init(x, 0)
    decoder.decode(random_logits(8).expand(2, -1, -1), 0, 8, x)
    assert (x == MASK).sum(1).tolist() == [2, 1]  # to 6 tokens, and from 6 to 7


def test_a_quota_takes_all_above_its_threshold() -> None:
    policy = counts_policy((2, 2, 2, 2), kind="quota", value=0.6, name="quota:linear@0.6")
    logits = random_logits(8, 3)
    confidence = logits[:, :, :MASK].double().softmax(-1).amax(-1)[0]
    left, wanted = sorted(confidence.tolist()), []
    while left:
        taken = min(len(left), max(2, sum(value > 0.6 for value in left)))
        wanted.append(taken)
        left = left[: len(left) - taken]
    assert decoded(policy, logits) == [wanted] and wanted[0] > 2
    assert not hasattr(exported(policy), "install")


def test_the_function_is_replaced_in_all_loaded_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("dinfer.decoding.utils", "dinfer.decoding.generate_fastdllm", "dinfer.decoding.other", "elsewhere")
    for name in names:
        module = ModuleType(name)
        if not name.endswith("other"):
            module.get_num_transfer_tokens = None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    module = exported(counts_policy((3, 1)))
    module.install()
    replaced = [getattr(sys.modules[name], "get_num_transfer_tokens", "none") for name in names]
    assert replaced == [module.get_num_transfer_tokens, module.get_num_transfer_tokens, "none", None]


def test_a_threshold_becomes_the_decoder_of_dinfer(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = ModuleType("dinfer.decoding.parallel_strategy")
    strategy.ThresholdParallelDecoder = dict  # type: ignore[attr-defined]
    for name, module in (("dinfer", ModuleType("dinfer")), ("dinfer.decoding", ModuleType("dinfer.decoding"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "dinfer.decoding.parallel_strategy", strategy)
    made = exported(adaptive_policy("threshold", 0.9, 64, 16)).decoder(mask_id=7)
    assert made == {"temperature": 0.0, "threshold": 0.9, "mask_id": 7, "eos_id": 126081, "use_float64": True}


def test_an_order_that_the_decoder_lacks_is_said() -> None:
    made = Dinfer().export(counts_policy((3, 1), sampler={"order": "random"}))
    assert 'remasking="random"' in "\n".join(made.where) and "CountsDecoder reveals by confidence" in made.lost[0]
