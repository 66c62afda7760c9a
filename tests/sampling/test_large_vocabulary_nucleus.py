"""The nucleus in a large vocabulary against the definition, which sorts the whole of it.

Covers: large_vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mdm_tune.core.types import Order
from mdm_tune.sampling.drawing import ORDERS, Drawing, _draw_plainly
from mdm_tune.sampling.large_vocabulary import Nucleus, Scratch, Softmax

RANKING: tuple[Order, ...] = tuple(order for order in ORDERS if order != "random")
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
TOP_P = (1e-6, 0.1, 0.5, 0.9, 0.99, 0.999999)
# Rows of one call differ in their spread: nuclei of one token, of a few and of most of the vocabulary side by side.
SPREADS = (1e-3, 0.1, 0.5, 1.0, 3.0, 10.0, 100.0, 1000.0)
SCRATCH = Scratch()


class NoWaiting(TorchDispatchMode):
    """Fails on an operation whose result has a size or a number that the host must wait for."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert not any(word in name for word in self.WAITING), name
        assert name != "_to_copy" or (kwargs or {}).get("device") is None, name
        if name in ("index", "index_put", "index_put_"):
            assert all(index is None or index.dtype != torch.bool for index in args[1]), name
        return func(*args, **(kwargs or {}))


@contextmanager
def way(choose: bool) -> Iterator[None]:
    """The way of the CPU, or that of other devices, which never waits."""
    if choose:
        yield
    else:
        with NoWaiting():
            yield


def compare(logits: Tensor, uniform: Tensor, temperature: float, top_p: float, choose: bool) -> None:
    law = Softmax(logits, logits.amax(1), temperature, SCRATCH)
    with way(choose):
        nucleus = Nucleus(law, top_p, choose=choose)
        tokens = nucleus.draw(uniform)
        scores = {order: nucleus.score(order, tokens) for order in RANKING}
    log_p = logits.double().log_softmax(1)
    for order in RANKING:
        plain = _draw_plainly(Drawing(order, temperature, top_p=top_p, tempered_scores=True), log_p, uniform, None)
        assert torch.equal(tokens, plain.tokens)
        assert plain.scores is not None
        torch.testing.assert_close(scores[order], plain.scores, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("choose", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("vocab", [2, 65, 512, 513, 5000])
def test_tokens_and_scores_are_those_of_a_whole_sort(vocab: int, dtype: torch.dtype, choose: bool) -> None:
    generator = torch.Generator().manual_seed(vocab)
    spread = torch.tensor(SPREADS, dtype=torch.float64)[:, None]
    for temperature in (0.01, 0.3, 1.0, 5.0):
        logits = (torch.randn(len(SPREADS), vocab, generator=generator, dtype=torch.float64) * spread).to(dtype)
        logits[:, 1::5] = -torch.inf
        for top_p in TOP_P:
            uniform = torch.rand(len(SPREADS), generator=generator, dtype=torch.float64)
            compare(logits, uniform, temperature, top_p, choose)


@pytest.mark.parametrize("choose", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_of_thousands_of_equal_tokens_the_first_are_inside(dtype: torch.dtype, choose: bool) -> None:
    """Logits of a few values, zeros of both signs among them, and far above and below zero."""
    generator = torch.Generator().manual_seed(7)
    steps = torch.randint(-3, 4, (6, 20_000), generator=generator).to(dtype)
    steps[:, 5:9] *= -1.0
    steps[1] *= 0.25
    steps[2] += 300.0
    steps[3] -= 500.0
    steps[4, ::3] = -0.0
    steps[5] = 0.0
    for top_p in (0.123, 0.5, 0.777, 0.95):
        for temperature in (1.0, 0.5, 3.0):
            compare(steps, torch.rand(6, generator=generator, dtype=torch.float64), temperature, top_p, choose)


@pytest.mark.parametrize("choose", [True, False])
@pytest.mark.parametrize("top_p", [0.2, 0.5])
def test_every_token_inside_is_drawn_and_none_outside(top_p: float, choose: bool) -> None:
    """Drawn at the middle of very many equal parts from 3,000 tokens, of which each has 1 or 2 shares."""
    logits = torch.zeros(1, 3000, dtype=torch.float64)
    logits[:, 1::3] = torch.tensor(2.0).double().log()
    law = Softmax(logits.expand(4000, -1).contiguous(), torch.full((4000,), logits.max().item()).double(), 1.0, SCRATCH)
    with way(choose):
        tokens = Nucleus(law, top_p, choose=choose).draw((torch.arange(4000).double() + 0.5) / 4000)
    twice, once = list(range(1, 3000, 3)), [token for token in range(3000) if token % 3 != 1]
    wanted = round(top_p * 4000)  # shares
    inside = twice[: wanted // 2] if wanted <= 2000 else twice + once[: wanted - 2000]
    assert sorted(set(tokens.tolist())) == inside


@pytest.mark.parametrize("choose", [True, False])
@pytest.mark.parametrize("top_p", [1e-9, 1e-12, 5e-324])
def test_the_best_token_is_always_inside(top_p: float, choose: bool) -> None:
    logits = torch.zeros(1, 3000)
    logits[:, 1234] = 1e-3
    uniform = torch.tensor([0.999], dtype=torch.float64)
    law = Softmax(logits, logits.amax(1), 1.0, Scratch())
    with way(choose):
        tokens = Nucleus(law, top_p, choose=choose).draw(uniform)
    assert tokens.tolist() == [1234]


@pytest.mark.parametrize("choose", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("vocab", [3, 513, 2048, 5000])
def test_predictions_that_are_not_numbers_give_some_token(vocab: int, dtype: torch.dtype, choose: bool) -> None:
    """The caller finds such a prediction afterwards; until then no index may leave the vocabulary."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, vocab, generator=generator).to(dtype)
    logits[0] = torch.nan
    logits[1, 1], logits[2, -1] = torch.nan, torch.nan
    logits[3], logits[4, 2], logits[5, ::2] = -torch.inf, torch.inf, -torch.nan
    uniform = torch.full((7,), 1 - 2.0**-53, dtype=torch.float64)
    for temperature in (0.5, 1.0):
        for best in (logits.amax(1), torch.ones_like(logits[:, 0])):
            law = Softmax(logits, best, temperature, SCRATCH)
            drawn = [law.draw(uniform)]
            nucleus = Nucleus(law, 0.9, choose=choose)
            drawn.append(nucleus.draw(uniform))
            for tokens in drawn:
                assert int(tokens.min()) >= 0 and int(tokens.max()) < vocab
                for order in RANKING:
                    assert nucleus.score(order, tokens).shape == (7,)
                    assert law.score(order, tokens).shape == (7,)


def test_a_token_outside_has_no_confidence() -> None:
    logits = torch.arange(2048.0)[None].repeat(2, 1) * torch.tensor([[1.0], [1e-3]])
    law = Softmax(logits, logits.amax(1), 1.0, SCRATCH)
    assert Nucleus(law, 0.5).score("confidence", torch.zeros(2, dtype=torch.int64)).tolist() == [-torch.inf] * 2
