"""Drawing with few passes over a large vocabulary against the definition, which makes the whole distribution."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.sampling import drawing as drawing_module
from mdm_tune.sampling.drawing import ORDERS, Drawing, Drawn, Scratch, _draw_plainly, draw
from mdm_tune.sampling.large_vocabulary import BLOCK, COLDEST, NEAR, Softmax, first_best

SCRATCH = Scratch()
TEMPERATURES = (0.0, 0.1, 0.7, 1.0, 2.0)
LOGITS = ((0.01, torch.float32), (3.0, torch.bfloat16), (30.0, torch.float64), (2000.0, torch.float32))  # size, type


def both(drawing: Drawing, logits: Tensor, uniform: Tensor) -> tuple[Drawn, Drawn]:
    """What is drawn in few passes, and by the definition; the target is the last token but two."""
    target = torch.full((len(logits),), logits.shape[1] - 3)
    return (
        draw(drawing, logits, logits.amax(1), uniform, target=target, scratch=SCRATCH),
        _draw_plainly(drawing, logits.double().log_softmax(1), uniform, target),
    )


def same(few: Drawn, plain: Drawn) -> None:
    assert torch.equal(few.tokens, plain.tokens)
    assert (few.scores is None) == (plain.scores is None)
    if few.scores is not None and plain.scores is not None:
        torch.testing.assert_close(few.scores, plain.scores, rtol=0, atol=1e-10)
    assert few.log_prob is not None and plain.log_prob is not None
    torch.testing.assert_close(few.log_prob, plain.log_prob, rtol=1e-13, atol=1e-10)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("vocab", [2048, 3000])
def test_tokens_and_scores_are_those_of_the_definition(order: str, vocab: int) -> None:
    """At all temperatures and nuclei, for flat, usual and extreme logits of three types, some of them -inf."""
    generator = torch.Generator().manual_seed(vocab)
    for scale, dtype in LOGITS:
        logits = (torch.randn(8, vocab, generator=generator) * scale).to(dtype)
        logits[:, ::7] = -torch.inf
        uniform = torch.rand(8, generator=generator, dtype=torch.float64)
        for temperature, top_p, tempered in product(TEMPERATURES, (1.0, 0.9, 0.2), (False, True)):
            if not (tempered and order == "random"):
                drawing = Drawing(order, temperature, top_p=top_p, tempered_scores=tempered)  # type: ignore[arg-type]
                same(*both(drawing, logits, uniform))


@pytest.mark.parametrize("best", [-NEAR, -3.0, 0.0, 3.0, NEAR])
def test_weights_and_entropies_are_exact_at_every_size_of_logits(best: float) -> None:
    """Against numbers of 64 bits of precision, down to the smallest normal float64."""
    below = torch.linspace(0, 640, 4096, dtype=torch.float64)
    law = Softmax((best - below)[None], torch.tensor([best]), 1.0, Scratch())
    exact = np.exp((best - below).numpy().astype(np.longdouble))
    error = np.abs(law.weights[0].numpy() / exact - 1)
    assert float((error / np.maximum(1, np.abs(best - below.numpy()))).max()) < 2.0**-51
    p = exact / exact.sum()
    assert float(law.score("entropy", torch.tensor([0]))) == pytest.approx(float((p * np.log(p)).sum()), abs=2e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_float32_weights_change_no_score_by_more_than_a_millionth_of_it(dtype: torch.dtype) -> None:
    """For flat and for sharp predictions, also where a token is nearly certain; and tokens drawn within that of u."""
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(16, generator=generator, dtype=torch.float64)
    for scale, above, temperature in product((0.01, 1.0, 10.0, 1000.0), (0.0, 15.0, 25.0), (COLDEST, 0.7, 1.0, 50.0)):
        logits = torch.randn(16, 3000, generator=generator) * scale
        logits[:, 100] = logits.amax(1) + above
        logits = logits.to(dtype)
        law = Softmax(logits, logits.amax(1), temperature, SCRATCH, single=True)
        log_p = ((logits.double() - logits.double().amax(1, keepdim=True)) / temperature).log_softmax(1)
        for tokens in (logits.argmax(1), torch.arange(16) * 150):
            exact = log_p.gather(1, tokens[:, None]).squeeze(1)
            error = (law.score("confidence", tokens) - exact).abs()
            assert bool((error <= 1e-6 * exact.abs() + 1e-12).all())
        drawn = law.draw(uniform)[:, None]
        upper = log_p.exp().cumsum(1).gather(1, drawn).squeeze(1)
        lower = upper - log_p.exp().gather(1, drawn).squeeze(1)
        assert bool(((lower - 1e-6 < uniform) & (uniform < upper + 1e-6)).all())


def test_float32_weights_are_used_where_only_tokens_and_their_probabilities_are_asked(monkeypatch: Any) -> None:
    kinds = []

    class Watched(Softmax):
        def __init__(self, *arguments: Any, single: bool) -> None:
            kinds.append(single)
            super().__init__(*arguments, single=single)

    monkeypatch.setattr(drawing_module, "Softmax", Watched)
    logits, uniform, target = torch.randn(2, 2048), torch.rand(2).double(), torch.zeros(2, dtype=torch.int64)

    def kind(drawing: Drawing, logits: Tensor = logits, target: Tensor | None = None) -> set[bool]:
        kinds.clear()
        draw(drawing, logits, logits.amax(1), None if drawing.temperature == 0 else uniform, target=target)
        return set(kinds)

    for order, temperature in product(("confidence", "top-probability", "margin"), (0.0, 0.5, 1.0)):
        assert kind(Drawing(order, temperature)) == {True}  # type: ignore[arg-type]
    assert kind(Drawing("random")) == kind(Drawing("confidence"), logits.bfloat16()) == {True}
    assert kind(Drawing("confidence"), logits.double()) == kind(Drawing("confidence", 0.0), target=target) == {False}
    assert kind(Drawing("entropy")) == kind(Drawing("confidence", top_p=0.9)) == {False}
    assert kind(Drawing("confidence", tempered_scores=True)) == kind(Drawing("confidence", 1e-4)) == {False}


def test_equal_predictions_have_equal_scores_wherever_they_lie() -> None:
    """Rows of a piece and of pieces of other sizes; a vocabulary whose rows begin at odd places of the memory."""
    row = torch.randn(2051, generator=torch.Generator().manual_seed(5)) * 3
    scores = [
        score
        for n in (1, 2, 3, 7, 16)
        for score in draw(Drawing("confidence", 0.0), row.repeat(n, 1), row.max().repeat(n), None).scores.tolist()  # type: ignore[union-attr]
    ]
    assert len(set(scores)) == 1


def test_ties_go_to_the_lower_token() -> None:
    """Of the best ones, within a block and between blocks, and of the equal ones at the edge of a nucleus."""
    logits = torch.zeros(3, 4 * BLOCK + 5)
    logits[1, BLOCK + 3] = logits[1, 3 * BLOCK] = 1.0
    logits[2, 4 * BLOCK + 2 :] = 1.0
    assert first_best(logits, logits.amax(1)).tolist() == [0, BLOCK + 3, 4 * BLOCK + 2]
    uniform = torch.linspace(0.01, 0.99, 200, dtype=torch.float64)
    flat = torch.zeros(1, 2048).expand(200, -1)
    for top_p, members in ((0.5, 1024), (0.01, 21)):
        few, plain = both(Drawing("confidence", 1.0, top_p=top_p, tempered_scores=True), flat, uniform)
        same(few, plain)
        assert int(few.tokens.max()) < members
        assert few.scores is not None and few.scores.exp().mean() == pytest.approx(1 / members)


def test_a_token_of_weight_zero_is_never_drawn() -> None:
    """At both ends of the noise's open interval; whole blocks, and the ends of blocks, have no weight."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(400, 5 * BLOCK, generator=generator) * 20
    logits[:, : BLOCK + 9] = logits[:, 3 * BLOCK - 7 : 4 * BLOCK + 1] = logits[:, -3:] = -torch.inf
    uniform = torch.tensor([2.0**-53, 1 - 2.0**-53], dtype=torch.float64).repeat(200)
    for temperature, top_p in product((0.01, 1.0, 50.0), (1.0, 0.99)):
        drawn = draw(Drawing(temperature=temperature, top_p=top_p), logits, logits.amax(1), uniform)
        assert bool(logits.gather(1, drawn.tokens[:, None]).isfinite().all())


def test_the_logits_stay_as_they_are() -> None:
    logits = torch.randn(4, 2048, dtype=torch.float64)
    before = logits.clone()
    for temperature, top_p in product((0.0, 0.5, 1.0), (1.0, 0.9)):
        draw(Drawing("entropy", temperature, top_p=top_p), logits, logits.amax(1), torch.rand(4).double())
    assert torch.equal(logits, before)
