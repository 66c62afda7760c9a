"""Rows cut into pieces: their order and the size of a piece change nothing for a row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import RunError
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.denoisers.asking import PredictionRequest, predictions
from mdm_tune.sampling.pieces import (
    LocalPool,
    UnmaskArguments,
    divide_unmask,
    fill_rows,
    longest_first,
    predict,
    results_of,
)
from mdm_tune.sampling.plans import CountPlan
from tests.support.helpers import FunctionDenoiser, seeds

LAW = MarkovChain.sticky(2, 0.1, 4)
COUNTS = torch.tensor([[[2, 0], [1, 1]], [[1, 1], [2, 0]], [[1, 1], [1, 1]]])  # of three rows in two blocks
THREE = UnmaskArguments(
    tokens=torch.full((3, 4), LAW.mask_id),
    plan=CountPlan(COUNTS),
    seeds=seeds(3),
    blocks=torch.tensor([[0, 0, 1, 1]]).expand(3, 4),
    batch=2,
)


@pytest.mark.parametrize("priced", [False, True])
def test_each_row_stays_the_same_where_rows_are_reordered(priced: bool) -> None:
    given = replace(THREE, reference=LAW.sample(3, seed=1) if priced else None)
    order, pool = torch.tensor([2, 0, 1]), LocalPool(LAW)
    whole, mixed = results_of(pool, [divide_unmask(pool, given), divide_unmask(pool, given.reordered(order))])
    assert torch.equal(mixed.tokens, whole.tokens[order]) and torch.equal(mixed.nfe, whole.nfe[order])
    assert whole.nfe.tolist() == [3, 3, 4]
    assert whole.revealed is not None and mixed.revealed is not None
    assert whole.revealed.tolist() == [[2, 1, 1, 0], [1, 1, 2, 0], [1, 1, 1, 1]]  # of two pieces, the counts without 0
    assert torch.equal(mixed.revealed, whole.revealed[order])
    if priced:
        assert whole.nll is not None and mixed.nll is not None and len({*whole.nll.tolist()}) == 3
        assert torch.equal(mixed.nll, whole.nll[order])
    again = fill_rows(pool, **{**vars(given), "batch": 3})
    assert torch.equal(again.tokens, whole.tokens)


def test_predictions_come_back_in_the_order_of_the_request() -> None:
    """Rows of similar lengths share a piece, the longest first; each row keeps its numbers and its name."""
    tokens = torch.tensor([[-1, 0, 2, 2], [0, 1, 2, 2], [-1, -1, 1, 2], [1, 1, 0, 2], [-1, 1, 2, 0]])
    assert longest_first(tokens).tolist() == [1, 3, 0, 4, 2]
    weight = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def logits(rows: Tensor, wanted: Tensor) -> Tensor:
        row, position = wanted.nonzero(as_tuple=True)
        return weight[rows.clamp(min=0)].sum(1)[row] + position[:, None] * torch.tensor([0.3, -0.2])

    wanted = tokens == 2
    request = PredictionRequest(
        tokens=tokens, wanted=wanted, originals=wanted.long(), names=torch.arange(5) + 40, where="here"
    )
    denoiser = FunctionDenoiser(2, logits)
    whole = predictions(denoiser, request, batch=5)
    for batch in (1, 2, 5):
        (found,) = predict(LocalPool(denoiser), [request], batch=batch)
        np.testing.assert_array_equal(found.losses, whole.losses)
        np.testing.assert_array_equal(found.entropies, whole.entropies)
        assert found.denoiser_rows == whole.denoiser_rows and found.denoiser_tokens == whole.denoiser_tokens
    failing = FunctionDenoiser(
        2, lambda rows, wanted: logits(rows, wanted) + torch.where(rows[:, :2] == -1, torch.nan, 0.0).sum()
    )
    with pytest.raises(RunError, match="NaN for row 40 here"):
        list(predict(LocalPool(failing), [request], batch=1))


def test_each_piece_stops_once_its_rows_have_made_more_than_the_most_calls() -> None:
    """Rows 0 to 2 are called at steps 0, 2, 3; at 0, 1, 2; and at 0, 1, 2, 3. Two rows pass 3 calls with step 2."""
    given = replace(THREE, most_calls=3)
    (found,) = results_of(LocalPool(LAW), [divide_unmask(LocalPool(LAW), given)])
    (mixed,) = results_of(LocalPool(LAW), [divide_unmask(LocalPool(LAW), given.reordered(torch.tensor([2, 0, 1])))])
    assert found.nfe.tolist() == [2, 3, 4] and mixed.nfe.tolist() == [3, 2, 3]
    assert (found.tokens == LAW.mask_id).any(1).tolist() == [True, False, False]
