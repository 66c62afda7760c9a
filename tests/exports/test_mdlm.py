"""The loops for MDLM and ReMDM, in an arithmetic that is derived here again.

Covers: peer_mdlm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mdm_tune.exports.ancestral import reveal_probabilities
from mdm_tune.exports.mdlm import Mdlm, Remdm
from mdm_tune.exports.policy import Policy
from tests.exports.test_peer_process import exported
from tests.support.exports import alphas_policies, alphas_policy, module_of_text

KNOWN = [Mdlm(), Remdm()]


def module_of(known: Mdlm | Remdm, policy: Policy) -> ModuleType:
    (text,) = known.export(policy).files.values()
    return module_of_text(text)


Times = NDArray[np.float64]


def sigma(time: Times, eps: float = 1e-3) -> Times:
    """The total noise of the log-linear schedule."""
    return -np.log1p(-(1 - eps) * time)


def of_cache(t: Times, s: Times) -> Times:
    """The masked share is the time itself."""
    return (t - s) / t


def of_posterior(t: Times, s: Times) -> Times:
    """The posterior, by alpha = exp(-sigma)."""
    return (np.exp(-sigma(s)) - np.exp(-sigma(t))) / (1 - np.exp(-sigma(t)))


def of_score(t: Times, s: Times) -> Times:
    """The analytic step on the scores of a mask, which sum to 1 / (exp(sigma) - 1) over the tokens."""
    change = sigma(t) - sigma(s)
    return np.exp(change) * (1 - np.exp(-change)) / np.expm1(sigma(t))


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_three_thousand_alphas_give_their_probabilities(known: Mdlm | Remdm) -> None:
    for policy in alphas_policies(seed=2):
        assert policy.alphas is not None
        module = module_of(known, policy)
        wanted = reveal_probabilities(policy.alphas)
        assert module.TIMES[0] == 1 and module.TIMES[-1] == 0 and len(wanted) == module.STEPS
        times = np.array(module.TIMES)
        for realised in (of_cache, of_posterior, of_score):
            assert np.abs(realised(times[:-1], times[1:]) - wanted).max() <= 1e-9


def test_three_thousand_alphas_keep_their_shares_with_remasking() -> None:
    """remdm-cap and remdm-rescale: a share sigma of the revealed tokens is masked, and so many more are revealed."""
    for number, policy in enumerate(alphas_policies(seed=3)):
        module = module_of(Remdm(), policy)
        share, eta = 0.0, (0.0, 0.01, 0.2, 1.0)[number % 4]
        for t, s in pairwise(module.TIMES):
            before, after = 1 - t, 1 - s
            most = min(1.0, (1 - after) / before) if before else 1.0
            masked_again = min(eta, most) if number % 8 < 4 else eta * most
            revealed = (after - (1 - masked_again) * before) / (1 - before)
            assert -1e-9 <= revealed <= 1 + 1e-9
            share = share * (1 - masked_again) + (1 - share) * revealed
            assert abs(share - after) <= 1e-9


class Diffusion:
    """A sampler that notes the times of its updates, in float32, and changes tokens from its second update on."""

    def __init__(self, steps: int, predictor: str, sampler: str = "mdlm", **changes: Any) -> None:
        self.config = SimpleNamespace(
            noise=SimpleNamespace(type="loglinear"),
            sampling=SimpleNamespace(steps=steps, sampler=sampler, dfm=False),
            loader=SimpleNamespace(eval_batch_size=2),
            model=SimpleNamespace(length=3),
        )
        self.parameterization, self.sampler, self.time_conditioning = "subs", predictor, False
        self.device = torch.device("cpu")
        self.seen: list[tuple[float, float | None]] = []
        self.calls = 0
        for name, value in changes.items():
            setattr(self, name, value)

    def _sample_prior(self, *shape: int) -> torch.Tensor:
        return torch.full(shape, 9)

    def _note(self, x: torch.Tensor, t: torch.Tensor, dt: torch.Tensor | None) -> torch.Tensor:
        assert t.shape == (2, 1) and t.dtype == torch.float32
        self.seen.append((float(t[0, 0]), None if dt is None else float((t - dt)[0, 0])))
        return x if len(self.seen) == 1 else x - 1

    def _ddpm_update(self, x: torch.Tensor, t: torch.Tensor, dt: torch.Tensor) -> torch.Tensor:
        return self._note(x, t, dt)

    _analytic_update = _ddpm_update

    def _denoiser_update(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self._note(x, t, None)

    def _ddpm_caching_update(self, x: torch.Tensor, t: torch.Tensor, dt: torch.Tensor, p_x0: Any = None) -> Any:
        self.calls += p_x0 is None
        return "prediction", self._note(x, t, dt)


class Rediffusion(Diffusion):
    def _ddpm_caching_update(  # type: ignore[override]
        self, x: torch.Tensor, t: torch.Tensor, dt: torch.Tensor, p_x0: Any = None, conf: Any = None
    ) -> Any:
        assert conf.shape == x.shape
        return None, self._note(x, t, dt), conf


def loops() -> Iterator[tuple[Mdlm | Remdm, type[Diffusion], str]]:
    for predictor in ("ddpm_cache", "ddpm", "analytic"):
        yield Mdlm(), Diffusion, predictor
        yield Remdm(), Rediffusion, predictor


@pytest.mark.parametrize(("known", "peer", "predictor"), list(loops()))
def test_the_loop_goes_through_the_times(known: Mdlm | Remdm, peer: type[Diffusion], predictor: str) -> None:
    for policy in alphas_policies(60, seed=4):
        module = module_of(known, policy)
        made = type("Made", (peer,), {})
        module.install(made)
        model = made(module.STEPS, predictor)
        tokens = model._sample(num_steps=module.STEPS, eps=1e-5)
        assert tokens.shape == (2, 3) and len(model.seen) == module.STEPS
        ends = [s for _, s in model.seen]
        if predictor == "analytic":
            assert ends[-1] is None
            ends[-1] = 0.0
        assert ends[-1] == 0.0
        for chance, (t, _), s in zip(reveal_probabilities(policy.alphas or ()), model.seen, ends, strict=True):
            assert abs((t - s) / t - chance) <= 1e-6
        if known.name == "mdlm" and predictor == "ddpm_cache":
            assert model.calls == max(1, module.STEPS - 1)  # the first step changes nothing


def test_what_the_times_do_not_hold_for_is_an_error() -> None:
    policy = alphas_policy((0.0, 0.5, 1.0))
    for known, peer in ((Mdlm(), Diffusion), (Remdm(), Rediffusion)):
        sample = module_of(known, policy).sample
        with pytest.raises(ValueError, match=r"has 2 steps, got 3; give sampling.steps=2"):
            sample(peer(2, "ddpm_cache"), num_steps=3)
        with pytest.raises(ValueError, match="noise=loglinear"):
            sample(peer(2, "ddpm", parameterization="ar"))
    with pytest.raises(ValueError, match=r"must be one of .*remdm-conf"):
        sample(Rediffusion(2, "ddpm_cache", "remdm-loop"))


def test_the_instructions_give_the_steps_and_top_p() -> None:
    policy = replace(alphas_policy((0.0, 0.0, 0.5, 1.0)), sampler={"top_p": 0.9, "temperature": 0.7})
    for known in KNOWN:
        made = known.export(policy)
        assert re.search(r"sampling\.steps=2\b", "\n".join(made.where))
        assert any("temperature 0.7" in sentence for sentence in made.lost)
    assert "sampling.nucleus_p=0.9" in "\n".join(Remdm().export(policy).where)
    assert any("top_p 0.9" in sentence for sentence in Mdlm().export(policy).lost)


PEER = """
import hydra.utils, lightning as L, torch, torchmetrics, transformers
import dataloader, models, noise_schedule, utils
class NLL(torchmetrics.aggregation.MeanMetric):
    pass
def _sample_categorical(probabilities):
    raise AssertionError("not replaced")
class Diffusion(L.LightningModule):
    def _sample_prior(self, *shape):
        return torch.full(shape, self.mask_index)
    def _ddpm_caching_update(self, x, t, dt, p_x0=None, conf=None):
        self.noise(t)
        p_x0 = self.forward(x, t).exp()
        before, after = 1 - float(t[0, 0]), 1 - float((t - dt)[0, 0])
        cap = self.config.sampling.sampler == "remdm-cap"
        again = min(self.config.sampling.eta, (1 - after) / before if before else 1) if cap else 0.0
        chance = (after - (1 - again) * before) / (1 - before) {change}
        masked = (x == self.mask_index)[..., None]
        law = torch.where(masked, p_x0 * chance, p_x0 * (1 - again))
        law[..., self.mask_index] = torch.where(masked[..., 0], 1 - chance, again)
        xs = _sample_categorical(law)
        return {answer}
"""
NOISE = """
class LogLinearNoise:
    def __call__(self, t):
        return t, t
"""


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.999", False)])
def test_the_probabilities_of_the_peer_are_compared(
    known: Mdlm | Remdm, change: str, equal: bool, tmp_path: Path
) -> None:
    answer = "p_x0, xs" if known.name == "mdlm" else "None, xs, conf"
    (tmp_path / "diffusion.py").write_text(PEER.replace("{change}", change).replace("{answer}", answer), "utf-8")
    (tmp_path / "noise_schedule.py").write_text(NOISE, "utf-8")
    policy = alphas_policy((0.0, 0.25, 0.25, 0.625, 1.0), 1)
    made = known.verify(policy, exported(known, policy, tmp_path / "made"), tmp_path)
    assert made.equal == equal
    assert made.wanted == (0.25, 0.5, 1.0) + ((0.75, 0.375, 0.0) if known.name == "remdm" else ())
