"""Unmasking on a device waits for it once per step.

The device is torch's "lazy" with tensors that have no values. An operation that needs a value on the CPU fails there,
and so does one on tensors of two devices. What the loop copies to the CPU is replaced by numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mdm_tune.core.types import Order
from mdm_tune.denoisers import asking, lengths, transformer
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.denoisers.lengths import EqualLengths
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig
from mdm_tune.sampling import stability, unmasking
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import (
    CapPlan,
    CountPlan,
    EntropyBoundPlan,
    KlassPlan,
    Plan,
    QuotaPlan,
    RevealPlan,
    ThresholdPlan,
)
from mdm_tune.sampling.unmasking import unmask

LAZY = torch.device("lazy")
ROWS, LENGTH = 3, 8
LARGE = "".join(chr(0x100 + i) for i in range(3000))


class Device:
    """Tensors without values on the device, and how often the loop waited for it."""

    def __init__(self) -> None:
        self.mode, self.waits, self.vocabulary = FakeTensorMode(allow_non_fake_inputs=True), 0, 0

    def send(self, tensor: Tensor, device: torch.device) -> Tensor:
        assert device == LAZY and tensor.device.type == "cpu"
        with self.mode:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device=LAZY)

    def fetch(self, columns: Sequence[Tensor]) -> list[Tensor]:
        """Numbers in place of what a step has computed."""
        self.waits += 1
        assert {column.shape for column in columns} == {(len(columns[0]),)}
        assert {column.device for column in columns} == {LAZY}
        generator = torch.Generator().manual_seed(self.waits)
        n = len(columns[0])
        tokens = torch.randint(self.vocabulary, (n,), generator=generator)
        scores, log_prob = -torch.rand(2, n, dtype=torch.float64, generator=generator)
        return [torch.ones(n), torch.ones(n), tokens, scores, log_prob, torch.zeros(n, dtype=torch.float64)]

    def runs(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method with its work on the device."""

        def run(*arguments: Any) -> Any:
            with self.mode:
                return method(*arguments)

        return run

    def transformer(self, symbols: str) -> Transformer:
        """A transformer whose weights lie on the device."""
        self.vocabulary = len(symbols)
        model = Transformer(TransformerConfig(symbols=symbols, length=LENGTH, width=8, depth=1, heads=2))
        for module in model.requires_grad_(False).modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = self.send(weight, LAZY)  # type: ignore[assignment]
        return model


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device without values, on which networks and draws run."""
    made = Device()
    for module in (asking, lengths, stability, transformer, unmasking):
        monkeypatch.setattr(module, "to_device", made.send)
    monkeypatch.setattr(unmasking, "_on_cpu", made.fetch)
    on_device = [(unmasking._State, "_draw"), (Transformer, "trunk"), (nn.Linear, "forward")]
    for kind, name in (*on_device, (stability.Stability, "__init__"), (stability.Stability, "begin")):
        monkeypatch.setattr(kind, name, made.runs(getattr(kind, name)))
    return made


def start(model: Transformer, *, padded: bool = False) -> Tensor:
    """Rows of which the first two are equal, with two visible tokens."""
    tokens = torch.full((ROWS, LENGTH), model.mask_id)
    tokens[:, :2] = torch.tensor([[0, 1], [0, 1], [2, 1]])
    if padded:
        tokens[2, -2:] = -1
    return tokens


def counts(tokens: Tensor, mask_id: int, steps: int) -> Tensor:
    """Counts (rows, 1, steps) that reveal one position per step, and all others at the last step."""
    found = torch.ones(len(tokens), 1, steps, dtype=torch.int64)
    found[:, 0, -1] = (tokens == mask_id).sum(1) - steps + 1
    return found


def plan_of(kind: str, tokens: Tensor, mask_id: int) -> Plan:
    rows = torch.full((len(tokens),), 0.3, dtype=torch.float64)
    fixed = counts(tokens, mask_id, 3)
    plans: dict[str, Plan] = {
        "counts": CountPlan(fixed),
        "reveal": RevealPlan(torch.linspace(0, 1, 4, dtype=torch.float64).expand(len(tokens), -1)),
        "threshold": ThresholdPlan(rows),
        "entropy bound": EntropyBoundPlan(rows),
        "quota": QuotaPlan(fixed, rows),
        "cap": CapPlan(fixed, rows),
        "klass": KlassPlan(rows, rows),
    }
    return plans[kind]


CASES = [
    ("counts", Drawing("random")),
    ("counts", Drawing("random", temperature=0.0)),
    ("counts", Drawing("confidence")),
    ("counts", Drawing("confidence", temperature=0.0)),
    ("counts", Drawing("top-probability", temperature=0.5)),
    ("counts", Drawing("margin", temperature=0.5)),
    ("counts", Drawing("entropy", temperature=0.5, top_p=0.9, tempered_scores=True)),
    ("counts", Drawing("confidence", top_p=0.9)),
    ("counts", Drawing("confidence", temperature=0.5, tempered_scores=True)),
    ("counts", Drawing("confidence", confidence_temperature=0.5)),
    ("counts", Drawing("confidence", end_tokens=(1,), end_drawn=False)),
    ("counts", Drawing("confidence", end_tokens=(1,), end_confident=False)),
    ("counts", Drawing("confidence", end_tokens=(1,), stop_at_end=True)),
    ("reveal", Drawing("random")),
    ("threshold", Drawing("confidence", temperature=0.0)),
    ("entropy bound", Drawing("entropy", temperature=0.0)),
    ("quota", Drawing("confidence", temperature=0.0)),
    ("cap", Drawing("confidence", temperature=0.0)),
    ("klass", Drawing("confidence", temperature=0.0)),
]


@pytest.mark.parametrize("symbols", ["abcd", LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("kind", "drawing"), CASES, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(CASES)])
def test_a_step_waits_for_the_device_once(kind: str, drawing: Drawing, symbols: str, device: Device) -> None:
    model = device.transformer(symbols)
    tokens = start(model)
    plan = plan_of(kind, tokens, model.mask_id)
    steps = []
    seeds = np.arange(ROWS, dtype=np.uint64)
    unmask(
        model, tokens, plan, seeds=seeds, drawing=drawing, device=LAZY, on_step=lambda step: steps.append(step.number)
    )
    assert 0 < device.waits <= len(steps)


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_a_step_with_a_reference_waits_once(order: Order, device: Device) -> None:
    model = device.transformer("abcd")
    tokens = start(model)
    plan, seeds = plan_of("counts", tokens, model.mask_id), np.arange(ROWS, dtype=np.uint64)
    drawing = Drawing(order, temperature=0.0)
    unmask(model, tokens, plan, seeds=seeds, drawing=drawing, device=LAZY, reference=torch.zeros_like(tokens))
    assert 0 < device.waits <= 3


@pytest.mark.parametrize("wrapped", ["plain", "guided", "equal lengths"])
def test_padding_and_guidance_wait_no_more(wrapped: str, device: Device) -> None:
    model = device.transformer("abcd")
    tokens = start(model, padded=wrapped != "guided")
    denoiser: Denoiser = model
    if wrapped == "guided":
        denoiser = Guided(model, 1.0, LENGTH - 2)
    if wrapped == "equal lengths":
        denoiser = EqualLengths(model)
    plan, seeds = plan_of("counts", tokens, model.mask_id), np.arange(ROWS, dtype=np.uint64)
    unmask(denoiser, tokens, plan, seeds=seeds, drawing=Drawing("confidence"), device=LAZY)
    assert device.waits == 3


def test_a_denoiser_that_waits_is_noticed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    model = device.transformer("abcd")
    trunk = Transformer.trunk

    def waits(self: Transformer, *arguments: Any) -> Tensor:
        states: Tensor = trunk(self, *arguments)
        return states * float(states.sum())

    monkeypatch.setattr(Transformer, "trunk", waits)
    plan = plan_of("counts", start(model), model.mask_id)
    with pytest.raises(DataDependentOutputException):
        unmask(model, start(model), plan, seeds=np.arange(ROWS, dtype=np.uint64), device=LAZY)
