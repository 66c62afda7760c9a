"""Guidance: its formula, what each of its two predictions sees, what it costs, and the law that it samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.denoisers.asking import Asked, BatchedDenoiser
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.guidance import Guided
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.pieces import fill_rows
from mdm_tune.sampling.replicas import Replicas
from mdm_tune.sampling.unmasking import unmask
from tests.sampling.test_unmasking import small_transformer
from tests.support.helpers import (
    CountingDenoiser,
    FunctionDenoiser,
    TableDenoiser,
    fit,
    plan,
    random_law,
    same_plan,
    seeds,
    tally,
)
from tests.support.pools import TWO, guided_chain

INF, NAN = math.inf, math.nan
LAW = random_law(4, 3, seed=3, spread=1.0)
M = 3


def by_prompt(told: list[float], untold: list[float], dtype: torch.dtype = torch.float64) -> FunctionDenoiser:
    """One answer where the first token is visible, another where it is hidden."""

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        row = wanted.nonzero()[:, 0]
        answers = torch.tensor([told, untold], dtype=dtype)
        return answers[(tokens[row, 0] == len(told)).long()]

    return FunctionDenoiser(len(told), logits)


def ask(denoiser: Denoiser) -> list[float]:
    """The logits of the last of three positions, of which the first is the prompt."""
    tokens = torch.tensor([[0, denoiser.mask_id, denoiser.mask_id]])
    (answer,) = denoiser(tokens, torch.tensor([[False, False, True]])).tolist()
    return answer  # type: ignore[no-any-return]


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_the_formula(scale: float) -> None:
    told, untold = np.random.default_rng(0).normal(0, 3, (2, 7))
    found = ask(Guided(by_prompt(told.tolist(), untold.tolist()), scale, 2))
    np.testing.assert_allclose(found, (1 + scale) * told - scale * untold, atol=1e-12)


def test_a_token_that_either_forbids_is_forbidden() -> None:
    found = ask(Guided(by_prompt([-INF, 1.0, -INF, 2.0], [-INF, -INF, 1.0, 3.0]), 1.5, 2))
    assert found == [-INF, -INF, -INF, 0.5]


@pytest.mark.parametrize(
    ("told", "untold"), [(NAN, -INF), (-INF, NAN), (NAN, 0.0), (INF, -INF), (-INF, INF), (0.0, INF)]
)
def test_a_bad_answer_is_not_taken_for_a_forbidden_token(told: float, untold: float) -> None:
    denoiser = Guided(by_prompt([told, 0.0], [untold, 0.0]), 1.0, 2)
    with pytest.raises(RunError, match=r"returned (NaN|\+inf|no finite logit) for row 0"):
        unmask(denoiser, torch.tensor([[0, 2, 2]]), same_plan([2], 1), seeds=seeds(1))


def test_nothing_that_both_allow_is_a_failure() -> None:
    denoiser = Guided(by_prompt([0.0, -INF], [-INF, 0.0]), 1.0, 2)
    with pytest.raises(RunError, match="no finite logit"):
        unmask(denoiser, torch.tensor([[0, 2, 2]]), same_plan([2], 1), seeds=seeds(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_combined_in_float32(dtype: torch.dtype) -> None:
    told, untold = [10.0, 9.75, 0.5], [9.5, 9.9375, 0.25]
    found = Guided(by_prompt(told, untold, dtype), 3.0, 2)(
        torch.tensor([[0, 3, 3]]), torch.tensor([[False, False, True]])
    )
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_array_equal(found[0].numpy(), 4 * np.array(told) - 3 * np.array(untold))


def test_what_the_two_predictions_see() -> None:
    counting = CountingDenoiser(small_transformer())
    tokens = torch.tensor([[-1, 0, 1, 2, 7, 7, 3, 7], [0, 7, 1, 2, 7, 7, 7, 4]])
    before, wanted = tokens.clone(), (tokens == 7) & (torch.arange(8) > 3)
    Guided(counting, 1.0, 4)(tokens, wanted)
    assert torch.equal(tokens, before)
    assert [call[0].tolist() for call in counting.calls] == [
        tokens.tolist(),
        [[-1, 7, 7, 7, 7, 7, 3, 7], [7, 7, 7, 7, 7, 7, 7, 4]],
    ]
    assert all(torch.equal(call[1], wanted) for call in counting.calls)


def test_what_closes_a_text_stays_visible() -> None:
    counting = CountingDenoiser(small_transformer())
    tokens = torch.tensor([[-1, 0, 1, 2, 7, 7, 3, 5], [0, 7, 1, 2, 7, 7, 7, 5]])
    wanted = (tokens == 7) & (torch.arange(8) > 3)
    Guided(counting, 1.0, 3, 1)(tokens, wanted)
    assert counting.calls[1][0].tolist() == [[-1, 7, 7, 7, 7, 7, 3, 5], [7, 7, 7, 7, 7, 7, 7, 5]]
    with pytest.raises(InputError, match="only the last 2 positions"):
        Guided(counting, 1.0, 2, 1)(tokens, wanted)


def test_scale_zero_is_the_denoiser() -> None:
    counting = CountingDenoiser(TableDenoiser(LAW))
    guided = Guided(counting, 0.0, 3)
    tokens = torch.tensor([[1, M, M, M], [M, M, 0, M]])
    assert torch.equal(guided(tokens, tokens == M), TableDenoiser(LAW)(tokens, tokens == M))
    assert (len(counting.calls), guided.forwards) == (1, 1)


def test_it_counts_one_call_and_two_forwards() -> None:
    """Equal rows are asked once, in both predictions."""
    tokens = torch.tensor([[1, M, M, M], [1, M, M, M], [2, M, M, M], [-1, M, M, M]])
    a_plan = same_plan([1, 2], 4)
    plain = unmask(TableDenoiser(LAW), tokens, a_plan, seeds=seeds(4))
    counting = CountingDenoiser(TableDenoiser(LAW))
    guided = unmask(Guided(counting, 1.0, 3), tokens, a_plan, seeds=seeds(4), batch=2)
    assert guided.nfe.tolist() == plain.nfe.tolist() == [2] * 4
    assert (guided.denoiser_rows, guided.denoiser_tokens) == (counting.rows, counting.tokens)
    assert max(len(call[0]) for call in counting.calls) == 2
    asker = BatchedDenoiser(Guided(TableDenoiser(LAW), 1.0, 3), 8)
    list(asker(Asked.of(tokens.numpy(), (tokens == M).numpy()), torch.arange(4).numpy(), "here"))
    assert (asker.denoiser_rows, asker.denoiser_tokens) == (2 * 3, 2 * (4 + 4 + 3))


def test_the_law_of_guided_samples() -> None:
    """One position after the other, left to right: p(x | prompt, before)^(1 + w) p(x | before)^-w, normalised."""
    scale, prompt, rows = 1.5, 2, 20_000
    law: dict[tuple[int, ...], float] = {(): 1.0}
    wrong = dict(law)
    for position in (1, 2, 3):
        for table, told in ((law, True), (wrong, False)):
            longer = {}
            for before, probability in table.items():
                index = (prompt, *before)
                axes = tuple(range(1, 4 - position))
                given = LAW[index].sum(axis=axes)
                free = LAW.sum(axis=0)[before].sum(axis=axes)
                weights = (given / given.sum()) ** (1 + scale) * (free / free.sum()) ** -scale if told else given
                for token, weight in enumerate(weights / weights.sum()):
                    longer[(*before, token)] = probability * float(weight)
            table.clear()
            table.update(longer)
    tokens = torch.tensor([[prompt, M, M, M]]).expand(rows, -1)
    blocks = torch.arange(-1, 3).expand(rows, -1)
    a_plan = plan(*[[[1]] * 3] * rows)
    result = unmask(Guided(TableDenoiser(LAW), scale, 3), tokens, a_plan, seeds=seeds(rows), blocks=blocks, batch=4096)
    found = tally(result.tokens[:, 1:])
    assert fit(found, law) > 1e-4  # a sound sampler fails with probability 1e-4
    assert fit(found, wrong) < 1e-4


def test_greedy_blocks_as_a_plain_loop() -> None:
    """One row at a time: guidance, argmax, the most probable of the block, ties to the lowest."""
    model, scale, prompt, counts = small_transformer(), 0.7, 3, [[2, 1], [1, 1, 1], [3]]
    starts = torch.from_numpy(np.random.default_rng(0).integers(0, 7, (10, prompt)))
    expected = []
    for start in starts.tolist():
        row = [*start, *[7] * 9]
        for block, steps in enumerate(counts):
            for count in steps:
                hidden = [at for at in range(12) if row[at] == 7]
                wanted = torch.tensor([[at in hidden for at in range(12)]])
                told = model(torch.tensor([row]), wanted)
                untold = model(torch.tensor([[7] * prompt + row[prompt:]]), wanted)
                p = (untold + (scale + 1) * (told - untold)).double().softmax(1)
                best = {at: p[place].max(0) for place, at in enumerate(hidden) if (at - prompt) // 3 == block}
                for at in sorted(best, key=lambda at: (-float(best[at].values), at))[:count]:
                    row[at] = int(best[at].indices)
        expected.append(row)
    tokens = torch.cat([starts, torch.full((10, 9), 7)], dim=1)
    result = unmask(
        Guided(model, scale, 9),
        tokens,
        plan(*[counts] * 10),
        seeds=seeds(10),
        drawing=Drawing("confidence", 0.0),
        blocks=((torch.arange(12) - prompt) // 3).expand(10, -1),
    )
    assert result.tokens.tolist() == expected
    assert result.nfe.tolist() == [6] * 10 and result.denoiser_rows <= 2 * 60


def test_replicas_give_what_one_process_gives() -> None:
    denoiser = guided_chain("cpu")
    tokens = torch.full((7, 12), denoiser.mask_id)
    tokens[:, :3] = torch.arange(21).view(7, 3) % denoiser.vocab_size
    given: dict[str, Any] = {"seeds": seeds(7), "drawing": Drawing("confidence"), "batch": 2}
    alone = unmask(denoiser, tokens, same_plan([4, 5], 7), **given)
    with Replicas(guided_chain, TWO) as replicas:
        shared = fill_rows(replicas, tokens, same_plan([4, 5], 7), **given)
    assert torch.equal(alone.tokens, shared.tokens) and torch.equal(alone.nfe, shared.nfe)
    assert shared.denoiser_rows >= alone.denoiser_rows and shared.denoiser_rows % 2 == 0


@pytest.mark.parametrize("scale", [-0.5, NAN, INF])
def test_a_scale_out_of_range(scale: float) -> None:
    with pytest.raises(InputError, match=f"scale of guidance must be at least 0 and finite, got {scale}"):
        Guided(TableDenoiser(LAW), scale, 3)


def test_generated_positions_are_the_last() -> None:
    with pytest.raises(InputError, match="how many positions are generated, at least 1, got 0"):
        Guided(TableDenoiser(LAW), 1.0, 0)
    with pytest.raises(InputError, match="only the last 2 positions of a row may be masked"):
        unmask(Guided(TableDenoiser(LAW), 1.0, 2), torch.full((1, 4), M), same_plan([4], 1), seeds=seeds(1))
