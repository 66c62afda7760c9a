"""Runs of the samplers of MDLM and ReMDM with exported times."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from mdm_tune.exports.ancestral import kept_alphas, reveal_probabilities
from mdm_tune.exports.peer_dream import TOLERANCE
from mdm_tune.exports.peer_tools import MASK, ROWS, VOCABULARY, Answer, Request, found, module_of, stand_in

__all__ = ["mdlm", "recorder", "remdm", "stand_ins"]


def mdlm(request: Request) -> Answer:
    """``_ddpm_caching_update`` of MDLM in the exported loop. No token is revealed before the last step."""
    peer, exported = _modules(request)
    chances: list[float] = []
    peer._sample_categorical = recorder(chances)
    _sampled(peer, exported, request, sampler="mdlm")
    return _answer(request, chances, "_ddpm_caching_update()")


def remdm(request: Request) -> Answer:
    """The same of ReMDM, and after it the masked shares that remdm-cap gives."""
    peer, exported = _modules(request)
    chances: list[float] = []
    peer._sample_categorical = recorder(chances)
    _sampled(peer, exported, request, sampler="mdlm")
    kept: list[list[float]] = []
    peer._sample_categorical = _both(kept)
    _sampled(peer, exported, request, sampler="remdm-cap")
    answer = _answer(request, chances, "_ddpm_caching_update() with mdlm and remdm-cap")
    alphas = kept_alphas(request["alphas"])
    share = 1.0
    for masked, revealed in kept:  # the probabilities of a mask, of tokens that are masked and that are revealed
        share = share * masked + (1 - share) * revealed
        answer["realised"].append(share)
    answer["wanted"] += [1 - alpha for alpha in alphas[1:]]
    return answer


def recorder(chances: list[float]) -> Callable[[Any], Any]:
    """A draw that notes the probability that a token is revealed, and keeps all masked while it is below 1."""

    def draw(probabilities: Any) -> Any:
        import torch

        mass = probabilities.double()
        chance = 1 - mass[..., MASK] / mass.sum(-1)
        chances.append(float(chance.max()))
        return torch.full(probabilities.shape[:-1], MASK if chances[-1] < 1 - TOLERANCE else 0)

    return draw


def stand_ins() -> None:
    """Stand-ins for the libraries that training needs and sampling does not."""
    for name in ("dataloader", "models", "utils", "metrics"):  # modules of the peer that need more libraries
        sys.modules[name] = ModuleType(name)
    stand_in("hydra.utils")
    stand_in("lightning")
    stand_in("transformers")
    stand_in("torchmetrics.aggregation")


def _modules(request: Request) -> tuple[Any, Any]:
    file = found(request, "diffusion.py")
    found(request, "noise_schedule.py")
    sys.path.insert(0, request["peer"])
    stand_ins()
    return module_of(file, "diffusion"), module_of(Path(request["file"]), "exported")


def _sampled(peer: Any, exported: Any, request: Request, sampler: str) -> None:
    """Sample with a model of random predictions, which is given what the sampler reads and nothing else."""
    import torch

    exported.install(peer.Diffusion)
    model = peer.Diffusion.__new__(peer.Diffusion)
    length = max(2, request["length"])  # one token to keep masked, and one to reveal
    logits = torch.randn(ROWS, length, VOCABULARY + 1, generator=torch.Generator().manual_seed(0))
    logits[..., MASK] = -torch.inf
    settings = {"steps": exported.STEPS, "noise_removal": True, "nucleus_p": 1.0, "sampler": sampler, "eta": 0.05}
    attributes = {
        "config": SimpleNamespace(
            sampling=SimpleNamespace(**settings, dfm=False),
            loader=SimpleNamespace(eval_batch_size=ROWS),
            model=SimpleNamespace(length=length),
            noise=SimpleNamespace(type="loglinear"),
        ),
        "device": torch.device("cpu"),
        "forward": lambda x, sigma: logits.log_softmax(-1),
        "mask_index": MASK,
        "noise": sys.modules["noise_schedule"].LogLinearNoise(),
        "parameterization": "subs",
        "sampler": "ddpm_cache",
        "time_conditioning": False,
    }
    for name, value in attributes.items():
        setattr(model, name, value)
    model._sample(num_steps=exported.STEPS)


def _both(kept: list[list[float]]) -> Callable[[Any], Any]:
    """A draw that notes the probabilities of a mask. The first half of each row is kept revealed, the rest masked."""

    def draw(probabilities: Any) -> Any:
        import torch

        mass = probabilities.double()
        mask = mass[..., MASK] / mass.sum(-1)
        kept.append([float(mask[0, -1]), float(mask[0, 0]) if len(kept) else 0.0])
        tokens = torch.full(probabilities.shape[:-1], MASK)
        tokens[:, : tokens.shape[1] // 2] = 0
        return tokens

    return draw


def _answer(request: Request, chances: list[float], what: str) -> Answer:
    return {
        "wanted": list(reveal_probabilities(request["alphas"])),
        "realised": chances,
        "ran": f"{what} of diffusion.py",
        "tolerance": TOLERANCE,
    }
