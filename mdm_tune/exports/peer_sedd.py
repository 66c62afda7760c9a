"""Runs of the samplers of SEDD and RADD with exported times and probabilities."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from mdm_tune.exports.ancestral import masked_shares_of, reveal_probabilities
from mdm_tune.exports.peer_dream import TOLERANCE
from mdm_tune.exports.peer_mdlm import recorder
from mdm_tune.exports.peer_tools import MASK, ROWS, VOCABULARY, Answer, Request, found, module_of, packages

__all__ = ["radd", "sedd"]


def sedd(request: Request) -> Answer:
    """The analytic predictor and the denoiser of SEDD in the exported loop, on scores with the sum of exact ones."""
    import torch

    file = found(request, "sampling.py")
    found(request, "graph_lib.py")
    sys.path.insert(0, request["peer"])
    packages(Path(request["peer"]), "model")
    peer: Any = importlib.import_module("sampling")
    graph = importlib.import_module("graph_lib").Absorbing(VOCABULARY)
    noise = importlib.import_module("noise_lib").LogLinearNoise()
    exported = module_of(Path(request["file"]), "exported")
    logits = torch.randn(ROWS, request["length"], VOCABULARY, generator=torch.Generator().manual_seed(0))
    prediction = torch.nn.functional.pad(logits.softmax(-1), (0, 1))

    def score_function(model: Any, train: bool, sampling: bool) -> Any:
        def score(tokens: Any, sigma: Any) -> Any:
            scores = prediction / torch.expm1(sigma).reshape(-1, 1, 1)
            scores[..., MASK] = 1
            return scores

        return score

    peer.mutils.get_score_fn = score_function
    chances: list[float] = []
    before_last = recorder(chances)

    def draw(probabilities: Any) -> Any:
        if probabilities.shape[-1] == VOCABULARY:  # the denoiser leaves the mask out
            chances.append(1.0)
            return torch.zeros(probabilities.shape[:-1], dtype=torch.long)
        return before_last(probabilities)

    peer.sample_categorical = draw
    exported.install()
    peer.get_pc_sampler(graph, noise, (ROWS, request["length"]), "analytic", exported.STEPS)(None)
    smallest = masked_shares_of(request["alphas"])[-2]  # of the shares that are divided by
    return {
        "wanted": list(reveal_probabilities(request["alphas"])),
        "realised": chances,
        "ran": f"AnalyticPredictor and Denoiser of {file.name}",
        "tolerance": TOLERANCE / min(1.0, smallest),  # exp(-sigma) in float32
    }


def radd(request: Request) -> Answer:
    """``DiffusionSampler.sample`` of RADD, with uniform numbers that record the probabilities and reveal nothing."""
    import torch

    file = found(request, "sampling.py")
    sys.path.insert(0, request["peer"])
    peer = importlib.import_module("sampling")
    noise = importlib.import_module("noise_lib").LogLinearNoise()
    exported = module_of(Path(request["file"]), "exported")
    exported.install(peer.DiffusionSampler)
    sampler = peer.DiffusionSampler(
        "tweedie", _Model(), noise, (ROWS, request["length"]), VOCABULARY + 1, "top_p", 1.0, device=torch.device("cpu")
    )
    chances: list[float] = []
    setattr(torch, "rand", lambda *shape, **_: _Uniform(shape, chances))  # noqa: B010 - mypy knows its type
    tokens = sampler.sample(exported.STEPS)
    last = float((tokens != MASK).double().mean())  # the last step has no probability of its own
    return {
        "wanted": list(reveal_probabilities(request["alphas"])),
        "realised": [*chances[: exported.STEPS - 1], last],
        "ran": f"DiffusionSampler.sample() of {file.name}",
        "tolerance": TOLERANCE,
    }


class _Model:
    """A model of random predictions, with the methods that RADD calls."""

    def __init__(self) -> None:
        import torch

        self.dtype = torch.float32

    def eval(self) -> None:
        """Nothing changes."""

    def logits(self, tokens: Any) -> Any:
        import torch

        logits = torch.randn(*tokens.shape, VOCABULARY + 1, generator=torch.Generator().manual_seed(0))
        logits[..., MASK] = -torch.inf
        return logits


class _Uniform:
    """Uniform numbers that record what they are compared with, and are above it."""

    def __init__(self, shape: Any, chances: list[float]) -> None:
        self.shape, self.chances = shape, chances

    def to(self, device: Any) -> _Uniform:
        return self

    def __lt__(self, chance: Any) -> Any:
        import torch

        self.chances.append(float(chance))
        return torch.zeros(tuple(self.shape), dtype=torch.bool)
