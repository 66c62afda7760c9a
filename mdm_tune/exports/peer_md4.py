"""A run of MD4's sampling step with an exported grid, on numpy: JAX itself is not needed for the arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from mdm_tune.exports.ancestral import kept_alphas, reveal_probabilities
from mdm_tune.exports.peer_dream import TOLERANCE
from mdm_tune.exports.peer_tools import MASK, ROWS, VOCABULARY, Answer, Request, found, module_of

__all__ = ["md4"]

KINDS = ("linear", "cosine", "poly2")


def md4(request: Request) -> Answer:
    """``ancestral_sample_step`` of MD4 under three masking schedules. What the last step leaves is in the tolerance."""
    file = found(request, "md4/models/diffusion/md4.py")
    chances: list[float] = []
    _stand_ins(chances)
    peer = module_of(file, "md4_model")
    exported = module_of(Path(request["file"]), "exported")
    exported.install(peer.MD4)
    for kind in KINDS:
        schedule = peer.MaskingSchedule.__new__(peer.MaskingSchedule)
        schedule.schedule_fn_type = kind
        model = peer.MD4.__new__(peer.MD4)
        model.noise_schedule, model.vocab_size, model.sampler = schedule, VOCABULARY, "ancestral"
        logits = np.random.default_rng(0).normal(size=(ROWS, request["length"], VOCABULARY))
        model.predict_x = lambda zt, t, cond=None, logits=logits: (logits, {})
        tokens = np.full((ROWS, request["length"]), MASK)
        for step in range(exported.STEPS):
            tokens = model.sample_step(None, step, exported.STEPS, tokens)
    masked_before_last = 1 - kept_alphas(request["alphas"])[-2]
    left = peer.MaskingSchedule.eps / masked_before_last  # what the last step leaves to decode()
    return {
        "wanted": len(KINDS) * list(reveal_probabilities(request["alphas"])),
        "realised": chances,
        "ran": f"ancestral_sample_step() of {file.name} on numpy, with the schedules {', '.join(KINDS)}",
        "tolerance": TOLERANCE + 2 * left,
    }


def _stand_ins(chances: list[float]) -> None:
    """Stand-ins for the libraries that MD4 imports, with numpy in place of JAX."""

    class Categorical:
        def __init__(self, probs: Any) -> None:
            self.probs = probs

        def sample(self, seed: Any) -> Any:
            chances.append(1 - float(self.probs[..., MASK].min()))
            return np.full(self.probs.shape[:-1], MASK)

    def softmax(values: Any, axis: int) -> Any:
        powers = np.exp(values - values.max(axis, keepdims=True))
        return powers / powers.sum(axis, keepdims=True)

    linen = {"Module": type("Module", (), {}), "compact": lambda function: function, "softmax": softmax}
    lax = SimpleNamespace(cos=np.cos, sin=np.sin)
    contents: dict[str, dict[str, Any]] = {
        "flax": {},
        "flax.linen": linen,
        "jax": {
            "lax": lax,
            "random": SimpleNamespace(fold_in=lambda key, number: key),
            "nn": SimpleNamespace(softmax=softmax),
        },
        "jax.numpy": {name: getattr(np, name) for name in ("asarray", "ones", "concatenate", "where", "cos", "log")},
        "tensorflow_probability": {},
        "tensorflow_probability.substrates": {},
        "tensorflow_probability.substrates.jax": {"distributions": SimpleNamespace(Categorical=Categorical)},
        "md4": {"binary_search": None, "utils": None},
        "md4.models": {"backward": SimpleNamespace(DiscreteClassifier=None)},
    }
    for name, attributes in contents.items():
        module = ModuleType(name)
        module.__path__ = []
        for attribute, value in attributes.items():
            setattr(module, attribute, value)
        sys.modules[name] = module
        above, _, below = name.rpartition(".")
        if above:
            setattr(sys.modules[above], below, module)
