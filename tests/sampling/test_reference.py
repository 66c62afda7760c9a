"""Revealing a reference prices it: exactly for orders that look at predictions alone, without bias for the others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.sampling.drawing import Drawing, Order
from mdm_tune.sampling.unmasking import Plan, RevealPlan, unmask
from tests.support.enumeration import Enumeration
from tests.support.helpers import CONTEXT_ORDERS, CountingDenoiser, TableDenoiser, plan, random_law, same_plan, seeds

ALPHAS = [0.0, 0.2, 0.7, 1.0]
LENGTH, VOCAB = 4, 3
TABLE = random_law(LENGTH, VOCAB, seed=37)
SEEDS = 20_000


def everything() -> Tensor:
    return torch.tensor(list(itertools.product(range(VOCAB), repeat=LENGTH)))


def price(reference: Tensor, a_plan: Plan, order: Order, temperature: float = 1.0, first: int = 0) -> Tensor:
    """-log q (rows,) of the rows of reference, all of whose positions are hidden."""
    hidden = torch.full_like(reference, VOCAB)
    result = unmask(
        TableDenoiser(TABLE),
        hidden,
        a_plan,
        seeds=seeds(len(reference), first),
        drawing=Drawing(order, temperature),
        reference=reference,
    )
    assert torch.equal(result.tokens, reference)
    assert result.nll is not None
    return result.nll


@pytest.mark.parametrize("order", CONTEXT_ORDERS)
@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [1, 2, 1], [2, 2], [4], [0, 3, 0, 1]])
def test_context_orders_give_the_likelihood(order: Order, counts: list[int]) -> None:
    reference = everything()
    nll = price(reference, same_plan(counts, len(reference)), order)
    assert abs(math.fsum(torch.exp(-nll).tolist()) - 1) < 1e-12
    law = Enumeration(TABLE).fixed(counts, order)
    expected = torch.tensor([-math.log(law[tuple(row)]) for row in reference.tolist()], dtype=torch.float64)
    assert torch.allclose(nll, expected, rtol=0, atol=1e-11)
    # Neither the seeds nor the temperature of the tokens that would have been drawn matter.
    assert torch.equal(nll, price(reference, same_plan(counts, len(reference)), order, first=1000))
    assert torch.equal(nll, price(reference, same_plan(counts, len(reference)), order, temperature=0.3))


def test_orders_price_differently() -> None:
    # Otherwise the test above could not tell one order from another.
    reference = everything()
    prices = [price(reference, same_plan([1, 2, 1], len(reference)), order) for order in CONTEXT_ORDERS]
    assert all(float((one - two).abs().max()) > 0.05 for one, two in itertools.combinations(prices, 2))


def check_mean(nll: Tensor, expected: float) -> None:
    """Mean within 4.9 standard errors: a sound estimate is refused with probability 1e-6; spread must be real."""
    error = float(nll.std()) / math.sqrt(len(nll))
    assert 0 < error < 0.02
    assert abs(float(nll.mean()) - expected) < 4.9 * error


OUTCOMES = [(0, 0, 0, 0), (0, 1, 2, 0), (2, 2, 1, 0)]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("counts", [[1, 1, 2], [2, 0, 2]])
def test_random_order_estimates_the_nelbo(outcome: Sequence[int], counts: list[int]) -> None:
    reference = torch.tensor(outcome).expand(SEEDS, -1)
    enumeration = Enumeration(TABLE)
    expected = enumeration.nelbo_fixed(outcome, counts)
    assert expected > -math.log(enumeration.fixed(counts, "random")[tuple(outcome)]) + 1e-3  # a bound, and not tight
    check_mean(price(reference, same_plan(counts, SEEDS), "random"), expected)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_ancestral_reveal_estimates_the_nelbo(outcome: Sequence[int]) -> None:
    reference = torch.tensor(outcome).expand(SEEDS, -1)
    enumeration = Enumeration(TABLE)
    expected = enumeration.nelbo_ancestral(outcome, ALPHAS)
    assert expected > -math.log(enumeration.ancestral(ALPHAS)[tuple(outcome)]) + 1e-3
    reveal = RevealPlan(torch.tensor(ALPHAS, dtype=torch.float64).expand(SEEDS, -1))
    check_mean(price(reference, reveal, "random"), expected)


def test_nelbo_of_a_repeated_bit_is_the_closed_form() -> None:
    # Revealing s_1 of 4 equal bits at once costs s_1 ln 2; afterwards everything is known.
    table = np.zeros((2,) * 4)
    table[0, 0, 0, 0] = table[1, 1, 1, 1] = 0.5
    reference = torch.tensor([[0] * 4, [1] * 4])
    result = unmask(
        TableDenoiser(table),
        torch.full((2, 4), 2),
        plan([[3, 1]], [[1, 3]]),
        seeds=seeds(2),
        reference=reference,
    )
    assert result.nll is not None
    assert torch.allclose(result.nll, torch.tensor([3.0, 1.0], dtype=torch.float64) * math.log(2), rtol=0, atol=1e-14)


def test_prompt_and_padding_are_not_priced() -> None:
    hidden = torch.tensor([[1, VOCAB, VOCAB, -1]])
    reference = torch.tensor([[0, 2, 1, 0]])  # what lies outside the hidden positions is not read
    a_plan, drawing = same_plan([1, 1], 1), Drawing("margin")
    result = unmask(TableDenoiser(TABLE), hidden, a_plan, seeds=seeds(1), drawing=drawing, reference=reference)
    assert result.tokens.tolist() == [[1, 2, 1, -1]]
    joint = TABLE.sum(axis=3)
    assert result.nll is not None
    assert math.isclose(float(result.nll), -math.log(joint[1, 2, 1] / joint[1].sum()), abs_tol=1e-12)


def test_the_denoiser_never_sees_a_hidden_reference_token() -> None:
    reference = everything()
    counting = CountingDenoiser(TableDenoiser(TABLE))
    hidden = torch.full_like(reference, VOCAB)
    a_plan, drawing = same_plan([1, 2, 1], 81), Drawing("top-probability")
    unmask(counting, hidden, a_plan, seeds=seeds(81), drawing=drawing, reference=reference)
    assert [sorted({int(n) for n in (tokens == VOCAB).sum(1)}) for tokens, _ in counting.calls] == [[4], [3], [1]]


def test_greedy_confidence_is_top_probability() -> None:
    reference = everything()
    a_plan = same_plan([1, 2, 1], len(reference))
    confidence = price(reference, a_plan, "confidence", temperature=0)
    assert torch.equal(confidence, price(reference, a_plan, "top-probability", temperature=0))
    assert torch.equal(confidence, price(reference, a_plan, "top-probability"))
    assert not torch.allclose(confidence, price(reference, a_plan, "margin"))


def test_confidence_above_temperature_zero_has_no_likelihood() -> None:
    with pytest.raises(InputError, match=r"not defined for order 'confidence'.*got 0\.5"):
        price(everything(), same_plan([4], 81), "confidence", temperature=0.5)


def test_no_reference_no_likelihood() -> None:
    hidden = torch.full((2, LENGTH), VOCAB)
    assert unmask(TableDenoiser(TABLE), hidden, same_plan([4], 2), seeds=seeds(2)).nll is None
