"""Runs of the dllm plugin of vLLM and of LMDeploy on exported files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

from mdm_tune.exports.engines import lmdeploy_counts
from mdm_tune.exports.peer_tools import (
    MASK,
    Answer,
    RandomModel,
    Request,
    found,
    module_of,
    packages,
    quota_counts,
    stand_in,
    threshold_counts,
    wanted_counts,
)

__all__ = ["lmdeploy", "vllm"]


def vllm(request: Request) -> Answer:
    """``remask_after_block_forward`` of the plugin, block by block."""
    found(request, "vllm_dllm_plugin/remasking/handoff.py")
    sys.path.insert(0, request["peer"])
    packages(Path(request["peer"]), "vllm_dllm_plugin")
    size = request["block_length"]
    handoff = importlib.import_module("vllm_dllm_plugin.remasking.handoff")
    importlib.import_module("vllm_dllm_plugin.remasking.llada2_default")
    for name, module in list(sys.modules.items()):  # each module has a name of its own for the block length
        if name.startswith("vllm_dllm_plugin.") and hasattr(module, "DRAFT_SIZE"):
            setattr(module, "DRAFT_SIZE", size)  # noqa: B010 - mypy knows its type
    policy = module_of(Path(request["file"]), "exported").MdmTuneRemaskingPolicy()
    logits = RandomModel(request["length"]).logits[0]
    realised = []
    for start in range(0, request["length"], size):
        draft, step = (MASK,) * size, 0
        while draft.count(MASK) and step <= size:
            made = handoff.remask_after_block_forward(
                input_draft=draft,
                logits=logits[start : start + size].tolist(),
                policy=policy,
                remasking_config={"mask_token_id": MASK, "denoise_step_index": step},
            )
            after = made.committed_token_ids or made.next_input_block
            realised.append(draft.count(MASK) - after.count(MASK))
            draft, step = after, step + 1
    if request["kind"] == "counts":
        wanted = wanted_counts(request)
    else:
        wanted = (quota_counts if request["kind"] == "quota" else threshold_counts)(request, logits[None])
    return {"wanted": wanted, "realised": realised, "ran": "remask_after_block_forward() of vllm_dllm_plugin"}


def lmdeploy(request: Request) -> Answer:
    """``UnmaskingProcessor`` of LMDeploy, block by block."""
    import torch

    file = found(request, "lmdeploy/pytorch/strategies/dllm/unmasking.py")
    stand_in("lmdeploy.pytorch.config", "DLLMConfig", "UnmaskingStrategy", always=True)
    packages(Path(request["peer"]), "lmdeploy", "lmdeploy.pytorch")
    consts = module_of(found(request, "lmdeploy/pytorch/consts.py"), "lmdeploy.pytorch.consts")
    setattr(sys.modules["lmdeploy.pytorch"], "consts", consts)  # noqa: B010 - mypy knows its type
    strategies = sys.modules["lmdeploy.pytorch.config"].UnmaskingStrategy
    for name in ("LOW_CONFIDENCE_STATIC", "LOW_CONFIDENCE_DYNAMIC", "SEQUENTIAL"):
        setattr(strategies, name, name)
    settings = module_of(Path(request["file"]), "exported").SETTINGS
    peer = module_of(file, "unmasking")
    size = request["block_length"]
    config = SimpleNamespace(
        block_length=settings["dllm_block_length"],
        unmasking_strategy=settings["dllm_unmasking_strategy"].upper(),
        denoising_steps=settings.get("dllm_denoising_steps"),
        confidence_threshold=settings.get("dllm_confidence_threshold"),
    )
    processor = peer.UnmaskingProcessor(config)
    logits = RandomModel(request["length"]).logits[0]
    realised = []
    for start in range(0, request["length"], size):
        part = logits[start : start + size]
        masked = torch.full((size,), peer.DLLM_MASKED)
        tokens = torch.full((size,), MASK)
        while left := int((masked == peer.DLLM_MASKED).sum()):
            masked, tokens = processor(part, tokens, part.argmax(-1), masked.clone())
            realised.append(left - int((masked == peer.DLLM_MASKED).sum()))
    if request["kind"] == "counts":
        wanted = list(lmdeploy_counts(size, settings["dllm_denoising_steps"])) * (request["length"] // size)
    else:
        wanted = threshold_counts(request, logits[None])
    return {"wanted": wanted, "realised": realised, "ran": "UnmaskingProcessor of lmdeploy"}
