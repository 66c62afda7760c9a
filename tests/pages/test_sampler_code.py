"""The loops and the draw that a page gives do what this package's sampler does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mdm_tune.pages.sampler_code import ancestral_loop, counts_loop, draw_code
from mdm_tune.sampling.drawing import Drawing, draw_tokens, order_score
from mdm_tune.sampling.unmasking import unmask
from tests.support.helpers import TableDenoiser, plan, random_law, seeds

LENGTH, VOCABULARY, LAWS = 6, 3, 8
ORDERS = ("confidence", "top-probability", "margin", "entropy")


def run(code: str, law: TableDenoiser, **given: Any) -> list[int]:
    """The tokens that the code fills in with the predictions of a law."""

    def model(tokens: Tensor) -> Tensor:
        hidden = tokens == law.mask_id
        logits = torch.zeros(LENGTH, VOCABULARY, dtype=torch.float64)
        logits[hidden] = law(tokens[None], hidden[None])
        return logits

    names = {"model": model, "mask": law.mask_id, "tokens": torch.full((LENGTH,), law.mask_id), **given}
    exec(code, names)
    tokens: Tensor = names["tokens"]
    return tokens.tolist()


def drawn(code: str, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Tokens (count,) that the function draws from a row of logits, and what ranks them."""
    names: dict[str, Any] = {"torch": torch}
    exec(code, names)
    torch.manual_seed(7)
    tokens, ranks = names["draw"](logits.expand(count, -1))
    return tokens, ranks


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [None, 3])
def test_the_loop_fills_a_sequence_as_the_sampler_does(order: str, size: int | None) -> None:
    """Greedily, so that there is one right answer; in blocks the counts of each sum to its length."""
    counts = [1, 2, 2, 1] if size else [1, 3, 2]
    code = counts_loop({"order": order, "temperature": 0.0}, size)
    blocks = None if size is None else torch.arange(LENGTH)[None] // size
    of_blocks = plan([[1, 2], [2, 1]]) if size else plan([counts])
    for seed in range(LAWS):
        law = TableDenoiser(random_law(LENGTH, VOCABULARY, seed=seed))
        start = torch.full((1, LENGTH), law.mask_id)
        drawing = Drawing(order, 0.0)  # type: ignore[arg-type]
        found = unmask(law, start, of_blocks, seeds=seeds(1), drawing=drawing, blocks=blocks)
        assert run(code, law, counts=counts) == found.tokens[0].tolist()


def test_counts_that_do_not_fit_are_refused() -> None:
    law = TableDenoiser(random_law(LENGTH, VOCABULARY, seed=0))
    with pytest.raises(AssertionError):
        run(counts_loop({}), law, counts=[1, 2])
    assert law.mask_id not in run(counts_loop({"order": "random"}), law, counts=[4, 0, 2])


def test_the_loop_of_alphas_reveals_everything() -> None:
    law = TableDenoiser(random_law(LENGTH, VOCABULARY, seed=0))
    for temperature in (0.0, 0.5, 1.0):
        assert law.mask_id not in run(ancestral_loop({"temperature": temperature}), law, alphas=[0, 0.3, 0.9, 1.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [1.0, 0.7])
@pytest.mark.parametrize("tempered", [False, True])
def test_tokens_are_drawn_at_the_temperature_and_ranked_as_the_sampler_ranks_them(
    temperature: float, top_p: float, tempered: bool
) -> None:
    """The shares of 20,000 draws differ from the law by over 0.018 (five standard errors) once in a million runs."""
    logits = torch.tensor([[0.3, -1.0, 0.9, 0.1, -0.4]], dtype=torch.float64)
    settings = {"temperature": temperature, "top_p": top_p, "tempered_scores": tempered}
    for order in ORDERS:
        tokens, ranks = drawn(draw_code(settings, order), logits, 20_000)
        uniform = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
        log_p = logits.log_softmax(1).expand(20_000, -1)
        exact = draw_tokens(log_p, uniform, temperature, top_p).bincount(minlength=5) / 20_000
        assert (tokens.bincount(minlength=5) / 20_000 - exact).abs().max() < 0.018
        law = exact[None].double().log() if tempered else logits.log_softmax(1)
        own = torch.tensor([0, 2, 3]) if top_p < 1 else torch.arange(5)
        score = order_score(order, law.expand(len(own), -1), own)  # type: ignore[arg-type]
        wanted = score.exp() if order in ("confidence", "top-probability") else score
        for token, expected in zip(own.tolist(), wanted.tolist(), strict=True):
            mine = ranks[tokens == token]
            assert not len(mine) or abs(float(mine[0]) - expected) < 1e-3


def test_the_words_say_which_probability_ranks_and_what_is_left_out() -> None:
    assert "the probability of the drawn token at temperature 1\n" in draw_code({"temperature": 0.5}, "confidence")
    tempered = {"temperature": 0.5, "top_p": 0.9, "tempered_scores": True}
    assert "probability at temperature 0.5 within top-p\n" in draw_code(tempered, "top-probability")
    assert "# the run's sampler also has guidance 1.5, which is not here" in draw_code({"guidance": 1.5}, "random")
    assert "also has" not in draw_code({"guidance": 0.0, "end_drawn": True}, "random")
