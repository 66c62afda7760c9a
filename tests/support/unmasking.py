"""One row filled step by step, as an exact law over tokens and calls: plain recursion, no code of the package's own."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.support.enumeration import Enumeration, Law, Row, fill

Confidence = Mapping[int, float]  # of each candidate position
Choice = Iterator[tuple[Sequence[int], float]]  # positions to reveal, and with which probability
Rule = Callable[[int, int, Confidence], Choice]  # of the block, its step and the candidates


@dataclass(frozen=True)
class Unmasking:
    """How tokens are drawn and ranked; names as in the package, all of it written again."""

    table: NDArray[np.float64]
    order: str
    temperature: float = 1.0
    top_p: float = 1.0
    tempered_scores: bool = False
    ends: Sequence[int] = ()
    end_drawn: bool = True
    end_confident: bool = True
    stop_at_end: bool = False
    known: Enumeration = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", Enumeration(self.table))

    def law(self, rule: Rule, start: Row, blocks: Sequence[int] | None = None) -> Law:
        """Probability of (*tokens, calls)."""
        place = blocks or [0] * len(start)
        generated = [at for at, token in enumerate(start) if token is None]
        states = {(start, 0, 0): 1.0}
        ended: Law = defaultdict(float)
        while states:
            following: dict[tuple[Row, int, int], float] = defaultdict(float)
            for (row, step, calls), weight in states.items():
                hidden = [at for at, token in enumerate(row) if token is None]
                if not hidden:
                    ended[(*(token for token in row if token is not None), calls)] += weight
                    continue
                block = min(place[at] for at in hidden)
                candidates = [at for at in hidden if place[at] == block]
                for tokens, chance in self.drawn(row, candidates):
                    sure = {at: self.confidence(row, at, token) for at, token in tokens.items()}
                    for chosen, share in rule(block, step, sure):
                        new = fill(row, chosen, [tokens[at] for at in chosen])
                        if self.stop_at_end:
                            new = self.stopped(new, generated)
                        same = any(token is None and place[at] == block for at, token in enumerate(new))
                        following[new, step + 1 if same else 0, calls + 1] += weight * chance * share
            states = following
        return dict(ended)

    def drawn(self, row: Row, positions: Sequence[int]) -> Iterator[tuple[dict[int, int], float]]:
        laws = [self.shaped(self.allowed(row, at)) for at in positions]
        if self.temperature == 0:
            best = [self.allowed(row, at) for at in positions]
            yield {at: p.index(max(p)) for at, p in zip(positions, best, strict=True)}, 1.0
            return
        for tokens in itertools.product(range(self.known.vocab_size), repeat=len(positions)):
            chance = math.prod(p[token] for p, token in zip(laws, tokens, strict=True))
            if chance > 0:
                yield dict(zip(positions, tokens, strict=True)), chance

    def allowed(self, row: Row, at: int) -> list[float]:
        p = self.known.conditional(row, at)
        return p if self.end_drawn else without(p, self.ends)

    def shaped(self, p: Sequence[float]) -> list[float]:
        """At the temperature, and cut to the nucleus; temperature 0 is cut as it is predicted."""
        p = normal([x ** (1 / (self.temperature or 1.0)) for x in p])
        kept: list[int] = []
        for token in sorted(range(len(p)), key=lambda token: (-p[token], token)):
            if math.fsum(p[k] for k in kept) < self.top_p - 1e-12:
                kept.append(token)
        return normal([x if token in kept else 0.0 for token, x in enumerate(p)])

    def confidence(self, row: Row, at: int, token: int) -> float:
        p = self.allowed(row, at)
        if self.tempered_scores:
            p = self.shaped(p)
        if not self.end_confident:
            if token in self.ends:
                return -math.inf
            p = without(p, self.ends)
        ranked = sorted(p, reverse=True)
        if self.order == "entropy":
            return round(math.fsum(x * math.log(x) for x in p if x > 0), 9)
        return round(
            {"confidence": p[token], "top-probability": ranked[0], "margin": ranked[0] - ranked[1]}[self.order], 9
        )

    def stopped(self, row: Row, generated: Sequence[int]) -> Row:
        for at in generated:
            if row[at] is None:
                return row
            if row[at] in self.ends:
                return tuple(row[at] if token is None else token for token in row)
        return row


def without(p: Sequence[float], tokens: Sequence[int]) -> list[float]:
    return normal([0.0 if token in tokens else x for token, x in enumerate(p)])


def normal(weights: Sequence[float]) -> list[float]:
    return [weight / math.fsum(weights) for weight in weights]


def ranked(sure: Confidence) -> list[int]:
    """Positions from the most to the least confident, ties to the lowest."""
    return sorted(sure, key=lambda at: (-sure[at], at))


def by_counts(counts: Sequence[Sequence[int]]) -> Rule:
    """The best ``counts[block][step]`` candidates; no count is 0."""
    return lambda block, step, sure: iter([(ranked(sure)[: counts[block][step]], 1.0)])


def by_chance(counts: Sequence[Sequence[int]], temperature: float) -> Rule:
    """As many, drawn one after the other without replacement."""

    def rule(block: int, step: int, sure: Confidence) -> Choice:
        for chosen in itertools.permutations(sure, counts[block][step]):
            left, chance = dict(sure), 1.0
            for at in chosen:
                weights = {other: math.exp(value / temperature) for other, value in left.items()}
                chance *= weights[at] / math.fsum(weights.values())
                del left[at]
            yield chosen, chance

    return rule


def by_threshold(threshold: float) -> Rule:
    def rule(block: int, step: int, sure: Confidence) -> Choice:
        best, *rest = ranked(sure)
        yield [best, *(at for at in rest if sure[at] >= threshold)], 1.0

    return rule


def by_bound(bound: float) -> Rule:
    def rule(block: int, step: int, sure: Confidence) -> Choice:
        for size in range(len(sure), 0, -1):
            entropies = [-sure[at] for at in ranked(sure)[:size]]
            if size == 1 or math.fsum(entropies) - max(entropies) <= bound + 1e-9:
                yield ranked(sure)[:size], 1.0
                return

    return rule


def by_quota(counts: Sequence[Sequence[int]], threshold: float) -> Rule:
    def rule(block: int, step: int, sure: Confidence) -> Choice:
        above = [at for at in sure if sure[at] > threshold]
        yield above if len(above) >= counts[block][step] else ranked(sure)[: counts[block][step]], 1.0

    return rule


def by_cap(counts: Sequence[Sequence[int]], threshold: float) -> Rule:
    """``by_quota`` turned round; the last count holds for all further steps."""

    def rule(block: int, step: int, sure: Confidence) -> Choice:
        best, *rest = ranked(sure)
        above = [best, *(at for at in rest if sure[at] > threshold)]
        yield above[: counts[block][min(step, len(counts[block]) - 1)]], 1.0

    return rule
