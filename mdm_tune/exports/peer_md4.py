"""A run of MD4's sampling step with an exported grid, on JAX or, where it is not installed, on numpy."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from mdm_tune.exports.ancestral import kept_alphas, reveal_probabilities
from mdm_tune.exports.peer_dream import TOLERANCE
from mdm_tune.exports.peer_tools import MASK, ROWS, VOCABULARY, Answer, Request, found, module_of, stand_in

__all__ = ["md4"]

KINDS = ("linear", "cosine", "poly2")


def md4(request: Request) -> Answer:
    """``ancestral_sample_step`` of MD4 under three masking schedules, which leave the share eps to ``decode``."""
    file = found(request, "md4/models/diffusion/md4.py")
    chances: list[float] = []
    on_jax = all(importlib.util.find_spec(name) for name in ("jax", "flax", "tensorflow_probability"))
    if not on_jax:
        _stand_ins()
    for name in ("md4.utils", "md4.binary_search", "md4.models.backward"):  # training, top-p and the network
        stand_in(name, always=True)
    setattr(sys.modules["md4.models.backward"], "DiscreteClassifier", lambda **_: None)  # noqa: B010
    peer = module_of(file, "md4_model")
    peer.tfd = SimpleNamespace(Categorical=lambda probs: _Categorical(probs, chances))
    exported = module_of(Path(request["file"]), "exported")
    exported.install(peer.MD4)
    for kind in KINDS:
        logits = np.random.default_rng(0).normal(size=(ROWS, request["length"], VOCABULARY))
        peer.MD4.predict_x = lambda self, zt, t, cond=None, logits=logits: (logits, {})
        sample_step = (_on_jax if on_jax else _on_numpy)(peer, kind, request["length"])
        tokens = np.full((ROWS, request["length"]), MASK)
        for step in range(exported.STEPS):
            tokens = sample_step(step, exported.STEPS, tokens)
    masked_before_last = 1 - kept_alphas(request["alphas"])[-2]
    left = peer.MaskingSchedule.eps / (masked_before_last * (1 - peer.MaskingSchedule.eps))
    return {
        "wanted": len(KINDS) * [*reveal_probabilities(request["alphas"])[:-1], max(0.0, 1 - left)],
        "realised": chances,
        "ran": f"ancestral_sample_step() of {file.name} on {'JAX' if on_jax else 'numpy'}, with the schedules "
        + ", ".join(KINDS),
        "tolerance": TOLERANCE / masked_before_last,  # 1 - alpha in float32
    }


class _Categorical:
    """A draw that notes the probability that a token is revealed, and keeps all masked."""

    def __init__(self, probs: Any, chances: list[float]) -> None:
        self.probs, self.chances = probs, chances

    def sample(self, seed: Any) -> Any:
        self.chances.append(1 - float(self.probs[..., MASK].min()))
        return np.full(self.probs.shape[:-1], MASK)


def _on_jax(peer: Any, kind: str, length: int) -> Callable[..., Any]:
    """``sample_step`` of a model of flax, which needs no parameters."""
    jax = importlib.import_module("jax")
    model = peer.MD4((length,), vocab_size=VOCABULARY, noise_schedule_type=kind, classes=0, sampler="ancestral")
    return lambda *given: model.apply({}, jax.random.PRNGKey(0), *given, method="sample_step")


def _on_numpy(peer: Any, kind: str, length: int) -> Callable[..., Any]:
    """``sample_step`` of a model that has what it reads and nothing else."""
    schedule, model = peer.MaskingSchedule.__new__(peer.MaskingSchedule), peer.MD4.__new__(peer.MD4)
    schedule.schedule_fn_type = kind
    model.noise_schedule, model.vocab_size, model.sampler = schedule, VOCABULARY, "ancestral"
    return lambda *given: model.sample_step(None, *given)


def _stand_ins() -> None:
    """Stand-ins for the libraries that MD4 imports, with numpy in place of JAX."""

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
        "tensorflow_probability.substrates.jax": {"distributions": None},
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
