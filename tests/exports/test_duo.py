"""The time profile for Duo's repository, in an arithmetic that is derived here again.

Covers: peer_duo.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mdm_tune.exports.ancestral import reveal_probabilities
from mdm_tune.exports.duo import Duo
from mdm_tune.exports.policy import Policy
from tests.exports.test_peer_process import exported
from tests.support.exports import alphas_policies, alphas_policy, close, module_of_text


def profile(policy: Policy, noise: str, steps: int | None = None, **settings: Any) -> torch.Tensor:
    (text,) = Duo().export(policy).files.values()
    module = module_of_text(text)
    model = SimpleNamespace(
        config=SimpleNamespace(
            sampling=SimpleNamespace(**{"predictor": "ancestral_cache", "noise_removal": "ancestral"} | settings)
        ),
        noise=type(noise, (), {"eps": 1e-3})(),
    )
    times = module.time_profile(model, 1e-5, module.STEPS - 1 if steps is None else steps)
    assert isinstance(times, torch.Tensor)
    return times


def masked(noise: str, time: float, eps: float = 1e-3) -> float:
    """1 - alpha of both noises."""
    return (1 - eps) * time if noise == "LogLinear" else math.cos(math.pi / 2 * (1 - (1 - eps) * time))


@pytest.mark.parametrize("noise", ["LogLinear", "Cosine"])
def test_three_thousand_alphas_give_their_probabilities(noise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "float32", torch.float64)  # the times before they are rounded
    for policy in alphas_policies(seed=10):
        times = profile(policy, noise).tolist()
        shares = [masked(noise, time) for time in times]
        chances = [1 - after / before for before, after in zip(shares, [*shares[1:], 0.0], strict=True)]
        assert abs(times[0] - 1) <= 1e-12
        assert close(chances, reveal_probabilities(policy.alphas or ()), 1e-9)


def test_the_times_are_float32_as_those_of_the_peer() -> None:
    policy = alphas_policy((0.0, 0.25, 0.5, 1.0))
    torch.testing.assert_close(profile(policy, "LogLinear"), torch.tensor([1, 0.75, 0.5]), rtol=0, atol=1e-7)
    assert profile(alphas_policy((0.0, 1.0)), "Cosine").tolist() == [1.0]


def test_what_the_times_do_not_hold_for_is_an_error() -> None:
    policy = alphas_policy((0.0, 0.25, 0.5, 1.0))
    with pytest.raises(ValueError, match=r"needs sampling.steps=2, got 3"):
        profile(policy, "LogLinear", 3)
    for settings in ({"predictor": "psi"}, {"noise_removal": "greedy"}):
        with pytest.raises(ValueError, match=r"noise_removal=ancestral and a sampling\.predictor other than psi"):
            profile(policy, "LogLinear", **settings)
    with pytest.raises(ValueError, match="must be log-linear or cosine, got Geometric"):
        profile(policy, "Geometric")


def test_the_instructions_give_the_steps_and_top_p() -> None:
    policy = replace(alphas_policy((0.0, 0.0, 0.5, 1.0)), sampler={"top_p": 0.9})
    made = Duo().export(policy)
    assert "sampling.steps=1 " in "\n".join(made.where) and "sampling.p_nucleus=0.9" in "\n".join(made.where)
    assert made.lost == ()


PEER = """
import hydra.utils, lightning as L, torch, transformers
import dataloader, metrics, models, utils
class LogLinear:
    def __init__(self, eps):
        self.eps = eps
    def masked(self, t):
        return (1 - self.eps) * t
class Cosine(LogLinear):
    def masked(self, t):
        return torch.cos(torch.pi / 2 * (1 - (1 - self.eps) * t))
def sample_categorical(law):
    raise AssertionError("not replaced")
class AbsorbingState(L.LightningModule):
    def generate_samples(self, num_samples):
        x = torch.full((num_samples, self.num_tokens), self.mask_index)
        steps = self.config.sampling.steps
        times = self._get_sampling_time_profile(1e-5, steps)
        for step in range(steps + 1):
            kept = self.noise.masked(times[step + 1]) / self.noise.masked(times[step]) if step < steps else 0.0
            law = self.forward(x, times[step]).exp() * (1 - kept) {change}
            law[..., self.mask_index] = 1 - law.sum(-1)
            x = sample_categorical(law)
        return x
"""


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.999", False)])
def test_the_probabilities_of_the_peer_are_compared(change: str, equal: bool, tmp_path: Path) -> None:
    (tmp_path / "trainer_base.py").write_text(PEER.replace("{change}", change), "utf-8")
    policy = alphas_policy((0.0, 0.25, 0.25, 0.625, 1.0))
    made = Duo().verify(policy, exported(Duo(), policy, tmp_path / "made"), tmp_path)
    assert made.equal == equal and made.wanted == (0.25, 0.5, 1.0) * 2
