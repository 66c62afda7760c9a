"""The laws of the samplers by plain recursion over positions and tokens, sharing no code with the package."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Row = tuple[int | None, ...]  # None where hidden
Law = dict[tuple[int, ...], float]


class Enumeration:
    """One law of sequences and the samplers that fill a masked row of it.

    ``score_temperature`` and ``order`` of the methods may be set wrongly on purpose, to see that a test tells the
    difference.
    """

    def __init__(self, table: NDArray[np.float64]) -> None:
        self.law: Law = {tuple(map(int, index)): float(p) for index, p in np.ndenumerate(table)}
        self.length, self.vocab_size = table.ndim, table.shape[0]
        self.start: Row = (None,) * self.length
        self.known: dict[tuple[Row, int], list[float]] = {}

    def conditional(self, row: Row, position: int) -> list[float]:
        """Probabilities of the tokens at a hidden position, given the visible ones."""
        if (row, position) not in self.known:
            weights = [0.0] * self.vocab_size
            for outcome, probability in self.law.items():
                if all(seen is None or seen == token for seen, token in zip(row, outcome, strict=True)):
                    weights[outcome[position]] += probability
            self.known[row, position] = [weight / math.fsum(weights) for weight in weights]
        return self.known[row, position]

    def tempered(self, row: Row, position: int, temperature: float) -> list[float]:
        """The conditional with every probability raised to 1 / temperature."""
        weights = [p ** (1 / temperature) for p in self.conditional(row, position)]
        return [weight / math.fsum(weights) for weight in weights]

    def tokens(self, row: Row, positions: Sequence[int], temperature: float) -> Iterator[tuple[tuple[int, ...], float]]:
        """All tokens that could be drawn independently at the positions, with their probability."""
        tables = [self.tempered(row, position, temperature) for position in positions]
        for drawn in itertools.product(range(self.vocab_size), repeat=len(positions)):
            probability = math.prod(table[token] for table, token in zip(tables, drawn, strict=True))
            if probability > 0:
                yield drawn, probability

    def fixed(self, counts: Sequence[int], order: str, temperature: float = 1.0, score_temperature: float = 1.0) -> Law:
        """The law of the sampler that reveals fixed counts."""
        rows = {self.start: 1.0}
        for count in counts:
            following: dict[Row, float] = defaultdict(float)
            for row, weight in rows.items():
                for filled, probability in self.revealed(row, count, order, temperature, score_temperature):
                    following[filled] += weight * probability
            rows = following
        return {tuple(token for token in row if token is not None): p for row, p in rows.items()}

    def revealed(
        self, row: Row, count: int, order: str, temperature: float, score_temperature: float
    ) -> Iterator[tuple[Row, float]]:
        """Every way in which one step can fill ``count`` positions of the row."""
        hidden = [position for position, token in enumerate(row) if token is None]
        if order == "random":
            subsets = list(itertools.combinations(hidden, count))
            for subset in subsets:
                for drawn, probability in self.tokens(row, subset, temperature):
                    yield fill(row, subset, drawn), probability / len(subsets)
        elif order == "confidence":
            for drawn, probability in self.tokens(row, hidden, temperature):
                candidate = dict(zip(hidden, drawn, strict=True))
                sure = {at: self.tempered(row, at, score_temperature)[token] for at, token in candidate.items()}
                chosen = sorted(hidden, key=lambda at: (-sure[at], at))[:count]
                yield fill(row, chosen, [candidate[at] for at in chosen]), probability
        else:
            chosen = sorted(hidden, key=lambda at: (-self.context_score(row, at, order), at))[:count]
            for drawn, probability in self.tokens(row, chosen, temperature):
                yield fill(row, chosen, drawn), probability

    def context_score(self, row: Row, position: int, order: str) -> float:
        """How sure the prediction at a position is, larger first, whatever token will be drawn."""
        ranked = sorted(self.conditional(row, position), reverse=True)
        if order == "top-probability":
            return ranked[0]
        if order == "margin":
            return ranked[0] - ranked[1]
        return math.fsum(p * math.log(p) for p in ranked if p > 0)

    def ancestral(self, alphas: Sequence[float], temperature: float = 1.0) -> Law:
        """The law of independent reveal; rows that the law of data gives no probability are left out."""
        rows = {self.start: 1.0}
        for before, after in itertools.pairwise(alphas):
            rate = (after - before) / (1 - before)
            following: dict[Row, float] = defaultdict(float)
            for row, weight in rows.items():
                for subset, chance in reveals(row, rate):
                    for drawn, probability in self.tokens(row, subset, temperature):
                        following[fill(row, subset, drawn)] += weight * chance * probability
            rows = {row: weight for row, weight in following.items() if weight > 0 and self.possible(row)}
        return {tuple(token for token in row if token is not None): p for row, p in rows.items()}

    def possible(self, row: Row) -> bool:
        """Whether some outcome of positive probability agrees with the visible tokens."""
        return any(
            probability > 0 and all(seen is None or seen == token for seen, token in zip(row, outcome, strict=True))
            for outcome, probability in self.law.items()
        )

    def nelbo_fixed(self, outcome: Sequence[int], counts: Sequence[int], row: Row | None = None) -> float:
        """Mean of -log p of the outcome along a random order, revealing fixed counts of its tokens."""
        if not counts:
            return 0.0
        row = self.start if row is None else row
        hidden = [position for position, token in enumerate(row) if token is None]
        subsets = list(itertools.combinations(hidden, counts[0]))
        return math.fsum(
            self.cost(row, subset, outcome)
            + self.nelbo_fixed(outcome, counts[1:], fill(row, subset, [outcome[at] for at in subset]))
            for subset in subsets
        ) / len(subsets)

    def nelbo_ancestral(self, outcome: Sequence[int], alphas: Sequence[float], row: Row | None = None) -> float:
        """The same mean under independent reveal."""
        if len(alphas) == 1:
            return 0.0
        row = self.start if row is None else row
        rate = (alphas[1] - alphas[0]) / (1 - alphas[0])
        return math.fsum(
            chance
            * (
                self.cost(row, subset, outcome)
                + self.nelbo_ancestral(outcome, alphas[1:], fill(row, subset, [outcome[at] for at in subset]))
            )
            for subset, chance in reveals(row, rate)
        )

    def cost(self, row: Row, positions: Sequence[int], outcome: Sequence[int]) -> float:
        """-log p of the outcome's tokens at the positions, in nats."""
        return -math.fsum(math.log(self.conditional(row, position)[outcome[position]]) for position in positions)


def fill(row: Row, positions: Sequence[int], tokens: Sequence[int]) -> Row:
    """The row with these tokens at these positions."""
    new = dict(zip(positions, tokens, strict=True))
    return tuple(new.get(position, token) for position, token in enumerate(row))


def reveals(row: Row, rate: float) -> Iterator[tuple[tuple[int, ...], float]]:
    """All subsets of the hidden positions, with the probability that exactly they are revealed at this rate."""
    hidden = [position for position, token in enumerate(row) if token is None]
    for size in range(len(hidden) + 1):
        chance = rate**size * (1 - rate) ** (len(hidden) - size)
        if chance > 0:
            for subset in itertools.combinations(hidden, size):
                yield subset, chance


def total_variation(first: Law, second: Law) -> float:
    """Half the summed absolute difference of two laws."""
    return 0.5 * math.fsum(abs(first.get(x, 0.0) - second.get(x, 0.0)) for x in first.keys() | second.keys())
