"""Runs of LLaDA, Fast-dLLM and dInfer on exported files."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

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
    quota_counts,
    revealed_counts,
    stand_in,
    threshold_counts,
    wanted_counts,
)

__all__ = ["dinfer", "fast_dllm", "llada"]

FUNCTIONS = ("generate", "generate_with_prefix_cache", "generate_with_dual_cache")


def llada(request: Request) -> Answer:
    """``generate`` of LLaDA, with the replaced function."""
    file = found(request, "generate.py")
    stand_in("transformers")
    sys.path.insert(0, str(file.parent))
    peer, exported = module_of(file, "generate"), module_of(Path(request["file"]), "exported")
    exported.install(peer)
    model = RandomModel(PROMPT + request["length"])
    tokens = peer.generate(
        model,
        _prompt(ROWS),
        steps=request["steps"],
        gen_length=request["length"],
        block_length=request["block_length"],
        mask_id=MASK,
    )
    wanted = wanted_counts(request)
    return {
        "wanted": wanted,
        "realised": counts_of_rows(model, tokens, wanted),
        "ran": "generate() of generate.py",
    }


def fast_dllm(request: Request) -> Answer:
    """The three ``generate`` functions of Fast-dLLM for LLaDA."""
    file = found(request, "llada/generate.py", "generate.py")
    stand_in("transformers")
    stand_in("model.modeling_llada", always=True)
    sys.path.insert(0, str(file.parent))
    peer, exported = module_of(file, "generate"), module_of(Path(request["file"]), "exported")
    if request["kind"] == "threshold":
        return _fast_dllm_threshold(request, peer, exported)
    exported.install(peer)
    realised, names = _of_functions(request, peer, exported)
    return {"wanted": wanted_counts(request), "realised": realised, "ran": f"{names}() of generate.py"}


def _of_functions(request: Request, peer: Any, exported: Any) -> tuple[list[int], str]:
    """The counts of the three ``generate`` functions and their names; of the first alone that does otherwise."""
    realised: list[int] = []
    for name in FUNCTIONS:
        exported.restart()
        model = RandomModel(PROMPT + request["length"])
        tokens, _ = getattr(peer, name)(
            model,
            _prompt(1),
            steps=request["steps"],
            gen_length=request["length"],
            block_length=request["block_length"],
            mask_id=MASK,
        )
        realised = revealed_counts(_all_masks(request, model, name), int((tokens == MASK).sum()))
        if realised != wanted_counts(request):
            return realised, name
    return realised, "(), ".join(FUNCTIONS)


def _prompt(rows: int) -> Any:
    import torch

    return torch.zeros(rows, PROMPT, dtype=torch.long)


def _fast_dllm_threshold(request: Request, peer: Any, exported: Any) -> Answer:
    model = RandomModel(PROMPT + request["length"])
    tokens, _ = peer.generate(model, _prompt(1), mask_id=MASK, **exported.SETTINGS)
    masks = [row[0] for row in model.masks]
    return {
        "wanted": threshold_counts(request, model.logits[:, PROMPT:]),
        "realised": revealed_counts(masks, int((tokens == MASK).sum())),
        "ran": "generate() of generate.py",
    }


def _all_masks(request: Request, model: RandomModel, name: str) -> list[int]:
    """Masked tokens of the sequence at each call, also where a call gets one block alone."""
    whole, block, found_masks = PROMPT + request["length"], -1, []
    for (masks, *_), tokens in zip(model.masks, model.shapes, strict=True):
        block += tokens == whole if name != "generate" else 0
        alone = name == "generate_with_dual_cache" and tokens != whole
        later = request["length"] - (block + 1) * request["block_length"] if alone else 0
        found_masks.append(masks + later)
    return found_masks


def dinfer(request: Request) -> Answer:
    """``BlockWiseDiffusionLLM`` of dInfer with the exported decoder, and the functions of ``generate_fastdllm``."""
    os.environ["TORCHDYNAMO_DISABLE"] = "1"  # the peer compiles functions that run once here
    file = found(request, "python/dinfer/decoding/generate_uniform.py", "dinfer/decoding/generate_uniform.py")
    root = file.parents[2]
    stand_in("transformers")
    stand_in("transformers.models")
    stand_in("transformers.models.layoutlmv2.modeling_layoutlmv2", always=True)
    packages(root, "dinfer", "dinfer.decoding", "dinfer.model")
    stand_in("dinfer.model.modeling_llada_fastdllm", always=True)
    stand_in("dinfer.model.modeling_fused_olmoe", always=True)
    uniform = importlib.import_module("dinfer.decoding.generate_uniform")
    utils = importlib.import_module("dinfer.decoding.utils")
    exported = module_of(Path(request["file"]), "exported")
    model = RandomModel(PROMPT + request["length"])
    make = exported.decoder if request["kind"] == "threshold" else exported.CountsDecoder
    llm = uniform.BlockWiseDiffusionLLM(model, make(mask_id=MASK, eos_id=-1), utils.BlockIteratorFactory())
    tokens = llm.generate(_prompt(1), gen_length=request["length"], block_length=request["block_length"])
    realised = revealed_counts([masks for masks, *_ in model.masks], int((tokens == MASK).sum()))
    ran = "BlockWiseDiffusionLLM.generate()"
    if request["kind"] == "threshold":
        return {"wanted": threshold_counts(request, model.logits[:, PROMPT:]), "realised": realised, "ran": ran}
    if request["kind"] == "quota":
        return {"wanted": quota_counts(request, model.logits[:, PROMPT:]), "realised": realised, "ran": ran}
    wanted = wanted_counts(request)
    if realised != wanted:
        return {"wanted": wanted, "realised": realised, "ran": ran}
    peer = importlib.import_module("dinfer.decoding.generate_fastdllm")
    exported.install()
    realised, name = _of_functions(request, peer, exported)
    return {"wanted": wanted, "realised": realised, "ran": f"{ran} and {name}() of generate_fastdllm.py"}
