"""What cannot be measured is refused with its reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.denoisers.analytic import MarkovChain, Parity, Table
from mdm_tune.run.measuring import measure_profile
from tests.run.test_measuring import loss_by_visible, measured, padded, start_of
from tests.support.helpers import FunctionDenoiser, seeds

CHAIN = MarkovChain.sticky(2, 0.1, 8)


@pytest.mark.parametrize("examples", [0, 1, 11])
def test_too_few_examples_are_refused(examples: int) -> None:
    originals = CHAIN.sample(10, 0)
    with pytest.raises(InputError, match=rf"examples must be from 2 to the 10 .* got {examples}"):
        measure_profile(CHAIN, start_of(CHAIN, originals), originals, seeds(10), examples=examples, points=4)


@pytest.mark.parametrize("points", [1, 0, -2])
def test_too_few_points_are_refused(points: int) -> None:
    with pytest.raises(InputError, match=f"points must be at least 2, .* got {points}"):
        measured(CHAIN, 10, points)


@pytest.mark.parametrize("block_length", [3, 5, 16])
def test_blocks_that_do_not_divide_are_refused(block_length: int) -> None:
    with pytest.raises(InputError, match=f"multiple of the block length {block_length}, got 8 to 8"):
        measured(CHAIN, 10, 4, block_length)


def test_blocks_of_rows_of_different_length_are_refused() -> None:
    loss = loss_by_visible(lambda v: 2 / (1 + v))
    with pytest.raises(InputError, match=r"equally many masked positions .* got 4 to 12"):
        measure_profile(loss, *padded([4, 8, 12]), seeds(3), examples=3, points=3, block_length=4)


def test_a_row_without_a_masked_position_is_refused() -> None:
    originals = CHAIN.sample(10, 0)
    start = start_of(CHAIN, originals)
    start[7] = originals[7]
    with pytest.raises(InputError, match="example 7 has no masked position"):
        measure_profile(CHAIN, start, originals, seeds(10), examples=3, points=4)


@pytest.mark.parametrize("token", [2, 9, -1])
def test_tokens_outside_the_vocabulary_are_refused(token: int) -> None:
    originals = CHAIN.sample(10, 0)
    originals[4, 3] = token
    for block_length in (None, 2):
        with pytest.raises(InputError, match=r"tokens to predict must be in \[0, 2\)"):
            measure_profile(
                CHAIN,
                torch.full_like(originals, 2),
                originals,
                seeds(10),
                examples=10,
                points=4,
                block_length=block_length,
            )


def test_a_token_that_the_model_excludes_is_named() -> None:
    """Example 2 is not of the law: with 2 of its 3 bits visible the third has probability 0, if they are alike."""
    law = Table(("aaa", "bbb", "aab"), (1.0, 1.0, 1.0))
    originals = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 0]])
    with pytest.raises(InputError, match=r"infinite for example 2 at position \d with 2 tokens visible") as caught:
        measure_profile(law, start_of(law, originals), originals, seeds(4), examples=4, points=3)
    position = int(str(caught.value).split("position ")[1].split()[0])
    assert f"probability 0 to token {int(originals[2, position])};" in str(caught.value)


def test_a_denoiser_that_fails_is_named_with_its_row() -> None:
    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        row = wanted.nonzero()[:, 0]
        bad = (tokens[row] == 1).any(1)
        return torch.where(bad[:, None], torch.nan, torch.zeros(len(row), 2))

    originals = torch.zeros(6, 8, dtype=torch.int64)
    originals[3] = 1
    start = torch.full_like(originals, 2)
    with pytest.raises(RunError, match="returned NaN for row 3 with 7 tokens visible"):
        measure_profile(FunctionDenoiser(2, logits), start, originals, seeds(6), examples=6, points=4)


def test_a_denoiser_that_does_not_look_is_refused() -> None:
    """Constant logits; and logits that know their position but not what is visible."""
    originals = torch.zeros(6, 8, dtype=torch.int64)
    start = torch.full_like(originals, 2)
    constant = FunctionDenoiser(2, lambda tokens, wanted: torch.zeros(int(wanted.sum()), 2))
    by_place = FunctionDenoiser(2, lambda tokens, wanted: wanted.nonzero()[:, 1:].double() * torch.tensor([0.0, 1.0]))
    for denoiser in (constant, by_place):
        for block_length in (None, 4):
            with pytest.raises(InputError, match="ignores its mask token") as caught:
                measure_profile(denoiser, start, originals, seeds(6), examples=6, points=4, block_length=block_length)
            assert "check that 2 is the mask id" in str(caught.value)
    assert measured(Parity(8), 6, 4).mean.tolist() == pytest.approx(Parity(8).profile()[[0, 3, 5, 7]].tolist())
