"""KLASS's own code for LLaDA and Dream, for scripts/peer_parity.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from compare_peers import imported
from peer_calls import Asked, Case, prompts
from peer_networks import PROMPT
from torch import Tensor

__all__ = ["klass_callers", "klass_cases"]

MASK = 126336  # which their code for LLaDA has as a constant
PAIRS = [(0.05, 1.0), (0.3, 0.1), (0.3, 1.0), (0.6, 0.1), (0.6, 0.01), (0.9, 0.01)]  # confidence, KL in nats
BLOCKS = [(24, 24), (24, 8), (30, 10), (32, 8), (20, 5), (7, 7), (1, 1), (64, 16)]  # tokens, block length
DREAM_LENGTHS = (24, 40, 7, 1)


def klass_cases(vocabularies: list[tuple[int, bool]], seeds: range) -> Iterator[Case]:
    """One row each, with as many steps as tokens, so that a step without ready tokens reveals one, as ours does."""
    for (length, block), (size, inside), (threshold, kl), seed in itertools.product(BLOCKS, vocabularies, PAIRS, seeds):
        yield Case("KLASS", "klass", length, block, length, size, inside, seed=seed, threshold=threshold, kl=kl)
    for length, (size, inside), (threshold, kl), seed in itertools.product(DREAM_LENGTHS, vocabularies, PAIRS, seeds):
        yield Case("KLASS Dream", "klass", length, length, length, size, inside, seed=seed, threshold=threshold, kl=kl)


def klass_callers(folder: Path) -> dict[str, Callable[[Case, Asked], Tensor]]:
    """The two samplers. folder: a checkout of shkim0116/KLASS."""
    decode = imported(folder / "src" / "model" / "llada_klass.py", "peer_klass_llada").stable_confident_decode
    dream = imported(folder / "src" / "model" / "dream_klass.py", "peer_klass_dream")
    return {
        "KLASS": lambda case, asked: _llada(decode, case, asked),
        "KLASS Dream": lambda case, asked: _dream(dream, case, asked),
    }


def _llada(decode: Any, case: Case, asked: Asked) -> Tensor:
    class Model:
        device, config = torch.device("cpu"), SimpleNamespace(vocab_size=case.vocabulary)

        def __call__(self, tokens: Tensor) -> SimpleNamespace:
            return asked.forward(torch.where(tokens == MASK, case.mask_id, tokens))

    found: tuple[Tensor, int] = decode(
        Model(),
        None,
        torch.stack(prompts(case)),
        gen_length=case.length,
        steps=case.steps,
        block_length=case.block,
        conf_threshold=case.threshold,
        kl_threshold=case.kl,
        alg="klass",
    )
    assert found[1] == len(asked.states)  # their own count of calls
    return found[0]


def _dream(module: Any, case: Case, asked: Asked) -> Tensor:
    settings = module.DreamGenerationConfig(
        steps=case.steps,
        alg="klass",
        conf_threshold=case.threshold,
        kl_threshold=case.kl,
        max_length=PROMPT + case.length,
        mask_token_id=case.mask_id,
    )

    class Sampler(module.DreamGenerationMixin):  # type: ignore[misc]
        device, config = torch.device("cpu"), SimpleNamespace(vocab_size=case.vocabulary)

        def __call__(self, *given: Any) -> SimpleNamespace:
            return asked.forward(*given)

    prompt, keep = torch.stack(prompts(case)), lambda step, tokens, logits: tokens
    found = Sampler()._sample(prompt, None, settings, keep, lambda step, tokens, logits: logits)
    tokens: Tensor = found[0]
    return tokens
