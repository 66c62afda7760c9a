"""A run of Dream's sampler on exported files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
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
    wanted_counts,
)

__all__ = ["dream"]

PLACES = (
    "generation_utils.py",
    "dllm/pipelines/dream/models/generation_utils.py",
    "dream/model/generation_utils.py",
    "model/generation_utils.py",
)
TOLERANCE = 1e-6  # of a probability in float32


def dream(request: Request) -> Answer:
    """``_sample`` of Dream's ``generation_utils.py``, with the replaced time steps."""
    import torch

    file = found(request, *PLACES)
    peer, exported = module_of(file, "generation_utils"), module_of(Path(request["file"]), "exported")
    model = type("Model", (RandomModel,), {"_sample": peer.DreamGenerationMixin._sample})(PROMPT + request["length"])
    exported.install(model)
    ancestral = request["alphas"] is not None
    chances: list[float] = []
    if ancestral:  # each step compares uniform numbers with its probability
        setattr(torch, "rand", lambda *shape, **_: _Uniform(shape, chances))  # noqa: B010 - mypy knows its type
    settings = SimpleNamespace(
        output_history=False,
        return_dict=False,
        return_dict_in_generate=False,
        max_length=PROMPT + request["length"],
        mask_token_id=MASK,
        steps=len(request["alphas"]) - 1 if ancestral else sum(map(len, request["counts"])),
        eps=1e-3,
        alg="origin" if ancestral else "maskgit_plus",
        alg_temp=0.0,
        temperature=0.0,
        top_p=None,
        top_k=None,
    )
    tokens = model._sample(
        torch.zeros(ROWS, PROMPT, dtype=torch.long),
        None,
        settings,
        generation_tokens_hook_func=lambda step, x, logits: x,
        generation_logits_hook_func=lambda step, x, logits: logits,
    )
    ran = f"_sample() of {file.relative_to(request['peer'])}"
    if ancestral:
        shares = probabilities(request)
        return {"wanted": shares, "realised": chances[: len(shares)], "ran": ran, "tolerance": TOLERANCE}
    wanted = wanted_counts(request)
    return {"wanted": wanted, "realised": counts_of_rows(model, tokens, wanted), "ran": ran}


def probabilities(request: Request) -> list[float]:
    """The probability of each step, given that a token is still masked, up to the step that reveals all."""
    found_chances = []
    for before, after in pairwise(request["alphas"]):
        if before < 1:
            found_chances.append(1.0 if after == 1 else (after - before) / (1 - before))
    return found_chances


class _Uniform:
    """Uniform numbers that record what they are compared with, and are above it, so that no token is revealed."""

    def __init__(self, shape: Any, chances: list[float]) -> None:
        self.shape, self.chances = shape, chances

    def __lt__(self, chance: Any) -> Any:
        import torch

        self.chances.append(float(chance))
        return torch.zeros(self.shape, dtype=torch.bool)
