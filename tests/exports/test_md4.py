"""The sampling grid for MD4, in an arithmetic that is derived here again.

Covers: peer_md4.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from mdm_tune.exports.ancestral import reveal_probabilities
from mdm_tune.exports.md4 import Md4
from mdm_tune.exports.policy import Policy
from tests.exports.test_peer_process import exported
from tests.support.exports import alphas_policies, alphas_policy, module_of_text

EPS = 1e-4
KINDS = ("linear", "cosine", "poly2", "poly0.5")


@pytest.fixture(autouse=True)
def jax(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy in place of JAX, which a table of times does not need."""
    monkeypatch.setitem(sys.modules, "jax", ModuleType("jax"))
    numpy = ModuleType("jax.numpy")
    numpy.asarray = np.asarray  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jax.numpy", numpy)
    sys.modules["jax"].numpy = numpy  # type: ignore[attr-defined]


def module_of(policy: Policy) -> ModuleType:
    (text,) = Md4().export(policy).files.values()
    return module_of_text(text)


def alpha(kind: str, time: NDArray[np.float64]) -> NDArray[np.float64]:
    if kind == "cosine":
        plain = 1 - np.cos(math.pi / 2 * (1 - time))
    else:
        plain = 1 - time ** (1.0 if kind == "linear" else float(kind[4:]))
    return (1 - 2 * EPS) * plain + EPS


@pytest.mark.parametrize("kind", KINDS)
def test_three_thousand_alphas_give_their_probabilities_up_to_what_md4_leaves(kind: str) -> None:
    """The masked share never falls below eps; where the schedule's does not either, the probability is exact."""
    for policy in alphas_policies(seed=11):
        module = module_of(policy)
        assert policy.alphas is not None
        times, shares = np.array(module.times(kind, EPS)), np.array(module.MASKED)
        assert abs(times[0] - 1) <= 1e-12 and abs(times[-1]) <= 1e-12
        alphas = alpha(kind, times)
        realised = np.diff(alphas) / (1 - alphas[:-1])
        left = EPS / np.maximum(EPS, shares[:-1] * (1 - EPS))  # where the share eps is left
        kept = shares[1:] * (1 - EPS) > EPS
        wanted = np.where(kept, reveal_probabilities(policy.alphas), 1 - left)
        assert np.abs(realised - wanted).max() <= 1e-9


def test_the_grid_gives_the_times_after_and_before_a_step() -> None:
    module = module_of(alphas_policy((0.0, 0.25, 0.5, 1.0)))
    model = SimpleNamespace(noise_schedule=SimpleNamespace(schedule_fn_type="linear", eps=0.0))
    grids = [tuple(map(float, module.get_sampling_grid(model, step, 3))) for step in range(3)]
    assert grids == [(0.75, 1.0), (0.5, 0.75), (0.0, 0.5)]


def test_what_the_grid_does_not_hold_for_is_an_error() -> None:
    module = module_of(alphas_policy((0.0, 0.25, 0.5, 1.0)))
    with pytest.raises(ValueError, match=r"has 3 steps, got 4; give config.timesteps=3"):
        module.get_sampling_grid(SimpleNamespace(), 0, 4)
    with pytest.raises(ValueError, match="must be linear, cosine or poly, got exp"):
        module.times("exp", EPS)


def test_the_instructions_give_the_steps_and_the_sampler() -> None:
    policy = alphas_policy((0.0, 0.0, 0.5, 1.0))
    assert "config.timesteps=2 and config.sampler='ancestral'" in "\n".join(Md4().export(policy).where)
    where = "\n".join(Md4().export(replace(policy, sampler={"top_p": 0.9})).where)
    assert "config.timesteps=2 and config.sampler='topp' (topp=0.9 of MD4)" in where


PEER = """
import flax.linen as nn, jax, jax.numpy as jnp
import tensorflow_probability.substrates.jax as tfp
tfd = tfp.distributions
from md4 import binary_search, utils
from md4.models import backward
class MaskingSchedule(nn.Module):
    schedule_fn_type: str = "linear"
    eps: float = 1e-4
    def masked(self, t):
        plain = {"linear": t, "cosine": jax.lax.cos(1.5707963267948966 * (1 - t)), "poly2": t * t}
        return self.eps + (1 - 2 * self.eps) * plain[self.schedule_fn_type]
class MD4(nn.Module):
    def sample_step(self, rng, i, timesteps, zt):
        s, t = self.get_sampling_grid(i, timesteps)
        chance = 1 - self.noise_schedule.masked(s) / self.noise_schedule.masked(t)
        logits, _ = self.predict_x(zt, t)
        law = chance * nn.softmax(logits, axis=-1) {change}
        law = jnp.concatenate([law, 1 - law.sum(-1)[..., None]], axis=-1)
        return tfd.Categorical(probs=law).sample(seed=jax.random.fold_in(rng, i))
"""


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.9999", False)])
def test_the_probabilities_of_the_peer_are_compared(change: str, equal: bool, tmp_path: Path) -> None:
    folder = tmp_path / "md4" / "models" / "diffusion"
    folder.mkdir(parents=True)
    (folder / "md4.py").write_text(PEER.replace("{change}", change), "utf-8")
    policy = alphas_policy((0.0, 0.25, 0.25, 0.625, 1.0))
    made = Md4().verify(policy, exported(Md4(), policy, tmp_path / "made"), tmp_path)
    assert made.equal == equal and made.wanted == (0.25, 0.5, 1 - EPS / (0.375 * (1 - EPS))) * 3
