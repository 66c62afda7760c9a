"""Asking a denoiser: identical rows once, the union of what is wanted of them, the cost, and refused answers.

Covers: outputs.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import RunError
from mdm_tune.denoisers import asking
from mdm_tune.denoisers.asking import Asked, BatchedDenoiser, check_best
from tests.support.helpers import CountingDenoiser, FunctionDenoiser, TableDenoiser, random_law

LAW = TableDenoiser(random_law(4, 3, 0))
M = LAW.mask_id
TOKENS = torch.tensor([[0, M, M, 1], [M, M, M, M], [0, M, M, 1], [2, M, M, -1], [M, M, M, M], [0, M, M, 1]])
WANTED = torch.tensor(
    [[0, 1, 0, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool
)
NAMES = torch.arange(6) + 10


def collect(
    asker: BatchedDenoiser, tokens: Tensor = TOKENS, wanted: Tensor = WANTED
) -> dict[tuple[int, int], list[float]]:
    """Every entry of the answer by its row and position; each must come once."""
    found: dict[tuple[int, int], list[float]] = {}
    row, position = wanted.numpy().nonzero()
    for some, logits in asker(Asked.of(tokens.numpy(), wanted.numpy()), NAMES.numpy(), "at step 3"):
        assert logits.shape == (len(row[some]), LAW.vocab_size)
        check_best(logits.amax(1), NAMES.numpy()[row[some]], "at step 3")
        log_p = logits.double().log_softmax(1)
        for r, at, values in zip(row[some].tolist(), position[some].tolist(), log_p.tolist(), strict=True):
            assert (r, at) not in found
            found[r, at] = values
    return found


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_answers_and_cost_do_not_depend_on_the_batch(batch: int) -> None:
    counting = CountingDenoiser(LAW)
    asker = BatchedDenoiser(counting, batch)
    found = collect(asker)
    assert set(found) == {(r, at) for r, at in WANTED.nonzero().tolist()}
    for (r, at), values in found.items():
        np.testing.assert_allclose(values, LAW.posterior(TOKENS[r].tolist(), at), atol=1e-14)
    assert asker.denoiser_rows == counting.rows == 3
    assert asker.denoiser_tokens == counting.tokens == 4 + 4 + 3
    assert max(len(tokens) for tokens, _ in counting.calls) <= batch
    assert len(counting.calls) == math.ceil(3 / batch)


def test_a_row_is_asked_once_for_all_that_its_copies_want() -> None:
    counting = CountingDenoiser(LAW)
    collect(BatchedDenoiser(counting, 100))
    ((tokens, wanted),) = counting.calls
    asked = dict(zip(map(tuple, tokens.tolist()), wanted.int().tolist(), strict=True))
    assert asked == {
        (0, M, M, 1): [0, 1, 1, 0],
        (M, M, M, M): [1, 0, 1, 1],
        (2, M, M, -1): [0, 0, 1, 0],
    }


def test_cost_adds_up_over_questions() -> None:
    asker = BatchedDenoiser(LAW, 2)
    for asked in (1, 2, 3):
        collect(asker)
        assert (asker.denoiser_rows, asker.denoiser_tokens) == (3 * asked, 11 * asked)


@pytest.mark.parametrize(("elements", "largest"), [(1, 1), (3, 1), (7, 2), (1000, 7)])
def test_pieces_keep_to_the_memory_and_change_nothing(
    elements: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collect(BatchedDenoiser(LAW, 100))
    monkeypatch.setattr(asking, "ELEMENTS", elements)
    pieces = [
        len(logits)
        for _, logits in BatchedDenoiser(LAW, 100)(Asked.of(TOKENS.numpy(), WANTED.numpy()), NAMES.numpy(), "here")
    ]
    assert max(pieces) == largest and sum(pieces) == 7
    assert collect(BatchedDenoiser(LAW, 100)) == expected
    assert collect(BatchedDenoiser(LAW, 2)) == expected


@pytest.mark.parametrize(("limit", "calls"), [(1, 3), (8, 3), (11, 3), (12, 2), (17, 2), (18, 1)])
def test_calls_keep_to_the_memory_and_change_nothing(monkeypatch: pytest.MonkeyPatch, limit: int, calls: int) -> None:
    """Three distinct rows ask for 6, 9 and 3 logits; a row that is too large by itself is asked by itself."""
    whole = collect(BatchedDenoiser(LAW, 100))
    monkeypatch.setattr(asking, "CALL", limit)
    counting = CountingDenoiser(LAW)
    assert collect(BatchedDenoiser(counting, 100)) == whole
    assert len(counting.calls) == calls


def test_logits_have_the_type_that_the_denoiser_returns() -> None:
    logits = torch.tensor([1.0, 2.0, -math.inf], dtype=torch.float32)
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: logits.expand(int(wanted.sum()), 3))
    for _, piece in BatchedDenoiser(denoiser, 4)(Asked.of(TOKENS.numpy(), WANTED.numpy()), NAMES.numpy(), "here"):
        assert piece.dtype == torch.float32 and bool((piece == logits).all())


def test_rows_that_are_all_distinct_are_called_in_their_order_and_their_logits_are_not_copied() -> None:
    counting, order = CountingDenoiser(LAW), torch.tensor([3, 0, 1])
    entries = collect(BatchedDenoiser(counting, 2), TOKENS[order], WANTED[order])
    assert entries.keys() == {(0, 2), (1, 1), (2, 0), (2, 3)}
    assert torch.equal(torch.cat([tokens for tokens, _ in counting.calls]), TOKENS[order])
    logits = torch.zeros(4, 3)
    batched = BatchedDenoiser(FunctionDenoiser(3, lambda tokens, wanted: logits), 9)
    pieces = [
        piece for _, piece in batched(Asked.of(TOKENS[order].numpy(), WANTED[order].numpy()), NAMES.numpy(), "here")
    ]
    assert [piece.untyped_storage().data_ptr() for piece in pieces] == [logits.untyped_storage().data_ptr()]


def test_the_denoiser_runs_without_gradients() -> None:
    weight = torch.ones(3, requires_grad=True)
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: weight.expand(int(wanted.sum()), 3) * 2)
    for _, logits in BatchedDenoiser(denoiser, 4)(Asked.of(TOKENS.numpy(), WANTED.numpy()), NAMES.numpy(), "here"):
        assert not logits.requires_grad


@pytest.mark.parametrize("shape", [(7, 3), (6, 4), (6,), (1, 6, 3)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    """Of the three distinct rows 2, 3 and 1 positions are wanted, 6 in all; 7 would be one for each copy."""
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: torch.zeros(shape))
    said = r"one row of 3 float logits per wanted position, expected \(6, 3\) and got \(.* on rows 10 to 15 at step 3"
    with pytest.raises(RunError, match=said):
        collect(BatchedDenoiser(denoiser, 100))


@pytest.mark.parametrize(("bad", "told"), [(math.nan, "NaN"), (math.inf, r"\+inf"), (-math.inf, "no finite logit")])
@pytest.mark.parametrize("batch", [1, 100])
def test_a_bad_answer_names_the_row_and_the_place(bad: float, told: str, batch: int) -> None:
    """Row 3, named 13, alone is bad; the name is that of the row asked, not of its place among the distinct ones."""

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        row = wanted.nonzero()[:, 0]
        answer = torch.zeros(len(row), 3)
        return torch.where((tokens[row, 0] == 2)[:, None], bad, answer)

    with pytest.raises(RunError, match=f"returned {told} for row 13 at step 3"):
        collect(BatchedDenoiser(FunctionDenoiser(3, logits), batch))
