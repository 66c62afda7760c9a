"""End tokens that are never drawn, never confident, or end a row: exact laws, what is saved, and what is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import EntropyBoundPlan, QuotaPlan, ThresholdPlan
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan, Step, unmask
from tests.sampling.test_unmasking import small_transformer
from tests.support.enumeration import total_variation
from tests.support.helpers import FunctionDenoiser, TableDenoiser, fit, plan, random_law, same_plan, seeds, tally
from tests.support.unmasking import Choice, Confidence, Rule, Unmasking, by_counts, by_threshold

LEVEL = 1e-4  # of each fit: a sound sampler fails one of the about 20 below with probability 2e-3
CLEAR = 0.06
SAMPLES = 20_000
LAW = random_law(4, 3, seed=37)
M = 3
FREE = (None,) * 4
END = (2,)
ENDS = (1, 2)
Options = dict[str, Any]


def by_lot(counts: Sequence[Sequence[int]]) -> Rule:
    """All sets of as many candidates are equally likely."""

    def rule(block: int, step: int, sure: Confidence) -> Choice:
        subsets = list(itertools.combinations(sure, min(counts[block][step], len(sure))))
        yield from ((subset, 1 / len(subsets)) for subset in subsets)

    return rule


# What the two switches may be set to, and which of it the law must be able to tell apart.
CASES: dict[str, tuple[str, float, Options, list[Options]]] = {
    "never drawn": ("confidence", 1.0, {"end_drawn": False}, [{}, {"end_confident": False}]),
    "never drawn, cool": ("margin", 0.5, {"end_drawn": False}, [{}]),
    "never drawn, by lot": ("random", 1.0, {"end_drawn": False}, [{}]),
    "never confident": ("confidence", 1.0, {"end_confident": False}, [{}, {"end_drawn": False}]),
    "never confident, hot": ("confidence", 2.0, {"end_confident": False}, [{}, {"end_drawn": False}]),
    "never confident, margin": ("margin", 1.0, {"end_confident": False}, [{}, {"end_drawn": False}]),
    "never confident, entropy": ("entropy", 1.0, {"end_confident": False}, [{}]),
    "never confident, top": ("top-probability", 1.0, {"end_confident": False}, [{}]),
    "neither": ("confidence", 1.0, {"end_drawn": False, "end_confident": False}, [{}, {"end_confident": False}]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_law_of_the_switches(name: str) -> None:
    order, temperature, options, others = CASES[name]
    counts = [1, 2, 1]
    rule = by_lot([counts]) if order == "random" else by_counts([counts])
    drawing = Drawing(order, temperature, end_tokens=END, **options)  # type: ignore[arg-type]
    start = torch.full((SAMPLES, 4), M)
    a_plan = same_plan(counts, SAMPLES)
    result = unmask(TableDenoiser(LAW), start, a_plan, seeds=seeds(SAMPLES), drawing=drawing, batch=1000)
    found = tally(torch.cat([result.tokens, result.nfe[:, None]], dim=1))
    asked = {"order": "confidence" if order == "random" else order, "temperature": temperature, "ends": END}
    law = Unmasking(LAW, **asked, **options).law(rule, FREE)
    assert math.isclose(math.fsum(law.values()), 1.0, abs_tol=1e-12)
    assert fit(found, law) > LEVEL
    if not options.get("end_drawn", True):
        assert not any(2 in outcome[:4] for outcome in found)
    for other in others:
        wrong = Unmasking(LAW, **asked, **other).law(rule, FREE)
        assert total_variation(law, wrong) > CLEAR
        assert fit(found, wrong) < LEVEL


def test_scores_are_read_without_the_end_tokens() -> None:
    """As LLaDA does at temperature 0: 0.5 of the 0.6 that is left is more than 0.55, and an end token comes last."""
    p = torch.tensor([[0.55, 0.45, 0.0], [0.5, 0.1, 0.4], [0.1, 0.0, 0.9]], dtype=torch.float64)
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: p.log().expand(len(tokens), 3, 3)[wanted])
    for options, expected in (
        ({}, [2, 0, 1]),
        ({"end_confident": False}, [1, 0, 2]),
        ({"end_drawn": False}, [2, 1, 0]),
    ):
        steps: list[Step] = []
        unmask(
            denoiser,
            torch.full((1, 3), M),
            same_plan([1, 1, 1], 1),
            seeds=seeds(1),
            drawing=Drawing("confidence", 0.0, end_tokens=END, **options),  # type: ignore[arg-type]
            on_step=steps.append,
        )
        assert [int(step.revealed[0].int().argmax()) for step in steps] == expected


@pytest.mark.parametrize("order", ["confidence", "margin", "entropy", "top-probability"])
def test_end_tokens_that_are_certain_still_come_last_and_by_position(order: Any) -> None:
    """Nothing but the end token is possible at the odd positions; it keeps no step from its count."""
    logits = torch.zeros(6, 3)
    logits[1::2, :2] = -math.inf
    logits[::2, 2] = -math.inf
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: logits.expand(len(tokens), 6, 3)[wanted])
    steps: list[Step] = []
    drawing = Drawing(order, end_tokens=END, end_confident=False)
    start = torch.full((2, 6), M)
    unmask(denoiser, start, same_plan([2, 2, 2], 2), seeds=seeds(2), drawing=drawing, on_step=steps.append)
    assert [step.revealed[1].nonzero().flatten().tolist() for step in steps] == [[0, 2], [1, 4], [3, 5]]


@pytest.mark.parametrize("bound", [0.0, 10.0])
def test_end_tokens_are_never_certain_enough_for_an_adaptive_policy(bound: float) -> None:
    logits = torch.zeros(4, 3)
    logits[2:, :2] = -math.inf
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: logits.expand(len(tokens), 4, 3)[wanted])
    steps: list[Step] = []
    drawing = Drawing("entropy", 0.0, end_tokens=END, end_confident=False)
    a_plan = EntropyBoundPlan(torch.tensor([bound], dtype=torch.float64))
    unmask(denoiser, torch.full((1, 4), M), a_plan, seeds=seeds(1), drawing=drawing, on_step=steps.append)
    found = [step.revealed[0].nonzero().flatten().tolist() for step in steps]
    assert found == ([[0], [1], [2], [3]] if bound == 0 else [[0, 1], [2], [3]])


STOPS: dict[str, tuple[str, list[list[int]], list[int] | None, Options]] = {
    "confidence": ("confidence", [[1, 1, 1, 1]], None, {}),
    "not confident": ("confidence", [[1, 1, 1, 1]], None, {"end_confident": False}),
    "entropy": ("entropy", [[1, 2, 1]], None, {}),
    "random": ("random", [[1, 1, 2]], None, {}),
    "blocks": ("confidence", [[1, 1], [1, 1]], [0, 0, 1, 1], {}),
}


@pytest.mark.parametrize("name", STOPS)
def test_the_law_of_rows_that_stop(name: str) -> None:
    order, counts, blocks, options = STOPS[name]
    drawing = Drawing(order, end_tokens=ENDS, stop_at_end=True, **options)  # type: ignore[arg-type]
    place = None if blocks is None else torch.tensor(blocks).expand(SAMPLES, -1)
    start, a_plan = torch.full((SAMPLES, 4), M), plan(*[counts] * SAMPLES)
    result = unmask(TableDenoiser(LAW), start, a_plan, seeds=seeds(SAMPLES), drawing=drawing, blocks=place, batch=1000)
    found = tally(torch.cat([result.tokens, result.nfe[:, None]], dim=1))
    rule = by_lot(counts) if order == "random" else by_counts(counts)
    asked = {"order": "confidence" if order == "random" else order, "ends": ENDS, **options}
    assert fit(found, Unmasking(LAW, **asked, stop_at_end=True).law(rule, FREE, blocks)) > LEVEL
    assert fit(found, Unmasking(LAW, **asked).law(rule, FREE, blocks)) < LEVEL


def test_an_adaptive_row_stops_too() -> None:
    drawing = Drawing("confidence", end_tokens=ENDS, stop_at_end=True)
    start, a_plan = torch.full((SAMPLES, 4), M), ThresholdPlan(torch.full((SAMPLES,), 0.6, dtype=torch.float64))
    result = unmask(TableDenoiser(LAW), start, a_plan, seeds=seeds(SAMPLES), drawing=drawing, batch=1000)
    found = tally(torch.cat([result.tokens, result.nfe[:, None]], dim=1))
    law = Unmasking(LAW, "confidence", ends=ENDS, stop_at_end=True).law(by_threshold(0.6), FREE)
    assert fit(found, law) > LEVEL


ROWS, LENGTH, GENERATED = 60, 12, 9
PLANS: dict[str, tuple[str, Callable[[], Plan], bool]] = {
    "confidence": ("confidence", lambda: same_plan([2, 2, 2, 3], ROWS), False),
    "random": ("random", lambda: same_plan([1] * 9, ROWS), False),
    "ancestral": ("random", lambda: RevealPlan(torch.linspace(0, 1, 7, dtype=torch.float64).expand(ROWS, -1)), False),
    "blocks": ("margin", lambda: plan(*[[[1, 2], [3], [1, 1, 1]]] * ROWS), True),
    "quota in blocks": (
        "confidence",
        lambda: QuotaPlan(plan(*[[[1, 2], [1, 2], [1, 1, 1]]] * ROWS).counts, torch.full((ROWS,), 0.5)),
        True,
    ),
}


def cut(row: Sequence[int]) -> list[int]:
    """The tokens up to the first end token, and that."""
    first = next((at for at, token in enumerate(row) if token in ENDS), len(row))
    return list(row[: first + 1])


@pytest.mark.parametrize("name", PLANS)
def test_stopping_saves_calls_and_changes_no_text(name: str) -> None:
    order, made, blocked = PLANS[name]
    model = small_transformer()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 7, (ROWS, LENGTH)))  # an end in the prompt is none
    tokens[:, LENGTH - GENERATED :] = model.mask_id
    tokens[::3, 0] = -1
    blocks = ((torch.arange(LENGTH) - LENGTH + GENERATED) // 3).expand(ROWS, -1) if blocked else None
    steps: list[Step] = []
    drawing = Drawing(order, end_tokens=ENDS)  # type: ignore[arg-type]
    plain = unmask(model, tokens, made(), seeds=seeds(ROWS), drawing=drawing, blocks=blocks)
    drawing = Drawing(order, end_tokens=ENDS, stop_at_end=True)  # type: ignore[arg-type]
    found = unmask(model, tokens, made(), seeds=seeds(ROWS), drawing=drawing, blocks=blocks, on_step=steps.append)
    prompt = slice(0, LENGTH - GENERATED)
    assert torch.equal(found.tokens[:, prompt], tokens[:, prompt])
    texts = [result.tokens[:, LENGTH - GENERATED :].tolist() for result in (plain, found)]
    assert [cut(row) for row in texts[0]] == [cut(row) for row in texts[1]]
    assert bool((found.nfe <= plain.nfe).all()) and int(found.nfe.sum()) < int(plain.nfe.sum())
    assert found.denoiser_rows < plain.denoiser_rows and found.denoiser_tokens < plain.denoiser_tokens
    before = tokens
    for step in steps:
        assert torch.equal(step.revealed, before != step.tokens)
        for row in step.tokens[:, LENGTH - GENERATED :].tolist():
            decoded = row[: row.index(model.mask_id)] if model.mask_id in row else []
            assert not set(decoded) & set(ENDS)  # where the decoded part holds an end token, nothing is left to do
        before = step.tokens
    assert torch.equal(before, found.tokens)


def test_a_stopped_row_is_filled_with_the_token_that_ended_it() -> None:
    """Left to right: token 0, then 2 ends the first row and 1 the second, and the third has no end."""
    answers = {0: [0, 2, 0, 0], 1: [0, 1, 0, 0], 2: [0, 0, 0, 0]}

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        told = torch.tensor([[-1, *answers[int(row[0])]] for row in tokens])
        return torch.nn.functional.one_hot(told.clamp(min=0), 3).double().log()[wanted]

    tokens = torch.tensor([[first, M, M, M, M] for first in answers])
    blocks = torch.arange(-1, 4).expand(3, -1)
    drawing = Drawing("confidence", 0.0, end_tokens=ENDS, stop_at_end=True)
    result = unmask(
        FunctionDenoiser(3, logits),
        tokens,
        plan(*[[[1]] * 4] * 3),
        seeds=seeds(3),
        drawing=drawing,
        blocks=blocks,
    )
    assert result.tokens.tolist() == [[0, 0, 2, 2, 2], [1, 0, 1, 1, 1], [2, 0, 0, 0, 0]]
    assert (result.nfe.tolist(), result.denoiser_rows) == ([2, 2, 4], 8)


def test_an_end_token_behind_a_hidden_position_does_not_stop() -> None:
    """Position 1 is surest and an end; nothing stops until position 0 before it is known."""
    p = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.1, 0.9], [0.5, 0.5, 0.0], [0.7, 0.3, 0.0]], dtype=torch.float64)
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: p.log().expand(len(tokens), 4, 3)[wanted])
    drawing = Drawing("confidence", 0.0, end_tokens=END, stop_at_end=True)
    result = unmask(denoiser, torch.full((1, 4), M), same_plan([1] * 4, 1), seeds=seeds(1), drawing=drawing)
    assert result.tokens.tolist() == [[0, 2, 2, 0]]  # positions 1, 3 and 0, and then it stops
    assert result.nfe.tolist() == [3]


@pytest.mark.parametrize("blocks", [None, torch.tensor([[0, 1]])])
def test_a_step_shows_no_confidence_where_a_text_has_ended(blocks: Tensor | None) -> None:
    """Position 1 is filled because the text ends before it. In one block it was predicted too, another token."""
    p = torch.tensor([[0.2, 0.1, 0.7], [0.5, 0.4, 0.1]], dtype=torch.float64)
    denoiser = FunctionDenoiser(3, lambda tokens, wanted: p.log().expand(len(tokens), 2, 3)[wanted])
    drawing, steps = Drawing("confidence", 0.0, end_tokens=END, stop_at_end=True), list[Step]()
    start, counts = torch.full((1, 2), M), plan([[1, 1]] if blocks is None else [[1], [1]])
    unmask(denoiser, start, counts, seeds=seeds(1), drawing=drawing, blocks=blocks, on_step=steps.append)
    assert steps[0].tokens.tolist() == [[2, 2]] and steps[0].revealed.tolist() == [[True, True]]
    assert steps[0].confidence is not None and steps[0].confidence.tolist() == [[0.7, 0.0]]


def test_where_nothing_but_an_end_token_is_possible() -> None:
    """The message names the row and says which tokens were left out."""

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        found = torch.zeros(*tokens.shape, 3)
        found[tokens[:, 0] == 1, 2, :2] = -math.inf
        return found[wanted]

    tokens = torch.tensor([[0, M, M], [1, M, M]])
    drawing = Drawing("margin", end_tokens=END, end_drawn=False)
    with pytest.raises(
        RunError, match="no finite logit for row 1 besides the end tokens, which are never drawn, at st"
    ):
        unmask(FunctionDenoiser(3, logits), tokens, same_plan([1, 1], 2), seeds=seeds(2), drawing=drawing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"end_drawn": False}, "end_drawn = False needs end_tokens"),
        ({"end_confident": False}, "end_confident = False needs end_tokens"),
        ({"stop_at_end": True}, "stop_at_end = True needs end_tokens"),
        ({"stop_at_end": True, "end_drawn": False, "end_tokens": END}, "waits for an end token"),
        ({"end_confident": False, "end_tokens": END, "order": "random"}, "end_confident = False needs an order"),
    ],
)
def test_switches_without_a_meaning(options: Options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Drawing(**{"order": "confidence", **options})


def refuse(message: str, drawing: Drawing, tokens: Tensor | None = None, **options: Any) -> None:
    tokens = torch.full((2, 4), M) if tokens is None else tokens
    counts = (tokens == M).sum(1)[:, None, None]
    with pytest.raises(InputError, match=message):
        unmask(TableDenoiser(LAW), tokens, CountPlan(counts), seeds=seeds(2), drawing=drawing, **options)


@pytest.mark.parametrize("token", [-1, M, M + 1])
def test_end_tokens_outside_the_vocabulary(token: int) -> None:
    refuse(r"end_tokens must be in \[0, 3\) and not the mask 3", Drawing(end_tokens=(1, token)))


def test_an_end_token_that_is_the_mask() -> None:
    """Where the mask has an id inside the vocabulary, as tokenizers give it."""
    denoiser = FunctionDenoiser(4, lambda tokens, wanted: torch.zeros(int(wanted.sum()), 4))
    denoiser.mask_id = 1
    with pytest.raises(InputError, match=r"end_tokens must be in \[0, 4\) and not the mask 1, got \(1,\)"):
        unmask(
            denoiser,
            torch.ones(1, 2, dtype=torch.int64),
            same_plan([2], 1),
            seeds=seeds(1),
            drawing=Drawing(end_tokens=(1,)),
        )


@pytest.mark.parametrize("options", [{"end_drawn": False}, {"end_confident": False}, {"stop_at_end": True}])
def test_a_reference_knows_no_end(options: Options) -> None:
    drawing = Drawing("margin", end_tokens=END, **options)
    reference = torch.zeros(2, 4, dtype=torch.int64)
    refuse("the likelihood of a reference is that of its tokens as predicted", drawing, reference=reference)


def test_stopping_needs_masked_positions_side_by_side() -> None:
    drawing = Drawing(end_tokens=END, stop_at_end=True)
    for gap in (0, -1):
        refuse("must lie side by side", drawing, torch.tensor([[1, M, M, 0], [M, gap, M, 0]]))
    fine = torch.tensor([[1, M, M, 0], [-1, -1, -1, 1]])
    unmask(TableDenoiser(LAW), fine, plan([[2]], [[0]]), seeds=seeds(2), drawing=drawing)
