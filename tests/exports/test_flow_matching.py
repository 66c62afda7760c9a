"""The scheduler for flow_matching, in the arithmetic of its solver, which is derived here again.

Covers: peer_flow_matching.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mdm_tune.exports.ancestral import kept_alphas, reveal_probabilities
from mdm_tune.exports.flow_matching import FlowMatching
from mdm_tune.exports.policy import Policy
from tests.exports.test_peer_process import exported
from tests.support.exports import alphas_policies, alphas_policy, module_of_text


@dataclass
class SchedulerOutput:
    alpha_t: torch.Tensor
    sigma_t: torch.Tensor
    d_alpha_t: torch.Tensor
    d_sigma_t: torch.Tensor


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flow_matching", "flow_matching.path", "flow_matching.path.scheduler"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    scheduler = sys.modules["flow_matching.path.scheduler"]
    scheduler.ConvexScheduler = type("ConvexScheduler", (), {})  # type: ignore[attr-defined]
    scheduler.SchedulerOutput = SchedulerOutput  # type: ignore[attr-defined]


def module_of(policy: Policy) -> ModuleType:
    (text,) = FlowMatching().export(policy).files.values()
    return module_of_text(text)


def revealed(module: ModuleType, times: torch.Tensor) -> torch.Tensor:
    """The probabilities of the solver's steps: 1 - exp(-h hazard), with the hazard at the start; the last reveals all.

    The solver gives the scheduler one time after the other; all at once is the same.
    """
    output = module.MdmTuneScheduler()(times[:-1])
    chances = 1 - torch.exp(-times.diff() * output.d_alpha_t / (1 - output.alpha_t))
    chances[-1] = 1
    return chances


def test_three_thousand_alphas_give_their_probabilities() -> None:
    for policy in alphas_policies(seed=5):
        assert policy.alphas is not None
        module = module_of(policy)
        wanted = torch.tensor(reveal_probabilities(policy.alphas), dtype=torch.float64)
        exact = torch.arange(module.STEPS + 1, dtype=torch.float64) / module.STEPS
        assert float((revealed(module, exact) - wanted).abs().max()) <= 1e-9
        assert float((revealed(module, module.time_grid()) - wanted).abs().max()) <= 2e-6


def test_the_path_is_that_of_the_schedule_and_its_slope_the_derivative() -> None:
    for policy in alphas_policies(100, seed=6):
        module = module_of(policy)
        scheduler = module.MdmTuneScheduler()
        ends = scheduler(torch.arange(module.STEPS + 1, dtype=torch.float64) / module.STEPS)
        assert ends.alpha_t.tolist() == pytest.approx(list(kept_alphas(policy.alphas or ())), abs=1e-12)
        middle = ((torch.arange(module.STEPS, dtype=torch.float64) + 0.3) / module.STEPS).requires_grad_()
        output = scheduler(middle)
        (slope,) = torch.autograd.grad(output.alpha_t.sum(), middle)
        torch.testing.assert_close(output.d_alpha_t, slope, rtol=1e-6, atol=1e-9)
        assert torch.equal(output.sigma_t, 1 - output.alpha_t) and torch.equal(output.d_sigma_t, -output.d_alpha_t)
        torch.testing.assert_close(scheduler.kappa_inverse(output.alpha_t), middle, rtol=0, atol=1e-8)


def test_smaller_steps_reveal_the_same_shares() -> None:
    """The hazard does not change within a step, so that two halves of it reveal what it reveals."""
    module = module_of(alphas_policy((0.0, 0.1, 0.5, 0.75, 1.0)))
    chances = revealed(module, torch.arange(9, dtype=torch.float64) / 8)
    left = torch.cumprod(1 - chances, 0)
    assert left[1:6:2].tolist() == pytest.approx([0.9, 0.5, 0.25], abs=1e-12)


def test_a_share_that_float32_rounds_away_gives_a_number() -> None:
    module = module_of(alphas_policy((0.0, 0.5, 1 - 1e-12, 1.0)))
    assert revealed(module, module.time_grid()).tolist() == pytest.approx([0.5, 1.0, 1.0], abs=1e-6)
    module = module_of(alphas_policy((0.0, 1 - 1e-12, 1 - 1e-13, 1.0)))
    assert revealed(module, module.time_grid()).tolist() == pytest.approx([1.0, 0.9, 1.0], abs=1e-3)


PATH = """
class MixtureDiscreteProbPath:
    def __init__(self, scheduler):
        self.scheduler = scheduler
"""
SCHEDULER = """
class ConvexScheduler:
    pass
class SchedulerOutput:
    def __init__(self, **values):
        self.__dict__.update(values)
"""
SOLVER = """
import torch
class MixtureDiscreteEulerSolver:
    def __init__(self, model, path, vocabulary_size):
        self.model, self.path = model, path
    def sample(self, x_init, step_size, time_grid):
        x = x_init.clone()
        for t, s in zip(time_grid[:-2], time_grid[1:-1]):
            out = self.path.scheduler(t[None])
            chance = 1 - torch.exp(-(s - t) * out.d_alpha_t / (1 - out.alpha_t)) {change}
            x[torch.rand(size=x.shape) < chance.expand(x.shape)] = 0
        return self.model(x, t=time_grid[-2]).argmax(-1)
"""


@pytest.mark.parametrize(("change", "equal"), [("", True), ("* 0.999", False)])
def test_the_probabilities_of_the_peer_are_compared(change: str, equal: bool, tmp_path: Path) -> None:
    folder = tmp_path / "flow_matching"
    for name, text in (("path", PATH), ("path/scheduler", SCHEDULER), ("solver", "raise ImportError")):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(text, "utf-8")
    (folder / "__init__.py").write_text("raise ImportError('needs what is not installed')", "utf-8")
    (folder / "solver" / "discrete_solver.py").write_text(SOLVER.replace("{change}", change), "utf-8")
    policy = alphas_policy((0.0, 0.25, 0.25, 0.625, 1.0))
    made = FlowMatching().verify(policy, exported(FlowMatching(), policy, tmp_path / "made"), tmp_path)
    assert made.equal == equal and made.wanted == (0.25, 0.5, 1.0)
