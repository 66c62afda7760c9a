"""A drawn token has exactly the probability that the denoiser gave it, at any vocabulary size and however rare."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, chisquare
from torch import Tensor

from mdm_tune.core.seeding import noise
from mdm_tune.sampling.drawing import draw_tokens, in_rows, top
from tests.support.helpers import seeds

# Each assertion of a fit below rejects a sound sampler with probability 1e-4 or less; all together with less than 1e-3.
LEVEL = 1e-4
RARE = 1e-7


def uniforms(count: int, step: int = 0) -> Tensor:
    return torch.from_numpy(noise(seeds(1, first=step), "token", step, count)[0])


def drawn(log_p: Tensor, uniform: Tensor, temperature: float = 1.0, rows: int = 100) -> NDArray[np.int64]:
    """Tokens (n,) of one distribution log_p (vocab,) at uniforms (n,), a few rows at a time."""
    parts = [draw_tokens(log_p.expand(len(part), -1), part, temperature) for part in torch.split(uniform, rows)]
    tokens: NDArray[np.int64] = torch.cat(parts).numpy()
    return tokens


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_vocabulary_of_five(temperature: float) -> None:
    p = np.array([0.05, 0.4, 0.0, 0.25, 0.3])
    with np.errstate(divide="ignore"):
        log_p = torch.from_numpy(np.log(p))
    counts = np.bincount(drawn(log_p, uniforms(200_000), temperature, 1000), minlength=5)
    law = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    assert counts[2] == 0
    possible = [0, 1, 3, 4]
    assert chisquare(counts[possible], law[possible] * 200_000).pvalue > LEVEL
    wrong = p ** (1 / (temperature * 1.1)) / (p ** (1 / (temperature * 1.1))).sum()
    assert chisquare(counts[possible], wrong[possible] * 200_000).pvalue < LEVEL


def test_vocabulary_of_fifty_thousand() -> None:
    # Tokens are pooled by their id modulo 40, so that a token next to the right one is in another group.
    rng = np.random.default_rng(0)
    p = rng.permutation(1.0 / np.arange(1, 50_001))
    p /= p.sum()
    tokens = drawn(torch.from_numpy(np.log(p)), uniforms(3000))
    law = np.bincount(np.arange(50_000) % 40, weights=p)
    assert chisquare(np.bincount(tokens % 40, minlength=40), law * 3000).pvalue > LEVEL
    for shift in (-1, 1):
        shifted = np.bincount((tokens + shift) % 50_000 % 40, minlength=40)
        assert chisquare(shifted, law * 3000).pvalue < LEVEL


def test_ends_of_the_interval_draw_possible_tokens() -> None:
    # Both ends of the noise's open interval, at many totals that round differently and at extreme temperatures.
    ends = torch.tensor([2.0**-53, 1 - 2.0**-53], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        log_p = torch.randn(50, dtype=torch.float64, generator=generator).mul(3).log_softmax(0)
        log_p[[0, 1, 20, 48, 49]] = -torch.inf
        for temperature in (1e-310, 0.1, 1.0, 1e300):
            first, last = draw_tokens(log_p.log_softmax(0).expand(2, -1), ends, temperature).tolist()
            if temperature == 1e-310:
                assert first == last == int(log_p.argmax())
            else:
                assert 2 <= first <= last <= 47
            if temperature in (1.0, 1e300):
                assert (first, last) == (2, 47)


def test_single_token_of_probability_one_in_ten_million() -> None:
    # 1e8 draws expect 10 of it. None at all, as with a tail that is cut off, has p = 4.5e-5 and is rejected.
    log_p = torch.tensor([[1 - RARE, RARE]], dtype=torch.float64).log().expand(1 << 14, -1)
    chunks = -(-(10**8) // (1 << 14))
    hits = sum(int(draw_tokens(log_p, uniforms(1 << 14, step), 1.0).sum()) for step in range(chunks))
    draws = chunks << 14
    assert draws >= 10**8
    assert binomtest(hits, draws, RARE).pvalue > LEVEL
    assert binomtest(0, draws, RARE).pvalue < LEVEL


def tail_pvalue(hits: int, draws: int) -> float:
    return float(binomtest(hits, draws, 49_999 * RARE).pvalue)


def test_tail_of_many_rare_tokens() -> None:
    # One big token in the middle of 49,999 that have probability 1e-7 each.
    draws, big = 500_000, 25_000
    p = torch.full((50_000,), RARE, dtype=torch.float64)
    p[big] = 1 - 49_999 * RARE
    # Inversion is monotone: what lies between two uniforms that give the big token gives it too and is not computed.
    inner = torch.tensor([0.00251, 0.99749], dtype=torch.float64)
    assert drawn(p.log(), inner).tolist() == [big, big]
    uniform = uniforms(draws)
    tokens = drawn(p.log(), uniform[(uniform < inner[0]) | (uniform > inner[1])])
    rare = tokens[tokens != big]
    assert tail_pvalue(len(rare), draws) > LEVEL
    assert chisquare(np.bincount(rare % 40, minlength=40)).pvalue > LEVEL
    assert 0.45 < (rare < big).mean() < 0.55


def test_float32_gumbel_noise_fails_the_same_test() -> None:
    # arXiv:2409.02908: uniforms on the grid k / 2^24 bound the noise by 24 ln 2 = 16.6, and ln 1e7 is already 16.1. The
    # rare tokens have equal logits, so only the largest of their uniforms matters; V^(1 / 49,999) is its law.
    draws = 500_000
    rng = np.random.default_rng(0)
    largest = np.ceil(rng.random(draws) ** (1 / 49_999) * 2**24) - 1
    other = rng.integers(0, 2**24, draws)
    with np.errstate(divide="ignore"):
        noise_rare, noise_big = (-np.log(-np.log((k / 2**24).astype(np.float32))) for k in (largest, other))
    assert noise_rare.dtype == np.float32
    hits = int(np.sum(np.float32(np.log(RARE)) + noise_rare > np.float32(np.log(1 - 49_999 * RARE)) + noise_big))
    assert tail_pvalue(hits, draws) < 1e-12
    # The same construction with float64 uniforms passes, so it is the precision that fails and not the construction.
    exact_rare, exact_big = (-np.log(-np.log(u)) for u in (rng.random(draws) ** (1 / 49_999), rng.random(draws)))
    hits = int(np.sum(np.log(RARE) + exact_rare > np.log(1 - 49_999 * RARE) + exact_big))
    assert tail_pvalue(hits, draws) > LEVEL


def test_top_takes_the_best_of_each_row_and_the_first_of_equal_ones() -> None:
    """Against Python's sort. Rows have 0 to 9 positions, with equal scores, infinite ones and counts beyond them."""
    random = np.random.default_rng(5)
    for rows in (1, 1, 2, 7, 30):
        sizes = random.integers(0, 10, rows)
        row = np.repeat(np.arange(rows), sizes)
        scores = random.integers(-3, 3, len(row)).astype(float)
        scores[random.random(len(row)) < 0.2] = -np.inf
        counts = random.integers(0, 12, rows)
        ends = np.concatenate([[0], sizes.cumsum()]).tolist()
        table, first = in_rows(scores, row, rows)
        assert first.tolist() == ends and np.isnan(table).sum(axis=1).tolist() == (sizes.max() - sizes).tolist()
        assert [row[:size].tolist() for row, size in zip(table, sizes, strict=True)] == [
            scores[low:high].tolist() for low, high in itertools.pairwise(ends)
        ]
        expected = [
            at
            for each in range(rows)
            for at in sorted(range(ends[each], ends[each + 1]), key=lambda at: (-scores[at], at))[: counts[each]]
        ]
        assert top(scores, row, counts).tolist() == expected
