"""The scheduler of dllm, on a base class and in an arithmetic that are derived here again."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from mdm_tune.exports.dllm import Dllm
from mdm_tune.exports.policy import Policy
from tests.support.exports import alphas_policies, count_policies, counts_policy, module_of_text


class BaseAlphaScheduler:
    """Time and alpha in float32; 1 - alpha is the masked share."""

    def alpha(self, time: float) -> torch.Tensor:
        return self._alpha(torch.tensor(time, dtype=torch.float32))

    def _alpha(self, time: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def reverse_mask_prob(self, s: float, t: float) -> float:
        return ((1 - self.alpha(s)) / (1 - self.alpha(t))).item()


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    schedulers = ModuleType("dllm.core.schedulers")
    schedulers.BaseAlphaScheduler = BaseAlphaScheduler  # type: ignore[attr-defined]
    for name, module in (("dllm", ModuleType("dllm")), ("dllm.core", ModuleType("dllm.core"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "dllm.core.schedulers", schedulers)


def scheduler_of(policy: Policy) -> tuple[Any, ModuleType]:
    (text,) = Dllm().export(policy).files.values()
    module = module_of_text(text)
    return module.MdmTuneAlphaScheduler(), module


def dllm_counts(scheduler: Any, steps: int, masked: int, base: bool = False) -> list[int]:
    """The expected tokens of each step, rounded half to even; steps without tokens are left out."""
    counts = []
    for step in range(steps, 0, -1):
        if masked == 0:
            break
        s, t = (step - 1) / steps, step / steps
        kept = BaseAlphaScheduler.reverse_mask_prob(scheduler, s, t) if base else scheduler.reverse_mask_prob(s=s, t=t)
        count = min(masked, round(masked * (1 - kept)))
        masked -= count
        if count:
            counts.append(count)
    assert masked == 0
    return counts


def test_three_thousand_counts_survive_the_rounding_of_dllm() -> None:
    for policy in count_policies("equal"):
        scheduler, module = scheduler_of(policy)
        assert policy.counts is not None
        wanted = [count for count in policy.counts[0] if count]
        steps = -(-module.STEPS // policy.blocks)
        assert dllm_counts(scheduler, steps, policy.block_length) == wanted


@pytest.mark.parametrize(("number", "longest"), [(380, 64), (20, 1024)])
def test_counts_survive_by_alpha_alone(number: int, longest: int) -> None:
    for policy in count_policies("equal", number, longest, seed=1):
        scheduler, module = scheduler_of(policy)
        assert policy.counts is not None
        wanted = [count for count in policy.counts[0] if count]
        assert dllm_counts(scheduler, module.STEPS // policy.blocks, policy.block_length, base=True) == wanted


def test_three_thousand_alphas_give_their_probabilities() -> None:
    for policy in alphas_policies(seed=1):
        assert policy.alphas is not None
        scheduler, _ = scheduler_of(policy)
        for step in range(policy.steps):
            before, after = policy.alphas[step : step + 2]
            s, t = (policy.steps - step - 1) / policy.steps, (policy.steps - step) / policy.steps
            wanted = 1.0 if after == 1 else (after - before) / (1 - before)
            assert abs(1 - scheduler.reverse_mask_prob(s=s, t=t) - wanted) <= 1e-9


def test_the_curve_runs_from_data_at_zero_to_masks_at_one() -> None:
    scheduler, _ = scheduler_of(counts_policy((4, 2, 1, 1)))
    times = torch.tensor([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
    assert scheduler._alpha(times).tolist() == [1.0, 0.9375, 0.875, 0.75, 0.5, 0.0]
    assert scheduler._alpha_derivative(torch.tensor([0.1, 0.3, 0.6, 0.9])).tolist() == [-0.5, -0.5, -1.0, -2.0]


def test_other_numbers_of_steps_follow_the_curve() -> None:
    scheduler, _ = scheduler_of(counts_policy((4, 2, 1, 1)))
    assert dllm_counts(scheduler, 2, 8) == [6, 2]
    assert scheduler.reverse_mask_prob(s=0.3, t=0.9) == pytest.approx((1 - 0.85) / (1 - 0.2), abs=1e-6)


def test_arguments_of_the_sampler() -> None:
    lines = "\n".join(Dllm().export(counts_policy((3, 1), (3, 1), sampler={"order": "random"})).where)
    assert "max_new_tokens=8, block_size=4" in lines and 'steps=4, remasking="random")' in lines
    policy = next(alphas_policies(1))
    assert "stochastic_transfer=True" in "\n".join(Dllm().export(policy).where)
