"""What ``unmask`` refuses before the first call, and what it says when the denoiser fails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.sampling.drawing import Drawing, Order
from mdm_tune.sampling.plans import ThresholdPlan
from mdm_tune.sampling.unmasking import TOGETHER, CountPlan, Plan, RevealPlan, unmask
from tests.support.helpers import CountingDenoiser, FunctionDenoiser, TableDenoiser, plan, random_law, same_plan, seeds

VOCAB = 3


def failing(bad: Tensor) -> FunctionDenoiser:
    """Zero logits, but ``bad`` (vocab,) wherever the row starts with token 1 and has another visible token."""

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        found = torch.zeros(*tokens.shape, VOCAB)
        found[(tokens[:, 0] == 1) & ((tokens < VOCAB).sum(1) > 1)] = bad
        return found[wanted]

    return FunctionDenoiser(VOCAB, logits)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ([NAN, 0.0, 0.0], "NaN"),
        ([0.0, INF, NAN], "NaN"),
        ([NAN, -INF, -INF], "NaN"),
        ([0.0, INF, 0.0], r"\+inf"),
        ([INF, -INF, -INF], r"\+inf"),
        ([-INF, -INF, -INF], "no finite logit"),
    ],
)
@pytest.mark.parametrize("order", ["random", "confidence", "entropy"])
@pytest.mark.parametrize("batch", [1, 2, 128])
def test_non_finite_logits_name_their_row_and_step(bad: list[float], kind: str, order: Any, batch: int) -> None:
    # Rows 2 and 4 start with 1 and are equal; at step 1 nothing else is visible in them, so step 2 fails first.
    tokens = torch.tensor([[0, 3, 3], [2, 3, 3], [1, 3, 3], [2, 3, 3], [1, 3, 3]])
    steps = plan([[1, 1]], [[2]], [[1, 1]], [[2]], [[1, 1]])
    with pytest.raises(RunError, match=rf"returned {kind} for row 2 at step 2;"):
        unmask(failing(torch.tensor(bad)), tokens, steps, seeds=seeds(5), drawing=Drawing(order), batch=batch)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("kind", ["counts", "threshold"])
def test_a_failure_at_an_early_step_is_found_although_others_follow(kind: str, watched: bool) -> None:
    length = 3 * TOGETHER
    tokens = torch.tensor([[1, *[VOCAB] * length], [0, *[VOCAB] * length]])
    found: Plan = same_plan([1] * length, 2)
    if kind == "threshold":
        found = ThresholdPlan(torch.full((2,), 2.0, dtype=torch.float64))
    shown: list[int] = []
    counting = CountingDenoiser(failing(torch.full((VOCAB,), NAN)))
    with pytest.raises(RunError, match="NaN for row 0 at step 2;"):
        unmask(
            counting,
            tokens,
            found,
            seeds=seeds(2),
            drawing=Drawing("confidence"),
            on_step=(lambda step: shown.append(step.number)) if watched else None,
        )
    assert shown == ([0] if watched else [])
    assert len(counting.calls) == (2 if watched else TOGETHER)


def test_ancestral_failure_names_its_row_and_step() -> None:
    tokens = torch.tensor([[0, 3, 2], [1, 3, 2], [1, 3, 2]])
    alphas = torch.tensor([[0.0, 0.0, 1.0]] * 3, dtype=torch.float64)  # nothing is revealed at step 1
    with pytest.raises(RunError, match="NaN for row 1 at step 2;"):
        unmask(failing(torch.full((3,), NAN)), tokens, RevealPlan(alphas), seeds=seeds(3))


def test_a_forbidden_token_is_no_failure_and_never_drawn() -> None:
    tokens = torch.tensor([[1, 2, 3, 3]] * 200)
    denoiser = failing(torch.tensor([0.0, -INF, 0.0]))
    result = unmask(denoiser, tokens, same_plan([1, 1], 200), seeds=seeds(200), drawing=Drawing("confidence"))
    assert set(result.tokens[:, 2:].flatten().tolist()) == {0, 2}


@pytest.mark.parametrize("shape", [(4, VOCAB), (6, VOCAB), (5, VOCAB + 1), (5, VOCAB - 1), (15,), (1, 5, VOCAB)])
def test_wrong_shape_of_logits(shape: tuple[int, ...]) -> None:
    denoiser = FunctionDenoiser(VOCAB, lambda tokens, wanted: torch.zeros(shape))
    tokens = torch.tensor([[3, 3, 3], [1, 3, 3]])
    with pytest.raises(RunError) as error:
        unmask(denoiser, tokens, plan([[3]], [[2]]), seeds=seeds(2))
    assert f"expected (5, 3) and got {shape}" in str(error.value)


def refuse(message: str, a_plan: Plan, tokens: Tensor | None = None, **options: Any) -> None:
    """``unmask`` refuses the call with this message and never asks the denoiser."""
    counting = CountingDenoiser(FunctionDenoiser(VOCAB, lambda tokens, wanted: torch.zeros(int(wanted.sum()), VOCAB)))
    tokens = torch.tensor([[0, 3, 3], [3, 3, 3]]) if tokens is None else tokens
    with pytest.raises(InputError, match=message):
        unmask(counting, tokens, a_plan, **{"seeds": seeds(len(tokens)), **options})
    assert counting.calls == []


GOOD = plan([[1, 1]], [[2, 1]])
BLOCKS = torch.tensor([[-1, 0, 1], [0, 0, 1]])


def test_the_good_plan_is_good() -> None:
    # The refusals below differ from these calls in one thing each.
    denoiser = FunctionDenoiser(VOCAB, lambda tokens, wanted: torch.zeros(int(wanted.sum()), VOCAB))
    tokens = torch.tensor([[0, 3, 3], [3, 3, 3]])
    unmask(denoiser, tokens, GOOD, seeds=seeds(2), drawing=Drawing("confidence", 0.0), batch=1)
    unmask(denoiser, tokens, plan([[1], [1]], [[2], [1]]), seeds=seeds(2), blocks=BLOCKS)
    unmask(denoiser, tokens, RevealPlan(torch.tensor([[0, 0.5, 0.5, 1]] * 2, dtype=torch.float64)), seeds=seeds(2))


@pytest.mark.parametrize(
    "counts",
    [[[[1, 1]], [[2, 0]]], [[[1, 1]], [[2, 2]]], [[[2, 1]], [[2, 1]]], [[[0, 0]], [[2, 1]]]],
)
def test_counts_that_do_not_sum_to_the_hidden_positions(counts: list[list[list[int]]]) -> None:
    row = 0 if sum(counts[0][0]) != 2 else 1
    refuse(
        rf"must sum to its masked positions, got \[{sum(counts[row][0])}\] for \[{2 + row}\] in row {row}",
        plan(*counts),
    )


def test_counts_of_blocks_that_do_not_sum() -> None:
    refuse(r"got \[2, 0\] for \[1, 1\] in row 0", plan([[2], [0]], [[2], [1]]), blocks=BLOCKS)
    refuse(r"got \[2\] for \[1\] in row 0 with 2 masked", plan([[2]], [[3]]), blocks=BLOCKS)
    refuse(r"got \[1\] for \[1\] in row 0 with 2 masked", plan([[1]], [[2]]), blocks=BLOCKS)


@pytest.mark.parametrize(
    "counts",
    [
        torch.tensor([[[1, 1]], [[4, -1]]]),
        torch.tensor([[[1, 1]]]),
        torch.tensor([[1, 1], [2, 1]]),
        torch.tensor([[[1.0, 1.0]], [[1.5, 1.5]]]),
        torch.ones(2, 1, 2, dtype=torch.bfloat16),  # numpy has no such type
        torch.zeros(2, 0, 2, dtype=torch.int64),
    ],
    ids=["negative", "rows", "axes", "fractions", "bfloat16", "no block"],
)
def test_counts_of_a_wrong_kind(counts: Tensor) -> None:
    refuse(r"counts must be \(rows, blocks, steps\) int64 and not negative", CountPlan(counts))


@pytest.mark.parametrize(
    "alphas",
    [
        [[0.0, 0.6, 0.5, 1.0]] * 2,
        [[0.0, 0.5, 1.0], [0.0, 1.0, 0.5]],
        [[0.0, 0.5, 0.9]] * 2,
        [[0.0, 0.5, 1.0], [0.1, 0.5, 1.0]],
        [[0.0, NAN, 1.0]] * 2,
        [[0.0, 0.5, NAN]] * 2,
        [[0.0, 1.0]],
        [[1.0], [1.0]],
        [0.0, 1.0],
        0.5,
    ],
)
def test_alphas_that_do_not_increase_from_zero_to_one(alphas: Any) -> None:
    refuse("alphas must be .* increase from 0 to 1", RevealPlan(torch.tensor(alphas, dtype=torch.float64)))


@pytest.mark.parametrize("order", ["confidence", "entropy"])
def test_ancestral_reveal_has_no_order(order: Order) -> None:
    refuse(f"order must be 'random' without blocks, got '{order}'", reveal(), drawing=Drawing(order))
    refuse("without blocks", reveal(), blocks=BLOCKS)


def reveal() -> RevealPlan:
    return RevealPlan(torch.tensor([[0.0, 0.5, 1.0]] * 2, dtype=torch.float64))


@pytest.mark.parametrize("order", ["left-to-right", "", "Random", None])
def test_unknown_order(order: Any) -> None:
    with pytest.raises(InputError, match=f"order must be one of random, confidence, .*, got {order!r}"):
        Drawing(order)


@pytest.mark.parametrize("name", ["temperature", "confidence_temperature"])
@pytest.mark.parametrize("value", [-0.1, NAN, INF, -INF])
def test_temperature_out_of_range(name: str, value: float) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(InputError, match=f"{name} must be at least 0 and finite, got {value}"):
        Drawing("confidence", **options)


@pytest.mark.parametrize("batch", [0, -1])
def test_batch_below_one(batch: int) -> None:
    refuse(f"batch must be at least 1, got {batch}", GOOD, batch=batch)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_seed_per_row(count: int) -> None:
    refuse(f"one seed per row, got {count} for 2 rows", GOOD, seeds=np.arange(count, dtype=np.uint64))
    refuse(f"one seed per row, got {count} for 2 rows", reveal(), seeds=np.arange(count, dtype=np.uint64))


@pytest.mark.parametrize("token", [-1, VOCAB, 99])
def test_reference_tokens_outside_the_vocabulary(token: int) -> None:
    reference = torch.tensor([[0, 1, 2], [0, 1, token]])
    refuse(r"reference tokens must be in \[0, 3\)", GOOD, reference=reference)


def test_only_integers_are_tokens() -> None:
    denoiser, tokens = TableDenoiser(random_law(3, 2, 0)), torch.full((2, 3), 2)
    for name in ("blocks", "reference"):
        with pytest.raises(InputError, match=rf"{name} must be int64, got torch.float32; convert it with .long\(\)"):
            unmask(denoiser, tokens, same_plan((1, 2), 2), seeds=seeds(2), **{name: torch.zeros(2, 3)})
    with pytest.raises(InputError, match="tokens must be int64"):
        unmask(denoiser, tokens.int(), same_plan((1, 2), 2), seeds=seeds(2))


def test_shapes_that_do_not_fit_the_tokens_are_refused() -> None:
    law = random_law(3, 2, 0)
    denoiser, tokens = TableDenoiser(law), torch.full((2, 3), 2)
    for name, given in (("blocks", torch.zeros(2, 2)), ("reference", torch.zeros(3))):
        with pytest.raises(InputError, match=f"{name} must be"):
            unmask(denoiser, tokens, same_plan((1, 2), 2), seeds=seeds(2), **{name: given})
    with pytest.raises(InputError, match=r"tokens must be \(rows, length\)"):
        unmask(denoiser, tokens[0], same_plan((1, 2), 1), seeds=seeds(1))
