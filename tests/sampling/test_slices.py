"""Drawing from slices of the vocabulary against the definition, which makes the whole distribution.

Weights and states are small multiples of 1/8, so that float32 computes every logit without an error, in any order.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import RunError
from mdm_tune.denoisers.base import LinearHead
from mdm_tune.sampling import slices
from mdm_tune.sampling.drawing import LARGE, ORDERS, Drawing, Drawn, _draw_plainly
from mdm_tune.sampling.large_vocabulary import BLOCK, COLDEST, Scratch
from mdm_tune.sampling.plans import ThresholdPlan
from mdm_tune.sampling.slices import draw_in_slices, takes_slices
from mdm_tune.sampling.unmasking import Unmasked, unmask
from tests.support.helpers import same_plan, seeds

SCRATCH = Scratch()
WIDTH = 8
TEMPERATURES = (0.0, 0.1, 0.7, 1.0, 2.0)


def eighths(*shape: int, seed: int, size: int = 8) -> Tensor:
    """Multiples of 1/8 from -size/8 to size/8."""
    return torch.randint(-size, size + 1, shape, generator=torch.Generator().manual_seed(seed)).float() / 8


def some_head(vocab: int, dtype: torch.dtype = torch.float32, size: int = 8) -> LinearHead:
    """A head with a bias, whose forbidden tokens fill a block, the end of another one, and the last places."""
    forbidden = torch.cat([torch.arange(BLOCK, 2 * BLOCK + 30), torch.arange(vocab - 3, vocab), torch.tensor([5])])
    weight, bias = eighths(vocab, WIDTH, seed=vocab, size=size), eighths(vocab, seed=vocab + 1)
    return LinearHead(weight.to(dtype), bias.to(dtype), forbidden.unique())


def logits_of(head: LinearHead, states: Tensor) -> Tensor:
    """All logits (n, vocab) by the definition, in float64."""
    logits = states.double() @ head.weight.double().T
    logits = logits if head.bias is None else logits + head.bias.double()
    return logits if head.forbidden is None else logits.index_fill(1, head.forbidden, -torch.inf)


def both(drawing: Drawing, head: LinearHead, states: Tensor, uniform: Tensor) -> tuple[Drawn, Drawn]:
    """What is drawn from slices, and by the definition."""
    noise = None if drawing.temperature == 0 else uniform
    logits = logits_of(head, states)
    best, found = draw_in_slices(drawing, head, states, noise, scratch=SCRATCH)
    assert torch.equal(best.double(), logits.amax(1))
    return found, _draw_plainly(drawing, logits.log_softmax(1), noise, None)


def same(found: Drawn, expected: Drawn) -> None:
    """Equal tokens, and scores whose difference is that of exponentials in float32."""
    assert torch.equal(found.tokens, expected.tokens)
    assert (found.scores is None) == (expected.scores is None)
    if found.scores is not None and expected.scores is not None:
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-6, atol=2e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("vocab", [LARGE, 3001, 5 * BLOCK + 1])
def test_tokens_and_scores_are_those_of_the_definition(order: str, vocab: int) -> None:
    """At all temperatures, for one and several slices, flat and sharp predictions."""
    uniform = torch.rand(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for size, temperature in product((1, 8, 200), TEMPERATURES):
        drawing, head = Drawing(order, temperature), some_head(vocab, size=size)  # type: ignore[arg-type]
        assert takes_slices(drawing, head)
        same(*both(drawing, head, eighths(9, WIDTH, seed=2, size=24), uniform))


@pytest.mark.parametrize("slice_size", [1, 1 << 12, 1 << 22])
def test_a_result_does_not_depend_on_the_slices(slice_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit, so that no size of a call shows in a result."""
    head, states = some_head(6000), eighths(7, WIDTH, seed=3, size=24)
    uniform = torch.rand(7, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for order, temperature in product(ORDERS, (0.0, 0.7, 1.0)):
        drawing = Drawing(order, temperature)
        noise = None if temperature == 0 else uniform
        with monkeypatch.context() as patch:
            expected = draw_in_slices(drawing, head, states, noise)[1]
            patch.setattr(slices, "SLICE", slice_size)
            patch.setattr(slices, "WIDTH", 1)
            found = draw_in_slices(drawing, head, states, noise)[1]
        assert torch.equal(found.tokens, expected.tokens)
        assert found.scores is None or (expected.scores is not None and torch.equal(found.scores, expected.scores))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_heads_of_half_precision(dtype: torch.dtype) -> None:
    """Logits are rounded to the type, as those of the head; here they have few enough digits."""
    head, states = some_head(3001, dtype, size=4), eighths(5, WIDTH, seed=5, size=1).to(dtype)
    uniform = torch.rand(5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    rounded = torch.nn.functional.linear(states, head.weight, head.bias).double()
    assert torch.equal(
        logits_of(head, states).index_fill(1, head.forbidden, 0.0), rounded.index_fill(1, head.forbidden, 0.0)
    )  # type: ignore[arg-type]
    for order, temperature in product(ORDERS, TEMPERATURES):
        same(*both(Drawing(order, temperature), head, states, uniform))


def test_what_a_nearly_certain_token_leaves_to_others_keeps_its_digits() -> None:
    """A score is -log p of 1e-5 to 1e-9, drawn or not, and no probability is above 1."""
    head = LinearHead(torch.cat([eighths(3000, 1, seed=7), torch.tensor([[20.0]]), eighths(50, 1, seed=8)]))
    uniform = torch.full((3,), 0.5, dtype=torch.float64)
    for drawing in (Drawing("confidence", 0.0), Drawing("confidence", 1.0), Drawing("confidence", 0.5)):
        found, expected = both(drawing, head, torch.tensor([[1.0], [1.25], [1.5]]), uniform)
        same(found, expected)
        assert found.scores is not None and bool((found.scores < 0).all())
        assert found.tokens.tolist() == [3000] * 3


def test_identical_predictions_are_computed_once_and_drawn_from_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "ENTRIES", 7)  # so that they are drawn in several turns
    head, states = some_head(3001), eighths(4, WIDTH, seed=9, size=24)
    picked = torch.randint(4, (100,), generator=torch.Generator().manual_seed(10)).sort().values
    uniform = torch.rand(100, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    for order, temperature in product(ORDERS, TEMPERATURES):
        drawing, noise = Drawing(order, temperature), None if temperature == 0 else uniform
        expected = _draw_plainly(drawing, logits_of(head, states[picked]).log_softmax(1), noise, None)
        best, found = draw_in_slices(drawing, head, states, noise, picked=picked)
        same(found, expected)
        assert torch.equal(best.double(), logits_of(head, states[picked]).amax(1))


@pytest.mark.parametrize("slice_size", [1, 1 << 20])
def test_ties_go_to_the_lower_token(slice_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a block, between blocks, and between slices of one block."""
    monkeypatch.setattr(slices, "SLICE", slice_size)
    monkeypatch.setattr(slices, "WIDTH", 1)
    weight = torch.zeros(9 * BLOCK + 5, 1)
    for number, places in enumerate([(3,), (3, 4), (700, 1500), (100, 8 * BLOCK), (9 * BLOCK + 4,)]):
        weight[list(places)] = 1.0
        head = LinearHead(weight.clone())
        for order in ("random", "confidence", "margin"):
            _, drawn = draw_in_slices(Drawing(order, 0.0), head, torch.ones(2, 1), None)  # type: ignore[arg-type]
            assert drawn.tokens.tolist() == [places[0]] * 2, number
            if order == "margin" and len(places) > 1:
                assert drawn.scores is not None and drawn.scores.tolist() == [0.0, 0.0]
        weight.zero_()


def test_a_token_of_weight_zero_is_never_drawn() -> None:
    """At both ends of the noise's open interval, beside forbidden blocks and tokens that are too improbable."""
    head = some_head(5 * BLOCK, size=200)
    states = eighths(200, WIDTH, seed=12, size=200)
    logits = logits_of(head, states)
    for value, temperature in product((2.0**-53, 1 - 2.0**-53), (0.01, 1.0, 50.0)):
        _, drawn = draw_in_slices(Drawing(temperature=temperature), head, states, torch.full((200,), value).double())
        assert bool(logits.gather(1, drawn.tokens[:, None]).isfinite().all())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_bad_logits_are_seen_in_the_largest_one(bad: float, temperature: float) -> None:
    """And what is drawn is a token, so that the error that follows is the one that names the row."""
    weight = eighths(3001, 1, seed=13)
    weight[[7, 2900], 0] = bad
    uniform = None if temperature == 0 else torch.tensor([0.3, 0.999], dtype=torch.float64)
    for order in ORDERS:
        best, drawn = draw_in_slices(Drawing(order, temperature), LinearHead(weight), torch.ones(2, 1), uniform)
        assert not bool(best.isfinite().any())
        assert bool(((drawn.tokens >= 0) & (drawn.tokens < 3001)).all())


def test_which_settings_need_a_row_of_logits() -> None:
    head = LinearHead(torch.zeros(LARGE, 2))
    for drawing in (
        Drawing(),
        Drawing("margin", 0.3),
        Drawing("entropy", 0.0, tempered_scores=True),
        Drawing("confidence", 1.0, tempered_scores=True),
        Drawing("confidence", 0.0, top_p=0.5),
        Drawing("confidence", COLDEST),
        Drawing("confidence", 1.0, end_tokens=(3,), stop_at_end=True),
        Drawing("confidence", 1.0, confidence_temperature=0.5),
    ):
        assert takes_slices(drawing, head)
    for drawing in (
        Drawing("confidence", 1.0, top_p=0.9),
        Drawing("entropy", 0.0, top_p=0.9, tempered_scores=True),
        Drawing("entropy", 0.1, tempered_scores=True),
        Drawing("confidence", COLDEST / 2),
        Drawing("confidence", 1.0, end_tokens=(3,), end_drawn=False),
        Drawing("confidence", 1.0, end_tokens=(3,), end_confident=False),
    ):
        assert not takes_slices(drawing, head)
    assert not takes_slices(Drawing(), None)
    assert not takes_slices(Drawing(), LinearHead(torch.zeros(LARGE - 1, 2)))
    assert not takes_slices(Drawing(), LinearHead(torch.zeros(LARGE, 2, dtype=torch.float64)))


class Words:
    """A denoiser in parts: a state is made of the tokens beside a position. ``linear``: whether it states its head."""

    def __init__(self, vocab: int, *, linear: bool, bad_after: int | None = None) -> None:
        self.vocab_size = self.mask_id = vocab
        self.parts, self.bad_after = self, bad_after
        self.table, self.weight = eighths(vocab + 1, WIDTH, seed=14, size=16), eighths(vocab, WIDTH, seed=15)
        self.linear = LinearHead(self.weight) if linear else None
        self.heads, self.positions = 0, 0

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        self.positions += len(row)
        visible = (tokens < self.mask_id).sum(1)
        states = self.table[tokens][row, column - 1] + self.table[tokens][row, 0]
        if self.bad_after is not None:
            states[visible[row] > self.bad_after] = math.nan
        return states

    def head(self, states: Tensor) -> Tensor:
        self.heads += 1
        return states @ self.weight.T

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        raise AssertionError("it has parts")


def rows(mask: int, *, alike: bool) -> Tensor:
    """Six rows of 12 positions to fill, the first two alike, or all of them."""
    tokens = torch.full((6, 14), mask)
    tokens[:, 0] = 3
    tokens[:, 1] = 4 if alike else torch.tensor([4, 4, 5, 6, 7, 8])
    return tokens


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_rows_are_filled_alike_with_and_without_slices(order: Any, temperature: float, alike: bool) -> None:
    """With the same cost, at any batch; and the head is called without slices only."""
    found: list[Unmasked] = []
    for linear, batch in ((False, 128), (True, 128), (True, 1), (True, 4)):
        denoiser = Words(2500, linear=linear)
        tokens, drawing = rows(2500, alike=alike), Drawing(order, temperature)
        found.append(unmask(denoiser, tokens, same_plan([3, 4, 5], 6), seeds=seeds(6), drawing=drawing, batch=batch))
        assert (denoiser.heads == 0) == linear
    for one in found[1:]:
        assert torch.equal(one.tokens, found[0].tokens)
        assert (one.denoiser_rows, one.denoiser_tokens) == (found[0].denoiser_rows, found[0].denoiser_tokens)


def test_rows_of_an_adaptive_policy_and_with_a_reference() -> None:
    """A threshold reads scores of slices; the likelihood of a reference needs rows of logits."""
    nfe = []
    for linear in (False, True):
        denoiser, tokens = Words(2500, linear=linear), rows(2500, alike=False)
        policy = ThresholdPlan(torch.full((6,), 0.3, dtype=torch.float64))
        nfe.append(unmask(denoiser, tokens, policy, seeds=seeds(6), drawing=Drawing("confidence", 0.0)).nfe)
        before = denoiser.heads
        unmask(denoiser, tokens, same_plan([12], 6), seeds=seeds(6), reference=tokens % 2500)
        assert denoiser.heads > before
    assert torch.equal(*nfe) and int(nfe[0].max()) > 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_failure_names_its_row_and_step(temperature: float) -> None:
    denoiser = Words(2500, linear=True, bad_after=4)
    with pytest.raises(RunError, match="NaN for row 0 at step 2;"):
        unmask(
            denoiser,
            rows(2500, alike=False),
            same_plan([4, 4, 4], 6),
            seeds=seeds(6),
            drawing=Drawing("confidence", temperature),
        )


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (
            lambda states: states[:-1],
            r"must return one hidden state per wanted position, 60 of them, got \(59, 8\) on rows",
        ),
        (lambda states: torch.cat([states, states]), r"60 of them, got \(120, 8\)"),
        (lambda states: None, "60 of them, got NoneType"),
        (
            lambda states: states[:, :3],
            r"must return states \(60, 8\) torch.float32 on the CPU, .* got \(60, 3\) torch.float32",
        ),
        (lambda states: states[:, None], r"got \(60, 1, 8\) torch.float32"),
        (lambda states: states.bfloat16(), r"got \(60, 8\) torch.bfloat16 on cpu on rows 0 to 5 at step 1; correct"),
    ],
)
def test_states_that_do_not_fit_the_head_are_refused(states: Any, said: str) -> None:
    denoiser = Words(2500, linear=True)
    given = denoiser.states
    denoiser.states = lambda *arguments: states(given(*arguments))  # type: ignore[method-assign]
    with pytest.raises(RunError, match=said):
        unmask(denoiser, rows(2500, alike=False), same_plan([12], 6), seeds=seeds(6, first=1))


def test_a_head_of_another_vocabulary_is_refused() -> None:
    """It could draw the mask; a layer that happens to have the name is no head."""
    denoiser = Words(2500, linear=True)
    denoiser.linear = LinearHead(torch.zeros(2501, WIDTH))
    with pytest.raises(RunError, match="must have one row of weights per token, 2500 of them, got 2501; correct the"):
        unmask(denoiser, rows(2500, alike=False), same_plan([12], 6), seeds=seeds(6))
    denoiser.linear = torch.nn.Linear(WIDTH, 2500)  # type: ignore[assignment]
    unmask(denoiser, rows(2500, alike=False), same_plan([12], 6), seeds=seeds(6))
    assert denoiser.heads > 0
