"""Runs of the dllm plugin of vLLM, of LMDeploy and of SGLang on exported files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
    revealed_counts,
    stand_in,
    threshold_counts,
    wanted_counts,
)

__all__ = ["lmdeploy", "sglang", "vllm"]


SGLANG = "sglang/srt/dllm/algorithm/low_confidence.py"
SGLANG_SERVER = (  # modules of its server, which its decoding does not need
    "arg_groups.overrides",
    "configs.model_config",
    "layers.logits_processor",
    "model_executor.forward_batch_info",
    "model_executor.model_runner",
    "server_args",
    "utils",
)


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
    stand_in("lmdeploy.pytorch.config", always=True)
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


def sglang(request: Request) -> Answer:
    """``LowConfidence.run`` of SGLang, block by block, with the settings as its ``DllmConfig`` reads them."""
    import torch

    file = found(request, f"python/{SGLANG}", SGLANG)
    packages(file.parents[4], "sglang", "sglang.srt", "sglang.srt.dllm")
    for name in SGLANG_SERVER:
        stand_in(f"sglang.srt.{name}", always=True)
    setattr(sys.modules["sglang.srt.utils"], "is_npu", lambda: False)  # noqa: B010 - mypy knows its type
    setattr(sys.modules["sglang.srt.arg_groups.overrides"], "resolving_view", lambda given: given)  # noqa: B010
    architecture = SimpleNamespace(hf_config=SimpleNamespace(architectures=["LLaDA2MoeModelLM"]))
    models = sys.modules["sglang.srt.configs.model_config"]
    models.ModelConfig.from_server_args = lambda *_, **__: architecture
    flags = {"dllm_algorithm": "LowConfidence", "dllm_algorithm_config": request["file"], "dllm_fdfo": False}
    others = {"model_path": "", "revision": None, "max_running_requests": None}
    config = importlib.import_module("sglang.srt.dllm.config").DllmConfig
    algorithm = importlib.import_module("sglang.srt.dllm.algorithm.low_confidence").Algorithm
    peer = algorithm(config.from_server_args(SimpleNamespace(**flags, **others)))
    logits = RandomModel(request["length"]).logits[0]
    masks: list[int] = []
    realised: list[int] = []
    for start in range(0, request["length"], peer.block_size):
        part = logits[start : start + peer.block_size]
        batch = SimpleNamespace(batch_size=1, input_ids=torch.full((len(part),), peer.mask_id), dllm_prompt_mask=None)

        def forward(batch: Any, logits: Any = part, **_: Any) -> Any:
            masks.append(int((batch.input_ids == peer.mask_id).sum()))
            return _Forward((SimpleNamespace(full_logits=logits), False))

        peer.run(SimpleNamespace(forward=forward), batch)
        realised += revealed_counts(masks, int((batch.input_ids == peer.mask_id).sum()))
        masks.clear()
    return {
        "wanted": threshold_counts(request, logits[None]),
        "realised": realised,
        "ran": "LowConfidence.run() of sglang",
    }


class _Forward(tuple[Any, bool]):
    """What a forward pass returns: a pair in older versions, an object in later ones."""

    @property
    def logits_output(self) -> Any:
        return self[0]

    @property
    def can_run_graph(self) -> bool:
        return self[1]
