"""A run of dllm's sampler on exported files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

from mdm_tune.exports.peer_dream import TOLERANCE, probabilities
from mdm_tune.exports.peer_tools import (
    MASK,
    PROMPT,
    ROWS,
    Answer,
    RandomModel,
    Request,
    counts_of_rows,
    found,
    module_of,
    packages,
    stand_in,
    wanted_counts,
)

__all__ = ["dllm"]


def dllm(request: Request) -> Answer:
    """``MDLMSampler.sample`` of dllm with the exported scheduler."""
    import torch

    file = found(request, "dllm/core/samplers/mdlm.py")
    stand_in("transformers")
    sys.path.insert(0, request["peer"])
    packages(Path(request["peer"]), "dllm", "dllm.core", "dllm.core.samplers")
    peer = importlib.import_module("dllm.core.samplers.mdlm")
    scheduler = module_of(Path(request["file"]), "exported").MdmTuneAlphaScheduler()
    ran = f"MDLMSampler.sample() of {file.relative_to(request['peer'])}"
    if request["alphas"] is not None:
        return _ancestral(request, scheduler, ran)
    model = RandomModel(PROMPT + request["length"])
    tokenizer = SimpleNamespace(mask_token_id=MASK, bos_token_id=1, eos_token_id=2)
    sampler = peer.MDLMSampler(model=model, tokenizer=tokenizer, scheduler=scheduler)
    config = peer.MDLMSamplerConfig(
        max_new_tokens=request["length"], block_size=request["block_length"], steps=request["steps"]
    )
    tokens = sampler.sample([torch.zeros(PROMPT, dtype=torch.long)] * ROWS, config)
    wanted = wanted_counts(request)
    return {"wanted": wanted, "realised": counts_of_rows(model, tokens, wanted), "ran": ran}


def _ancestral(request: Request, scheduler: object, ran: str) -> Answer:
    """The probabilities that ``get_num_transfer_tokens`` gives to its binomial law, whose draws are all 0 here."""
    import torch

    utils = importlib.import_module("dllm.core.samplers.utils")
    chances: list[float] = []

    def binomial(total: object, chance: object) -> object:
        chances.append(float(chance))  # type: ignore[arg-type]
        return SimpleNamespace(sample=lambda: torch.zeros(()))

    setattr(torch.distributions, "Binomial", binomial)  # noqa: B010 - mypy knows its type
    steps = len(request["alphas"]) - 1
    utils.get_num_transfer_tokens(
        mask_index=torch.ones(1, request["length"], dtype=torch.bool), steps=steps, scheduler=scheduler, stochastic=True
    )
    wanted = probabilities(request)
    return {
        "wanted": wanted,
        "realised": chances[: len(wanted)],
        "ran": ran.replace(
            "MDLMSampler.sample() of dllm/core/samplers/mdlm.py", "get_num_transfer_tokens() of utils.py"
        ),
        "tolerance": TOLERANCE,
    }
