"""Tokens, steps and calls are those of the rules of LLaDA, Dream, dllm and Fast-dLLM, written here a second time.

The rules work on one row, in plain Python. scripts/peer_parity.py compares with the systems themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.plans import CountPlan, Plan, RevealPlan, ThresholdPlan
from mdm_tune.sampling.unmasking import unmask
from mdm_tune.schedules.counts import to_counts
from mdm_tune.schedules.curves import Linear

VOCABULARY, MASK, PROMPT, ROWS = 11, 7, 3, 3  # the mask is one of the ids
SHAPES = [(8, 8, 3), (8, 4, 6), (9, 3, 6), (6, 6, 9), (10, 10, 10), (1, 1, 1)]  # tokens, block length, steps
Predict = Callable[[list[int]], list[list[float]]]


class Denoiser:
    """Logits that depend on every token of the row. ``mask_bias`` moves the mask's own logit, which is never drawn."""

    def __init__(self, seed: int, mask_bias: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.vocab_size, self.mask_id, self.calls = VOCABULARY, MASK, 0
        self.words, self.places, self.head = (
            torch.randn(size, 16, generator=generator, dtype=torch.float64) for size in (VOCABULARY, 16, VOCABULARY)
        )
        self.mask_bias = mask_bias

    def whole(self, tokens: Tensor) -> Tensor:
        """Logits (rows, length, vocabulary) with that of the mask, as a checkpoint has them."""
        mixed = torch.tanh(self.words[tokens] + self.places[: tokens.shape[1]]).cumsum(1)
        logits = torch.tanh(mixed + mixed[:, -1:] + self.places[: tokens.shape[1]]) @ self.head.T
        logits[..., MASK] += self.mask_bias
        return logits

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        self.calls += 1
        logits = self.whole(tokens)[wanted]
        logits[:, MASK] = -torch.inf
        return logits


def predictions(denoiser: Denoiser, *, counted: bool = False) -> Predict:
    """Probabilities of one row, as lists; ``counted``: with the mask's own, as the other systems compute them."""

    def predict(row: list[int]) -> list[list[float]]:
        table = denoiser.whole(torch.tensor([row]))[0].tolist()
        found = []
        for logits in table:
            weights = [math.exp(x) if counted or token != MASK else 0.0 for token, x in enumerate(logits)]
            found.append([weight / sum(weights) for weight in weights])
        return found

    return predict


def nucleus(p: list[float], top_p: float) -> list[float]:
    """The most probable tokens until they reach top_p, normalised."""
    ranked = sorted(range(len(p)), key=lambda token: -p[token])
    kept, total = set(), 0.0
    for token in ranked:
        if total > top_p:
            break
        kept.add(token)
        total += p[token]
    return [x / total if token in kept else 0.0 for token, x in enumerate(p)]


def score(rule: str, p: list[float]) -> float:
    """What a position is ranked by, with its most probable token."""
    if rule == "entropy":
        return sum(x * math.log(x) for x in p if x > 0)
    best = sorted(p, reverse=True)
    return best[0] - best[1] if rule == "margin" else best[0]


def filled(
    predict: Predict,
    row: list[int],
    blocks: list[list[int]],
    counts: list[list[int]] | None,
    *,
    rule: str = "confidence",
    top_p: float = 1.0,
    threshold: float = 2.0,
) -> tuple[list[int], list[list[int]]]:
    """The filled row, and the positions that each step revealed; without counts the threshold decides."""
    row, steps = list(row), []
    for number, block in enumerate(blocks):
        for count in counts[number] if counts else itertools.repeat(1):
            hidden = [at for at in block if row[at] == MASK]
            if not hidden:
                break
            table = [nucleus(p, top_p) if top_p < 1 else p for p in predict(row)]
            ranked = sorted(hidden, key=lambda at: -score(rule, table[at]))
            sure = [at for at in ranked if score(rule, table[at]) >= threshold]
            chosen = ranked[: max(count, len(sure))]
            for at in chosen:
                row[at] = max(range(VOCABULARY), key=lambda token: table[at][token])
            steps.append(sorted(chosen))
    return row, steps


def llada(steps: int, blocks: int, size: int) -> list[list[int]]:
    """Equal counts in every block, the remainder first."""
    share = steps // blocks
    return [[size // share + (step < size % share) for step in range(share)]] * blocks


def dream(steps: int, blocks: int, size: int) -> list[list[int]]:
    """Of what is left, the share 1 - s/t rounded down, in float32."""
    times, left, counts = torch.linspace(1, 1e-3, steps + 1), size, []
    for t, s in itertools.pairwise(times[:-1]):
        counts.append(int(torch.tensor(float(left)) * (1 - s / t)))
        left -= counts[-1]
    return [[*counts, left]]


def dllm(steps: int, blocks: int, size: int) -> list[list[int]]:
    """Of what is left, the share 1/(steps left) rounded half to even, as far as float32 tells halves apart."""
    share, left, counts = math.ceil(steps / blocks), size, []
    for i in range(share):
        t, s = np.float32((share - i) / share), np.float32((share - i - 1) / share)
        kept = np.float32(1 - np.float32(1 - s)) / np.float32(1 - np.float32(1 - t))
        counts.append(round(left * (1 - float(kept))))
        left -= counts[-1]
    return [counts] * blocks


def given(length: int, seed: int, rows: int = ROWS) -> Tensor:
    """Prompts and masked positions."""
    prompt = torch.randint(MASK, (rows, PROMPT), generator=torch.Generator().manual_seed(seed))
    return torch.cat([prompt, torch.full((rows, length), MASK)], dim=1)


def assert_same(
    denoiser: Denoiser,
    shape: tuple[int, int],
    plan: Plan,
    drawing: Drawing,
    expected: Callable[[list[int], list[list[int]]], tuple[list[int], list[list[int]]]],
) -> None:
    """Every row of ours is that of ``expected(row, blocks)``: tokens, positions of every step, and calls."""
    (length, block), shown = shape, []
    tokens = given(length, seed=length)
    found = unmask(
        denoiser,
        tokens,
        plan,
        seeds=np.arange(ROWS, dtype=np.uint64),
        drawing=drawing,
        blocks=((tokens == MASK).long().cumsum(1) - 1) // block,
        on_step=lambda step: shown.append(step.revealed),
    )
    blocks = [list(range(at, min(at + block, PROMPT + length))) for at in range(PROMPT, PROMPT + length, block)]
    for number, row in enumerate(tokens.tolist()):
        steps = [step[number].nonzero().squeeze(1).tolist() for step in shown]
        steps = [step for step in steps if step]
        assert (found.tokens[number].tolist(), steps) == expected(row, blocks)
        assert int(found.nfe[number]) == len(steps)


def count_plan(name: str, shape: tuple[int, int, int]) -> CountPlan:
    """The counts that this package gives a peer's name."""
    length, block, steps = shape
    blocks = math.ceil(length / block)
    widths = [min(block, length - block * number) for number in range(blocks)]
    counts = [to_counts(Linear(name), math.ceil(steps / blocks), width) for width in widths]  # type: ignore[arg-type]
    return CountPlan(torch.tensor(counts).expand(ROWS, -1, -1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "rule"), [("llada", llada), ("dllm", dllm)])
def test_the_most_confident_tokens_of_each_block(
    name: str, rule: Callable[[int, int, int], list[list[int]]], shape: tuple[int, int, int], seed: int
) -> None:
    (length, block, steps), denoiser = shape, Denoiser(seed)
    counts = [[count for count in counts if count] for counts in rule(steps, length // block, block)]
    assert_same(
        denoiser,
        (length, block),
        count_plan(name, shape),
        Drawing(order="confidence", temperature=0.0),
        lambda row, blocks: filled(predictions(denoiser), row, blocks, counts),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [3, 5, 12])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize(
    ("order", "rule"), [("confidence", "confidence"), ("margin", "margin"), ("entropy", "entropy")]
)
def test_dreams_orders_read_their_scores_after_top_p(
    order: str, rule: str, top_p: float, steps: int, seed: int
) -> None:
    denoiser, length = Denoiser(seed), 8
    counts = [[count for count in dream(steps, 1, length)[0] if count]]
    assert_same(
        denoiser,
        (length, length),
        count_plan("dream", (length, length, steps)),
        Drawing(order=order, temperature=0.0, top_p=top_p, tempered_scores=True),  # type: ignore[arg-type]
        lambda row, blocks: filled(predictions(denoiser), row, blocks, counts, rule=order, top_p=top_p),
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(8, 8), (9, 3), (1, 1)])
def test_fast_dllms_threshold_reveals_the_best_and_all_that_reach_it(
    shape: tuple[int, int], threshold: float, seed: int
) -> None:
    denoiser = Denoiser(seed)
    assert_same(
        denoiser,
        shape,
        ThresholdPlan(torch.full((ROWS,), threshold, dtype=torch.float64)),
        Drawing(order="confidence", temperature=0.0),
        lambda row, blocks: filled(predictions(denoiser), row, blocks, None, threshold=threshold),
    )


def test_dreams_origin_reveals_with_the_probability_of_its_times() -> None:
    """p = 1 - s/t on its times is the share of our alphas; its last step reveals the rest."""
    times = torch.linspace(1, 1e-3, 6, dtype=torch.float64)
    alphas = torch.cat([1 - times[:-1], torch.ones(1, dtype=torch.float64)])
    expected = [float(1 - s / t) for t, s in itertools.pairwise(times[:-1])] + [1.0]
    assert (alphas.diff() / (1 - alphas[:-1])).tolist() == pytest.approx(expected)
    rows = 4000
    shown: list[Tensor] = []
    unmask(
        Denoiser(0),
        given(2, seed=0, rows=1).expand(rows, -1),
        RevealPlan(alphas.expand(rows, -1)),
        seeds=np.arange(rows, dtype=np.uint64),
        drawing=Drawing(order="random", temperature=0.0),
        on_step=lambda step: shown.append(step.revealed.sum()),
    )
    left = 2 * rows
    for share, count in zip(expected, torch.stack(shown).tolist(), strict=True):
        assert abs(count - share * left) <= 5 * math.sqrt(max(left * share * (1 - share), 1e-9)) + 1e-6
        left -= count


def test_the_masks_own_logit_changes_what_others_draw_and_never_ours() -> None:
    """With it, the other systems draw the mask or rank otherwise; without it, or where it is small, they agree."""
    tokens, counts = given(8, seed=8), llada(4, 1, 8)
    for bias, alike in ((9.0, False), (-30.0, True)):
        denoiser = Denoiser(1, bias)
        drawn = unmask(
            denoiser,
            tokens,
            count_plan("llada", (8, 8, 4)),
            seeds=np.arange(ROWS, dtype=np.uint64),
            drawing=Drawing(order="confidence", temperature=0.0),
        ).tokens
        assert not bool((drawn == MASK).any())
        block = [list(range(PROMPT, PROMPT + 8))]
        theirs = [filled(predictions(denoiser, counted=True), row, block, counts)[0] for row in tokens.tolist()]
        assert (drawn.tolist() == theirs) is alike
        assert any(MASK in row for row in theirs) is not alike
