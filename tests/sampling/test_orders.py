"""Which position goes first, and which token wins at temperature 0; ties go to the lowest."""

from __future__ import annotations

import pytest
import torch

from mdm_tune.sampling.drawing import ORDERS, Drawing, Order
from mdm_tune.sampling.unmasking import Step, unmask
from tests.support.helpers import CONTEXT_ORDERS, FunctionDenoiser, same_plan, seeds


@pytest.mark.parametrize("order", ORDERS)
def test_temperature_zero_is_the_lowest_best_token(order: Order) -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0], [1.0, 1.0, 1.0], [0.0, -1.0, 3.0], [-torch.inf, 0.0, 0.0]])
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: logits.expand(len(tokens), 4, 3)[wanted])
    tokens = torch.full((5, 4), 3)
    result = unmask(denoiser, tokens, same_plan([2, 2], 5), seeds=seeds(5), drawing=Drawing(order, 0))
    assert result.tokens.tolist() == [[1, 0, 2, 1]] * 5


@pytest.mark.parametrize("order", [*CONTEXT_ORDERS, "confidence"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_ties_go_to_the_lowest_position(order: Order, temperature: float) -> None:
    denoiser = FunctionDenoiser(5, lambda tokens, wanted: torch.zeros(int(wanted.sum()), 5))
    tokens = torch.full((3, 40), 5)
    tokens[:, 7] = 1
    steps: list[Step] = []
    counts = same_plan([1, 2, 0, 36], 3)
    unmask(denoiser, tokens, counts, seeds=seeds(3), drawing=Drawing(order, temperature), on_step=steps.append)
    first = [step.revealed.nonzero()[:, 1].view(3, -1).tolist() for step in steps[:2]]
    assert first == [[[0]] * 3, [[1, 2]] * 3]
    assert steps[3].revealed[0].nonzero().flatten().tolist() == [*range(3, 7), *range(8, 40)]


@pytest.mark.parametrize(("order", "first"), [("top-probability", 0), ("margin", 1), ("entropy", 2), ("confidence", 0)])
def test_what_each_order_prefers(order: Order, first: int) -> None:
    # Position 0 has the largest probability, 1 the largest margin, 2 the smallest entropy, 3 the largest ratio.
    p = torch.tensor([[0.66, 0.336, 0.002, 0.002], [0.6, 0.25, 0.15, 0], [0.65, 0.35, 0, 0], [0.46, 0.18, 0.18, 0.18]])
    denoiser = FunctionDenoiser(4, lambda tokens, wanted: p.log().expand(len(tokens), 4, 4)[wanted])
    steps: list[Step] = []
    tokens, counts = torch.full((1, 4), 4), same_plan([1, 3], 1)
    unmask(denoiser, tokens, counts, seeds=seeds(1), drawing=Drawing(order, 0), on_step=steps.append)
    assert steps[0].revealed.tolist() == [[at == first for at in range(4)]]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("top-probability", 0.66), ("margin", 0.35), ("entropy", -0.6474466), ("confidence", 0.66), ("random", None)],
)
@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_a_step_tells_the_confidence_of_what_it_reveals(order: Order, expected: float | None, noise: float) -> None:
    # One position of each prediction alone, so that noise in the order changes no confidence. Entropy by hand.
    p = {"margin": [0.6, 0.25, 0.15, 0], "entropy": [0.65, 0.35, 0, 0]}.get(order, [0.66, 0.336, 0.002, 0.002])
    logits = torch.tensor(p, dtype=torch.float64).log()
    denoiser = FunctionDenoiser(4, lambda tokens, wanted: logits.expand(int(wanted.sum()), 4))
    steps: list[Step] = []
    tokens, counts = torch.tensor([[1, 4, 4]]), same_plan([1, 1], 1)
    drawing = Drawing(order, 0, confidence_temperature=noise if expected is not None else 0.0)
    unmask(denoiser, tokens, counts, seeds=seeds(1), drawing=drawing, on_step=steps.append)
    for step in steps:
        if expected is None:
            assert step.confidence is None
        else:
            assert step.confidence is not None
            assert step.confidence.tolist() == [
                [pytest.approx(expected * here, abs=1e-6) for here in each] for each in step.revealed.tolist()
            ]


@pytest.mark.parametrize("order", CONTEXT_ORDERS)
def test_rounding_of_the_logits_breaks_no_tie(order: Order) -> None:
    # The same prediction at every position, each with another constant added: equal but for the last bits.
    logits = torch.linspace(0, 2, 7, dtype=torch.float64) + torch.linspace(0, 9, 30, dtype=torch.float64)[:, None]
    denoiser = FunctionDenoiser(7, lambda tokens, wanted: logits.expand(len(tokens), 30, 7)[wanted])
    steps: list[Step] = []
    tokens, counts = torch.full((1, 30), 7), same_plan([1] * 30, 1)
    unmask(denoiser, tokens, counts, seeds=seeds(1), drawing=Drawing(order), on_step=steps.append)
    assert [int(step.revealed.nonzero()[0, 1]) for step in steps] == list(range(30))
