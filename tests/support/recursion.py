"""Samplers of small laws by plain recursion over positions and tokens, with the posteriors as exact fractions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache

import numpy as np

from mdm_tune.denoisers.analytic import Table

State = tuple[int | None, ...]  # None is hidden
Number = Fraction | float
Posterior = Callable[[State], dict[int, list[Number]]]


def table_of(seed: int, length: int, vocab: int, *, equal: bool = False) -> Table:
    rng = np.random.default_rng(seed)
    names = ["".join(x) for x in itertools.product("abc"[:vocab], repeat=length)]
    chosen = sorted(rng.choice(len(names), size=len(names) * 2 // 3, replace=False).tolist())
    weights = rng.integers(1, 2 if equal else 1000, size=len(chosen)).tolist()
    return Table(tuple(names[i] for i in chosen), tuple(map(float, weights)))


def bayes(law: Table) -> Posterior:
    """Posterior of every hidden position in exact fractions; uniform in an impossible context."""

    @cache
    def posterior(state: State) -> dict[int, list[Number]]:
        rows = [
            (x, Fraction(w))
            for x, w in zip(law.sequences, law.weights, strict=True)
            if all(t is None or law.symbols[t] == c for t, c in zip(state, x, strict=True))
        ]
        total = sum(w for _, w in rows)
        return {
            at: [
                sum(w for x, w in rows if x[at] == s) / total if total else Fraction(1, law.vocab_size)
                for s in law.symbols
            ]
            for at in hidden(state)
        }

    return posterior


def hidden(state: State) -> list[int]:
    return [at for at, token in enumerate(state) if token is None]


def heat(p: list[Number], temperature: float) -> list[float]:
    if temperature == 0:
        return [float(i == p.index(max(p))) for i in range(len(p))]
    powers = [float(x) ** (1 / temperature) for x in p]
    return [x / sum(powers) for x in powers]


def score(order: str, p: list[Number], token: int) -> Number:
    if order == "confidence":
        return p[token]
    if order == "top-probability":
        return max(p)
    if order == "margin":
        return max(p) - sorted(p)[-2]
    return round(sum(float(x) * math.log(x) for x in p if x > 0), 12)


def step(
    state: State, posterior: Posterior, temperature: float, order: str, count: int
) -> Iterator[tuple[State, float]]:
    """Every outcome of one step and its probability."""
    p = posterior(state)
    sets = [tuple(hidden(state))] if order == "confidence" else list(itertools.combinations(hidden(state), count))
    if order not in ("random", "confidence"):
        sets = [tuple(sorted(hidden(state), key=lambda at: (-score(order, p[at], 0), at))[:count])]
    for positions in sets:
        for drawn in itertools.product(range(len(p[positions[0]])), repeat=len(positions)):
            token = dict(zip(positions, drawn, strict=True))
            chance = math.prod(heat(p[at], temperature)[token[at]] for at in positions) / len(sets)
            kept = sorted(positions, key=lambda at: (-score(order, p[at], token[at]), at))[:count]
            shown = kept if order == "confidence" else positions
            yield tuple(token[at] if at in shown else t for at, t in enumerate(state)), chance


def recursion(
    posterior: Posterior, length: int, vocab: int, temperature: float, order: str, counts: Sequence[int]
) -> list[float]:
    """The distribution of complete sequences, by following every outcome of every step."""

    def follow(state: State, rest: Sequence[int]) -> dict[State, float]:
        if not rest:
            return {state: 1.0}
        total: dict[State, float] = {}
        merged: dict[State, float] = {}
        for after, chance in step(state, posterior, temperature, order, rest[0]):
            merged[after] = merged.get(after, 0.0) + chance
        for after, chance in merged.items():
            for end, probability in follow(after, rest[1:]).items() if chance else ():
                total[end] = total.get(end, 0.0) + chance * probability
        return total

    result = follow((None,) * length, counts)
    return [result.get(x, 0.0) for x in itertools.product(range(vocab), repeat=length)]


def bernoulli(
    posterior: Posterior, length: int, vocab: int, temperature: float, alphas: Sequence[float]
) -> list[float]:
    """Ancestral reveal from its definition: every hidden position flips its own coin at every step."""
    now: dict[State, float] = {(None,) * length: 1.0}
    for low, high in itertools.pairwise(alphas):
        rate = (high - low) / (1 - low) if low < 1 else 0.0
        after: dict[State, float] = {}
        for state, chance in now.items():
            p = posterior(state)
            options = [
                [(None, 1 - rate), *((i, rate * q) for i, q in enumerate(heat(p[at], temperature)))]
                if token is None
                else [(token, 1.0)]
                for at, token in enumerate(state)
            ]
            for choice in itertools.product(*options):
                key, weight = tuple(t for t, _ in choice), chance * math.prod(q for _, q in choice)
                after[key] = after.get(key, 0.0) + weight
        now = {state: chance for state, chance in after.items() if chance}
    return [now.get(x, 0.0) for x in itertools.product(range(vocab), repeat=length)]
