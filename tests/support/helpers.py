"""What several tests share: small denoisers that use none of the package's own laws, plans from lists, a fit test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chisquare
from torch import Tensor

from mdm_tune.config.models import Section
from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.sampling.drawing import Order
from mdm_tune.sampling.unmasking import CountPlan

Outcome = tuple[int, ...]

CONTEXT_ORDERS: tuple[Order, ...] = ("top-probability", "margin", "entropy")  # they look at predictions alone


AnySection = TypeVar("AnySection", bound=Section)


def changed(section: AnySection, **changes: Any) -> AnySection:
    """A section of a config with other values, which are checked as those of a file are."""
    return type(section).model_validate({**dict(section), **changes})


def sampler_of(order: str = "random", **section: Any) -> Sampler:
    """The sampler of a config's section, which has batches of 64 rows unless it says others."""
    return Sampler(SamplerConfig(order=order, **{"steps": (1,), "batch": 64, **section}))


def resampled(sampler: Sampler, **changes: Any) -> Sampler:
    """The sampler with other values in its section."""
    return replace(sampler, section=changed(sampler.section, **changes))


def random_law(length: int, vocab_size: int, seed: int, spread: float = 1.5) -> NDArray[np.float64]:
    """A joint table of shape (vocab_size,) * length with full support; ``spread`` says how far it is from uniform."""
    logits = np.random.default_rng(seed).normal(0.0, spread, (vocab_size,) * length)
    weights = np.exp(logits)
    law: NDArray[np.float64] = weights / weights.sum()
    return law


class TableDenoiser:
    """Exact posteriors of a joint table; padding is summed over like a hidden position.

    A row's answer is computed from that row alone, in float64, so it does not depend on the batch.
    """

    def __init__(self, table: NDArray[np.float64]) -> None:
        self.table = table
        self.vocab_size = table.shape[0]
        self.mask_id = table.shape[0]

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        answers = [self.posterior(tokens[row].tolist(), position) for row, position in wanted.nonzero().tolist()]
        return torch.from_numpy(np.array(answers).reshape(-1, self.vocab_size))

    def posterior(self, row: Sequence[int], position: int) -> NDArray[np.float64]:
        """Log probabilities (vocab_size,) of one position given the visible tokens of its row."""
        hidden = [at for at, token in enumerate(row) if not 0 <= token < self.vocab_size]
        index = tuple(slice(None) if at in hidden else token for at, token in enumerate(row))
        seen = self.table[index]
        others = tuple(axis for axis, at in enumerate(hidden) if at != position)
        weights = seen.sum(axis=others)
        with np.errstate(divide="ignore"):
            result: NDArray[np.float64] = np.log(weights / weights.sum())
        return result


class FunctionDenoiser:
    """A denoiser whose logits are one function of (tokens, wanted)."""

    def __init__(self, vocab_size: int, logits: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.vocab_size = vocab_size
        self.mask_id = vocab_size
        self.logits = logits

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        return self.logits(tokens, wanted)


class CountingDenoiser:
    """Passes every call on and keeps what it was asked: ``calls`` is a list of (tokens, wanted)."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.vocab_size = inner.vocab_size
        self.mask_id = inner.mask_id
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        self.calls.append((tokens.clone(), wanted.clone()))
        return self.inner(tokens, wanted)

    @property
    def rows(self) -> int:
        return sum(len(tokens) for tokens, _ in self.calls)

    @property
    def tokens(self) -> int:
        return sum(token >= 0 for tokens, _ in self.calls for token in tokens.flatten().tolist())


def seeds(count: int, first: int = 0) -> NDArray[np.uint64]:
    """``count`` seeds (count,) in a row; neighbouring seeds must be as good as any others."""
    return np.arange(first, first + count, dtype=np.uint64)


def even_counts(length: int, steps: int) -> list[int]:
    """``length`` over ``steps`` as evenly as can be, the larger counts first; at least one each if there are enough."""
    return [length // steps + (step < length % steps) for step in range(steps)]


def plan(*rows: Sequence[Sequence[int]]) -> CountPlan:
    """A CountPlan from one list of blocks per row, each a list of counts; short ones are filled up with zeros."""
    blocks = max(len(row) for row in rows)
    steps = max(len(block) for row in rows for block in row)
    counts = torch.zeros(len(rows), blocks, steps, dtype=torch.int64)
    for r, row in enumerate(rows):
        for b, block in enumerate(row):
            counts[r, b, : len(block)] = torch.tensor(block, dtype=torch.int64)
    return CountPlan(counts)


def same_plan(counts: Sequence[int], rows: int) -> CountPlan:
    """The same counts, one block, for every row."""
    return CountPlan(torch.tensor(counts, dtype=torch.int64).expand(rows, 1, -1))


def tally(tokens: Tensor) -> dict[Outcome, int]:
    """How often each row occurs among tokens (rows, length)."""
    distinct, counts = torch.unique(tokens, dim=0, return_counts=True)
    return {tuple(row): count for row, count in zip(distinct.tolist(), counts.tolist(), strict=True)}


def fit(observed: Mapping[Outcome, int], law: Mapping[Outcome, float]) -> float:
    """p-value of the chi-square test that the counts come from the law; cells that expect fewer than 5 are pooled.

    A count where the law has no probability makes it 0.
    """
    total = sum(observed.values())
    if any(law.get(outcome, 0.0) == 0.0 for outcome in observed):
        return 0.0
    cells = sorted((probability * total, observed.get(outcome, 0)) for outcome, probability in law.items())
    small = sum(expected < 5 for expected, _ in cells)
    while small < len(cells) and 0 < sum(expected for expected, _ in cells[:small]) < 5:
        small += 1
    pooled = [(sum(e for e, _ in cells[:small]), sum(o for _, o in cells[:small])), *cells[small:]]
    expected, counts = np.array([cell for cell in pooled if cell[0] > 0]).T
    return float(chisquare(counts, expected * (total / expected.sum())).pvalue)
