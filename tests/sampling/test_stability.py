"""The policy ``klass``: its rule, written again in plain loops, and how much predictions change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.seeding import noise
from mdm_tune.sampling.drawing import Drawing, Scratch
from mdm_tune.sampling.plans import KlassPlan, ThresholdPlan
from mdm_tune.sampling.stability import Stability, divergence
from mdm_tune.sampling.unmasking import Step, unmask
from tests.support.helpers import CountingDenoiser, FunctionDenoiser, seeds

VOCAB, LENGTH, ROWS = 5, 9, 24
MASK = VOCAB


def each(value: float, rows: int) -> Tensor:
    return torch.full((rows,), value, dtype=torch.float64)


class Neighbours:
    """Logits that depend on visible tokens, the less the farther they are; so far predictions change little."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.base = rng.normal(size=(LENGTH, VOCAB)) * 1.5
        self.pull = rng.normal(size=(VOCAB, VOCAB)) * 3
        self.denoiser = FunctionDenoiser(VOCAB, self.batch)

    def row(self, tokens: Sequence[int], at: int) -> list[float]:
        logits = self.base[at].copy()
        for other, token in enumerate(tokens):
            if 0 <= token < VOCAB:
                logits += self.pull[token] * 0.3 ** abs(at - other)
        return [float(x) for x in logits]

    def batch(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        found = [self.row(tokens[row].tolist(), at) for row, at in wanted.nonzero().tolist()]
        return torch.tensor(found, dtype=torch.float64).reshape(-1, VOCAB)


def softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    return [weight / math.fsum(weights) for weight in weights]


def klass_by_hand(
    model: Neighbours,
    start: Sequence[int],
    blocks: Sequence[int],
    threshold: float,
    kl: float,
    drawing: Drawing,
    seed: NDArray[np.uint64],
) -> tuple[list[int], int]:
    """One row, filled as KLASS does it: all hidden positions are predicted at each call. Its tokens and calls."""
    tokens, call, block, step = list(start), 0, -1, 0
    before: dict[int, list[float]] = {}
    history: dict[int, list[float]] = {at: [] for at in range(LENGTH)}
    while MASK in tokens:
        hidden = [at for at, token in enumerate(tokens) if token == MASK]
        step = step + 1 if block == min(blocks[at] for at in hidden) else 0
        block = min(blocks[at] for at in hidden)
        uniform = noise(seed, "token", call if drawing.order == "confidence" else 0, LENGTH)[0]
        sure, drawn = {}, {}
        for at in hidden:
            logits = model.row(tokens, at)
            p = softmax(logits)
            if at in before:
                history[at].append(math.fsum(x * math.log(x / y) for x, y in zip(p, before[at], strict=True)))
            else:
                history[at].append(math.inf)
            before[at] = p
            if drawing.temperature == 0:
                drawn[at] = p.index(max(p))
            else:
                cooled = softmax(logits, drawing.temperature)
                sums = [math.fsum(cooled[: k + 1]) for k in range(VOCAB)]
                drawn[at] = next(token for token in range(VOCAB) if uniform[at] < sums[token])
            ranked = sorted(p, reverse=True)
            sure[at] = {
                "confidence": p[drawn[at]],
                "top-probability": ranked[0],
                "margin": ranked[0] - ranked[1],
            }[drawing.order]
        inside = [at for at in hidden if blocks[at] == block]
        ready = [at for at in inside if step >= 1 and sure[at] > threshold and all(x < kl for x in history[at][-2:])]
        for at in ready or [max(inside, key=lambda at: (sure[at], -at))]:
            tokens[at] = drawn[at]
        call += 1
    return tokens, call


@pytest.mark.parametrize("seed", range(6))
def test_the_rule_is_that_of_plain_loops(seed: int) -> None:
    """Rows of different length and thresholds, in blocks, drawn and greedy, in each order."""
    rng, model = np.random.default_rng(seed), Neighbours(seed)
    drawing = Drawing(("confidence", "top-probability", "margin")[seed % 3], (0.0, 0.7, 1.0)[seed // 2])  # type: ignore[arg-type]
    start = np.full((ROWS, LENGTH), MASK)
    visible = rng.random(start.shape) < 0.2
    start[visible] = rng.integers(0, VOCAB, visible.sum())
    start[5] = start[6]  # rows that are equal at first
    start[7] = 1  # nothing to do
    start[::6, -2:] = -1
    blocks = np.sort(rng.integers(0, 4, start.shape), axis=1) if seed % 2 else np.zeros_like(start)
    threshold, kl = rng.random(ROWS), 10 ** rng.uniform(-4, 0.5, ROWS)
    options = {"seeds": seeds(ROWS), "drawing": drawing, "blocks": torch.from_numpy(blocks)}
    plan = KlassPlan(torch.from_numpy(threshold), torch.from_numpy(kl))
    result = unmask(model.denoiser, torch.from_numpy(start), plan, batch=7, **options)  # type: ignore[arg-type]
    expected = [
        klass_by_hand(model, start[row].tolist(), blocks[row].tolist(), threshold[row], kl[row], drawing, seeds(1, row))
        for row in range(ROWS)
    ]
    assert result.tokens.tolist() == [tokens for tokens, _ in expected]
    assert result.nfe.tolist() == [calls for _, calls in expected]
    some = rng.permutation(ROWS)[:11]
    part = KlassPlan(plan.threshold[some], plan.kl[some])
    options |= {"seeds": seeds(ROWS)[some], "blocks": torch.from_numpy(blocks[some])}
    again = unmask(model.denoiser, torch.from_numpy(start[some]), part, **options)  # type: ignore[arg-type]
    assert torch.equal(again.tokens, result.tokens[some]) and torch.equal(again.nfe, result.nfe[some])


def revealed(plan: KlassPlan | ThresholdPlan, blocks: Sequence[int], model: Neighbours) -> list[list[int]]:
    steps: list[Step] = []
    unmask(
        model.denoiser,
        torch.full((1, LENGTH), MASK),
        plan,
        seeds=seeds(1),
        drawing=Drawing("confidence", 0.0),
        blocks=torch.tensor([blocks]),
        on_step=steps.append,
    )
    return [step.revealed[0].nonzero().flatten().tolist() for step in steps]


def test_the_ends_of_the_values() -> None:
    """One token per call at threshold 1 and at KL 0; a threshold alone, from a row's third call on, at a large KL."""
    model, blocks = Neighbours(1), [0] * 4 + [1] * 5
    for threshold, kl in [(1.0, 9.0), (0.0, 0.0)]:
        steps = revealed(KlassPlan(each(threshold, 1), each(kl, 1)), blocks, model)
        assert [len(step) for step in steps] == [1] * LENGTH
    steps = revealed(KlassPlan(each(0.0, 1), each(1e9, 1)), blocks, model)
    assert [len(step) for step in steps] == [1, 1, 2, 1, 4]
    for threshold in (0.3, 0.6, 0.9):
        whole = revealed(KlassPlan(each(threshold, 1), each(1e9, 1)), [0] * LENGTH, model)
        assert [len(step) for step in whole[:2]] == [1, 1]
        start = torch.full((1, LENGTH), MASK)
        filled = unmask(
            model.denoiser, start, ThresholdPlan(each(9, 1)), seeds=seeds(1), drawing=Drawing("confidence", 0.0)
        ).tokens
        start[0, whole[0] + whole[1]] = filled[0, whole[0] + whole[1]]
        steps = []
        unmask(
            model.denoiser,
            start,
            ThresholdPlan(each(threshold, 1)),
            seeds=seeds(1),
            drawing=Drawing("confidence", 0.0),
            on_step=lambda step, steps=steps: steps.append(step.revealed[0].nonzero().flatten().tolist()),  # type: ignore[misc]
        )
        assert steps == whole[2:]


def test_identical_rows_are_predicted_once_and_the_next_block_too() -> None:
    counting = CountingDenoiser(Neighbours(2).denoiser)
    blocks = torch.tensor([0, 0, 0, 1, 1, 1, 3, 3, 3]).expand(4, -1)
    result = unmask(
        counting,
        torch.full((4, LENGTH), MASK),
        KlassPlan(each(0.5, 4), each(0.1, 4)),
        seeds=seeds(4),
        drawing=Drawing("top-probability", 0.0),
        blocks=blocks,
    )
    assert result.denoiser_rows == counting.rows == int(result.nfe[0])
    assert counting.calls[0][1].tolist() == [[True] * 6 + [False] * 3]


def test_the_divergence_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    logits = [torch.from_numpy(rng.normal(size=(50, 33)) * scale) for scale in (3, 1)]
    for each_of in logits:
        each_of[:, 4] = -torch.inf  # a token that is never drawn
    logits[1][7, 2] = -torch.inf
    p, q = (each_of.softmax(1).tolist() for each_of in logits)
    expected = [
        math.inf if at == 7 else math.fsum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)
        for at, (a, b) in enumerate(zip(p, q, strict=True))
    ]
    best = [each_of.amax(1) for each_of in logits]
    scratch, nothing = Scratch(), torch.zeros(50, dtype=torch.float64)
    _, totals = divergence(logits[1], best[1], logits[1], nothing, scratch)
    assert torch.allclose(totals, logits[1].logsumexp(1), atol=1e-12)
    found, own = divergence(logits[0], best[0], logits[1], totals, scratch)
    assert np.allclose(found, expected, atol=2e-9)
    assert divergence(logits[0], best[0], logits[0], own, scratch)[0].tolist() == [0.0] * 50


def test_pieces_that_come_twice_and_places_that_are_used_again() -> None:
    """A repeated piece is compared with the call before, and not with itself."""
    rng = np.random.default_rng(0)
    stability = Stability((3, 6), torch.device("cpu"), Scratch())
    last: dict[tuple[int, int], Tensor] = {}
    hidden = rng.random((3, 6)) < 0.5
    for _ in range(30):
        hidden = np.where(rng.random((3, 1)) < 0.3, rng.random((3, 6)) < 0.7, hidden)  # a block ends, another begins
        stability.begin(hidden)
        rows, at = hidden.nonzero()
        logits = torch.from_numpy(rng.normal(size=(len(rows), 4))).to(torch.bfloat16)
        exact = logits.double().log_softmax(1)
        part = len(rows) // 2
        stability.change(rows[:part], at[:part], logits[:part], logits[:part].amax(1))
        found = stability.change(rows, at, logits, logits.amax(1)).tolist()
        for place, value, log_p in zip(zip(rows.tolist(), at.tolist(), strict=True), found, exact, strict=True):
            expected = float((log_p.exp() * (log_p - last[place])).sum()) if place in last else math.inf
            assert value == pytest.approx(expected, abs=2e-9)
        last = dict(zip(zip(rows.tolist(), at.tolist(), strict=True), exact, strict=True))


def test_too_little_memory_is_said_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Tensor, size: object) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(Tensor, "new_zeros", full)
    stability = Stability((1, 1), torch.device("cpu"), Scratch())
    stability.begin(np.ones((1, 1), dtype=bool))
    with pytest.raises(RunError, match=r"klass keeps the last prediction .* 2.79e-08 GiB .* smaller batch or shorter"):
        stability.change(*np.zeros((2, 1), dtype=np.int64), torch.zeros(1, 30, dtype=torch.int8), torch.zeros(1))


@pytest.mark.parametrize(
    ("plan", "drawing", "message"),
    [
        (KlassPlan(each(0.5, 2), each(-0.1, 2)), Drawing("confidence"), "kl must be .* at least 0"),
        (KlassPlan(each(0.5, 2), each(math.inf, 2)), Drawing("confidence"), "kl must be .* finite"),
        (KlassPlan(each(0.5, 2), each(0.1, 3)), Drawing("confidence"), r"kl must be \(2,\)"),
        (KlassPlan(each(-0.5, 2), each(0.1, 2)), Drawing("confidence"), "threshold must be .* at least 0"),
        (KlassPlan(each(0.5, 2), each(0.1, 2)), Drawing("entropy"), "a threshold needs the order 'confidence'"),
        (KlassPlan(each(0.5, 2), each(0.1, 2)), Drawing(), "got 'random'"),
        (
            KlassPlan(each(0.5, 2), each(0.1, 2)),
            replace(Drawing("confidence"), confidence_temperature=0.5),
            "confidence_temperature must be 0",
        ),
    ],
)
def test_refused(plan: KlassPlan, drawing: Drawing, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unmask(Neighbours(0).denoiser, torch.full((2, LENGTH), MASK), plan, seeds=seeds(2), drawing=drawing)
