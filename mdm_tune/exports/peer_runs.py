"""The process that runs a peer's own code on an exported file, see ``peer_process``.

Each run is a function of a request, in the module of its family. A request has the keys that ``run_peer`` writes. An
answer has ``wanted``, ``realised`` and ``ran``, and may have ``tolerance``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mdm_tune.exports import (
    peer_diffusers,
    peer_dllm,
    peer_dream,
    peer_duo,
    peer_engines,
    peer_flow_matching,
    peer_llada,
    peer_md4,
    peer_mdlm,
    peer_omnivoice,
    peer_sedd,
)
from mdm_tune.exports.peer_tools import Answer, Missing, Request

__all__ = ["RUNS", "main"]

RUNS: dict[str, Callable[[Request], Answer]] = {
    "llada": peer_llada.llada,
    "fast-dllm": peer_llada.fast_dllm,
    "dinfer": peer_llada.dinfer,
    "dream": peer_dream.dream,
    "dllm": peer_dllm.dllm,
    "mdlm": peer_mdlm.mdlm,
    "remdm": peer_mdlm.remdm,
    "sedd": peer_sedd.sedd,
    "radd": peer_sedd.radd,
    "duo": peer_duo.duo,
    "md4": peer_md4.md4,
    "flow-matching": peer_flow_matching.flow_matching,
    "diffusers": peer_diffusers.diffusers,
    "vllm": peer_engines.vllm,
    "lmdeploy": peer_engines.lmdeploy,
    "sglang": peer_engines.sglang,
    "transformers": peer_omnivoice.omnivoice,
}


def main(asked: str, answered: str) -> None:
    """Answer a request. Both arguments are paths of JSON files.

    The answer has ``wanted``, ``realised`` and ``ran``, or only ``missing``.
    """
    request = json.loads(Path(asked).read_text("utf-8"))
    try:
        answer = RUNS[request["name"]](request)
    except Missing as error:
        answer = {"missing": str(error)}
    Path(answered).write_text(json.dumps(answer), encoding="utf-8")
