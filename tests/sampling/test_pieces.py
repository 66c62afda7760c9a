"""Rows cut into pieces: their order and the size of a piece change nothing for a row."""

from __future__ import annotations

import pytest
import torch

from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.sampling.pieces import LocalPool, UnmaskArguments, divide_unmask, fill_rows, results_of
from mdm_tune.sampling.plans import CountPlan
from tests.support.helpers import seeds

LAW = MarkovChain.sticky(2, 0.1, 4)
COUNTS = torch.tensor([[[2, 0], [1, 1]], [[1, 1], [2, 0]], [[1, 1], [1, 1]]])  # of three rows in two blocks


@pytest.mark.parametrize("priced", [False, True])
def test_each_row_stays_the_same_where_rows_are_reordered(priced: bool) -> None:
    given = UnmaskArguments(
        tokens=torch.full((3, 4), LAW.mask_id),
        plan=CountPlan(COUNTS),
        seeds=seeds(3),
        blocks=torch.tensor([[0, 0, 1, 1]]).expand(3, 4),
        batch=2,
        reference=LAW.sample(3, seed=1) if priced else None,
    )
    order, pool = torch.tensor([2, 0, 1]), LocalPool(LAW)
    whole, mixed = results_of(pool, [divide_unmask(pool, given), divide_unmask(pool, given.reordered(order))])
    assert torch.equal(mixed.tokens, whole.tokens[order]) and torch.equal(mixed.nfe, whole.nfe[order])
    assert whole.nfe.tolist() == [3, 3, 4]
    if priced:
        assert whole.nll is not None and mixed.nll is not None and len({*whole.nll.tolist()}) == 3
        assert torch.equal(mixed.nll, whole.nll[order])
    again = fill_rows(pool, **{**vars(given), "batch": 3})
    assert torch.equal(again.tokens, whole.tokens)
