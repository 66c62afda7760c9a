"""A run of the samplers of Duo's repository with exported times."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from mdm_tune.exports.ancestral import masked_shares_of, reveal_probabilities
from mdm_tune.exports.peer_dream import TOLERANCE
from mdm_tune.exports.peer_mdlm import recorder, stand_ins
from mdm_tune.exports.peer_tools import MASK, ROWS, VOCABULARY, Answer, Request, found, module_of

__all__ = ["duo"]


def duo(request: Request) -> Answer:
    """``generate_samples`` of masked diffusion in Duo's repository, with both noises one after the other."""
    import torch

    file = found(request, "trainer_base.py")
    stand_ins()
    peer = module_of(file, "trainer_base")
    exported = module_of(Path(request["file"]), "exported")
    exported.install(peer.AbsorbingState)
    logits = torch.randn(ROWS, request["length"], VOCABULARY + 1, generator=torch.Generator().manual_seed(0))
    logits[..., MASK] = -torch.inf
    settings = {"predictor": "ancestral_cache", "steps": exported.STEPS - 1, "noise_removal": "ancestral"}
    chances: list[float] = []
    peer.sample_categorical = recorder(chances)
    for noise in (peer.LogLinear(1e-3), peer.Cosine(1e-3)):
        model = peer.AbsorbingState.__new__(peer.AbsorbingState)
        attributes = {
            "config": SimpleNamespace(sampling=SimpleNamespace(**settings, use_float64=True, guid_weight=None)),
            "class_conditional": False,
            "device": torch.device("cpu"),
            "forward": lambda xt, sigma, labels=None: logits.log_softmax(-1),
            "mask_index": MASK,
            "noise": noise,
            "num_tokens": request["length"],
            "p_nucleus": 1.0,
            "sampler": "ancestral_cache",
            "time_conditioning": False,
        }
        for name, value in attributes.items():
            setattr(model, name, value)
        model.generate_samples(num_samples=ROWS)
    smallest = masked_shares_of(request["alphas"])[-2]  # of the shares that are divided by
    return {
        "wanted": 2 * list(reveal_probabilities(request["alphas"])),
        "realised": chances,
        "ran": f"generate_samples() of {file.name} with log-linear and cosine noise",
        "tolerance": TOLERANCE / min(1.0, smallest),  # 1 - alpha in float32
    }
