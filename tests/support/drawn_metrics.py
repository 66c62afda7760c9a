"""Metrics of samples by a rule that a test gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.statistics import Bounds
from mdm_tune.core.types import Direction
from mdm_tune.datasets.splits import Split
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.sampling.unmasking import Unmasked

Values = NDArray[np.float64]


@dataclass(frozen=True)
class DrawnMetric:
    """A metric of samples. rule: one value per row; figures: those of diversity by name, from tokens (n, length)."""

    rule: Callable[[Unmasked], Tensor]
    direction: Direction = "minimize"
    bounds: Bounds | None = None
    figures: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    name: str = "drawn"
    label: str = "drawn"
    needs_originals: bool = False

    def values(self, result: Unmasked, split: Split) -> Values:
        return self.rule(result).double().numpy()

    def diversity(self, tokens: Tensor, split: Split) -> dict[str, Values]:
        return {name: figure(tokens).double().numpy() for name, figure in self.figures.items()}

    def ceiling(self, split: Split) -> None:
        return None


def surprise(law: MarkovChain, **figures: Callable[[Tensor], Tensor]) -> DrawnMetric:
    """Nats of a drawn row under a law."""
    return DrawnMetric(lambda result: -law.log_prob(result.tokens), figures=figures)


def changes(tokens: Tensor) -> Tensor:
    """The share of neighbours that differ, in each row."""
    return (tokens[:, 1:] != tokens[:, :-1]).double().mean(1)
