"""One small law of every kind, and what each is by definition: formulas of probability, sums over all sequences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from mdm_tune.denoisers.analytic import Law, MarkovChain, Mixture, Parity, RepeatedBit, Table


def dirichlet(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])


def small_laws() -> list[Law]:
    holes = np.array([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7], [0.0, 0.0, 1.0]])
    return [
        Table(("aab", "abc", "cba", "bbb", "cab"), (0.1, 0.4, 2.0, 0.3, 0.7)),
        RepeatedBit(4),
        Parity(4),
        Parity(1),
        MarkovChain(dirichlet(1, 3, 3), dirichlet(2, 3), 4),
        MarkovChain(holes, [0.4, 0.6, 0.0], 4),
        MarkovChain.sticky(2, 0.05, 5),
        Mixture(dirichlet(3, 3), dirichlet(4, 3, 4, 2)),
        Mixture([0.3, 0.7], [[[1.0, 0.0], [0.5, 0.5]], [[0.2, 0.8], [0.0, 1.0]]]),
    ]


LAWS = pytest.mark.parametrize("law", small_laws(), ids=lambda law: f"{type(law).__name__}{law.length}")


def formula(law: Law) -> Callable[[tuple[int, ...]], float]:
    """The probability of one sequence, straight from the definition of the law."""
    if isinstance(law, Table):
        table = dict(zip(law.sequences, law.weights, strict=True))
        total = sum(law.weights)
        return lambda x: table.get("".join(law.symbols[i] for i in x), 0.0) / total
    if isinstance(law, RepeatedBit):
        return lambda x: 0.5 * (len(set(x)) == 1)
    if isinstance(law, Parity):
        return lambda x: (sum(x) % 2 == 0) / 2 ** (len(x) - 1)
    if isinstance(law, MarkovChain):
        chain = law
        return lambda x: float(chain.start[x[0]] * math.prod(chain.transition[a, b] for a, b in itertools.pairwise(x)))
    assert isinstance(law, Mixture)
    mixture = law
    return lambda x: sum(
        float(w) * math.prod(float(c[at, token]) for at, token in enumerate(x))
        for w, c in zip(mixture.weights, mixture.components, strict=True)
    )


def joint(law: Law) -> dict[tuple[int, ...], float]:
    value = formula(law)
    return {x: value(x) for x in itertools.product(range(law.vocab_size), repeat=law.length)}


def contexts(law: Law) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(law.vocab_size + 1), repeat=law.length)))


def subset_entropy(law: Law, positions: tuple[int, ...]) -> float:
    marginal: dict[tuple[int, ...], float] = {}
    for x, p in joint(law).items():
        key = tuple(x[at] for at in positions)
        marginal[key] = marginal.get(key, 0.0) + p
    return -sum(p * math.log(p) for p in marginal.values() if p > 0)
