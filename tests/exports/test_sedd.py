"""The times for SEDD and the probabilities for RADD, in an arithmetic that is derived here again.

Covers: peer_sedd.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mdm_tune.exports.ancestral import reveal_probabilities
from mdm_tune.exports.policy import Policy
from mdm_tune.exports.sedd import Radd, Sedd
from tests.exports.test_peer_process import exported
from tests.support.exports import alphas_policies, alphas_policy, close, module_of_text


@pytest.fixture(autouse=True)
def sampling(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("sampling")
    monkeypatch.setitem(sys.modules, "sampling", module)
    return module


def module_of(known: Sedd | Radd, policy: Policy) -> ModuleType:
    (text,) = known.export(policy).files.values()
    return module_of_text(text)


Times = NDArray[np.float64]


def sigma(time: Times, eps: float = 1e-3) -> Times:
    return -np.log1p(-(1 - eps) * time)


def of_analytic(t: Times, s: Times) -> Times:
    """The staggered score of the tokens times the transition; exact scores sum to 1 / (exp(sigma) - 1)."""
    change = sigma(t) - sigma(s)
    return np.exp(change) * -np.expm1(-change) / np.expm1(sigma(t))


def of_euler(t: Times, s: Times, eps: float = 1e-3) -> Times:
    """The length of the step times the rate of the noise times the scores."""
    return (t - s) * (1 - eps) / (1 - (1 - eps) * t) / np.expm1(sigma(t))


def test_three_thousand_alphas_give_their_probabilities_with_exact_scores() -> None:
    for policy in alphas_policies(seed=7):
        module = module_of(Sedd(), policy)
        wanted = reveal_probabilities(policy.alphas or ())
        assert module.STEPS == len(wanted) == len(module.TIMES) - 1
        times = np.array(module.TIMES)
        for realised in (of_analytic, of_euler):
            assert np.abs(realised(times[:-1], times[1:]) - wanted).max() <= 1e-9


def test_three_thousand_alphas_give_radd_their_probabilities_at_its_times() -> None:
    for policy in alphas_policies(seed=8):
        module = module_of(Radd(), policy)
        sampler = SimpleNamespace(eps=1e-5)
        times = torch.linspace(1, sampler.eps, module.STEPS + 1)[:-1].tolist()
        chances = [module.get_update_rate(sampler, time, module.STEPS) for time in times]
        assert close(chances, reveal_probabilities(policy.alphas or ()), 1e-9)


class Updates:
    """A predictor that notes its times."""

    def __init__(self, seen: list[tuple[float, float]]) -> None:
        self.seen = seen

    def update_fn(self, score: Any, x: torch.Tensor, t: torch.Tensor, dt: Any = None) -> torch.Tensor:
        assert score == "score" and t.shape == (2, 1) and t.dtype == torch.float32
        self.seen.append((float(t[0, 0]), 0.0 if dt is None else float((t - dt)[0, 0])))
        return x


def test_the_loop_of_sedd_goes_through_the_times_and_ends_with_the_denoiser(sampling: ModuleType) -> None:
    absorbing = SimpleNamespace(absorb=True, sample_limit=lambda *shape: torch.full(shape, 9))
    noise = type("LogLinearNoise", (), {})()
    for policy in alphas_policies(60, seed=9):
        seen: list[tuple[float, float]] = []
        last: list[tuple[float, float]] = []
        module = module_of(Sedd(), policy)
        given = {"mutils": SimpleNamespace(get_score_fn=lambda model, train, sampling: "score")}
        given |= {"get_predictor": lambda name, seen=seen: lambda *_: Updates(seen)}
        given |= {"Denoiser": lambda *_, last=last: Updates(last)}
        vars(sampling).update(given)
        vars(module)["sampling"] = sampling
        module.install()
        run = sampling.get_pc_sampler(absorbing, noise, (2, 3), "analytic", module.STEPS, eps=1e-5)
        assert run(None).shape == (2, 3)
        assert len(last) == 1 and len(seen) == module.STEPS - 1
        chances = [(t - s) / t for t, s in (*seen, *last)]
        assert close(chances, reveal_probabilities(policy.alphas or ()), 1e-6)


def test_what_the_times_do_not_hold_for_is_an_error() -> None:
    policy = alphas_policy((0.0, 0.5, 1.0))
    with pytest.raises(ValueError, match="has 2 steps, got 3; give steps=2"):
        module_of(Radd(), policy).get_update_rate(SimpleNamespace(eps=1e-5), torch.tensor(1.0), 3)
    make = module_of(Sedd(), policy).get_pc_sampler
    graph, noise = SimpleNamespace(absorb=True), type("LogLinearNoise", (), {})()
    with pytest.raises(ValueError, match="has 2 steps, got 3; give steps=2"):
        make(graph, noise, (2, 3), "analytic", 3)
    for wrong in ((SimpleNamespace(absorb=False), noise, True), (graph, object(), True), (graph, noise, False)):
        with pytest.raises(ValueError, match="graph=absorb and noise=loglinear, with the denoising step"):
            make(wrong[0], wrong[1], (2, 3), "analytic", 2, denoise=wrong[2])


def test_the_instructions_give_the_steps_and_top_p() -> None:
    policy = replace(alphas_policy((0.0, 0.0, 0.5, 1.0)), sampler={"top_p": 0.9})
    assert "--steps 2 --strategy top_p --strategy_para 0.9" in "\n".join(Radd().export(policy).where)
    assert "--steps 2," in "\n".join(Sedd().export(policy).where)
    assert any("top_p 0.9" in sentence for sentence in Sedd().export(policy).lost)


NOISE = "class LogLinearNoise:\n    pass\n"
SEDD = """
import torch
from model import utils as mutils
def sample_categorical(law):
    raise AssertionError("not replaced")
class Analytic:
    def __init__(self, graph, noise):
        pass
    def update_fn(self, score, x, t, dt):
        scores = score(x, -torch.log1p(-t / 2))
        chance = (dt / t)[0, 0] {change}
        law = scores / scores[..., :-1].sum(-1, keepdim=True) * chance
        law[..., -1] = 1 - chance
        return sample_categorical(law)
class Denoiser(Analytic):
    def update_fn(self, score, x, t):
        return sample_categorical(score(x, -torch.log1p(-t / 2))[..., :-1])
def get_predictor(name):
    return Analytic
"""
GRAPH = """
import torch
class Absorbing:
    absorb = True
    def __init__(self, dim):
        self.dim = dim
    def sample_limit(self, *shape):
        return torch.full(shape, self.dim)
"""
RADD = """
import torch
class DiffusionSampler:
    eps = 1e-5
    def __init__(self, method, model, noise, shape, tokens, strategy, para, device):
        self.model, self.shape, self.mask = model, shape, tokens - 1
    def sample(self, steps):
        x = torch.full(self.shape, self.mask)
        for i, t in enumerate(torch.linspace(1, self.eps, steps + 1)[:-1]):
            chosen = torch.rand(*self.shape).to("cpu") < self.get_update_rate(t, steps) {change}
            chosen = chosen if i < steps - 1 else x == self.mask
            x[chosen] = self.model.logits(x).argmax(-1)[chosen]
        return x
"""


@pytest.mark.parametrize("known", [Sedd(), Radd()], ids=lambda known: known.name)
@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.999", False)])
def test_the_probabilities_of_the_peer_are_compared(
    known: Sedd | Radd, change: str, equal: bool, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "__init__.py").write_text("raise ImportError('needs what is not installed')", "utf-8")
    (tmp_path / "model" / "utils.py").write_text("", "utf-8")
    text = SEDD if known.name == "sedd" else RADD
    (tmp_path / "sampling.py").write_text(text.replace("{change}", change), "utf-8")
    (tmp_path / "graph_lib.py").write_text(GRAPH, "utf-8")
    (tmp_path / "noise_lib.py").write_text(NOISE, "utf-8")
    policy = alphas_policy((0.0, 0.25, 0.25, 0.625, 1.0))
    made = known.verify(policy, exported(known, policy, tmp_path / "made"), tmp_path)
    assert made.equal == equal and made.wanted == (0.25, 0.5, 1.0)
