"""How well a denoiser predicts given tokens: what the information profile is measured by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.asking import Asker
from mdm_tune.denoisers.base import Denoiser

__all__ = ["Ask", "Predicted", "predictions"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predicted:
    """How well tokens are predicted, and what asking cost.

    losses, entropies (rows, length) float64: -log probability of the token and entropy of its prediction, in nats; NaN
    where no prediction was wanted. denoiser_rows and denoiser_tokens as ``unmask`` counts them.
    """

    losses: Floats
    entropies: Floats
    denoiser_rows: int
    denoiser_tokens: int


class Ask(Protocol):
    """``predictions`` without its denoiser."""

    def __call__(
        self, tokens: Tensor, wanted: Tensor, originals: Tensor, *, names: Tensor, batch: int, where: str
    ) -> Predicted: ...


def predictions(
    denoiser: Denoiser, tokens: Tensor, wanted: Tensor, originals: Tensor, *, names: Tensor, batch: int, where: str
) -> Predicted:
    """Losses and entropies at the wanted positions; what is returned is small whatever the vocabulary.

    tokens, originals (rows, length) int64 and wanted (rows, length) bool, on the denoiser's device; originals are in
    the vocabulary where wanted. names (rows,) and ``where`` are for messages. Raises RunError where the denoiser fails.
    """
    asker = Asker(denoiser, batch)
    losses, entropies = torch.full((2, *tokens.shape), torch.nan, dtype=torch.float64, device=tokens.device)
    for row, at, log_p in asker(tokens, wanted, names, where):
        losses[row, at] = -log_p.gather(1, originals[row, at][:, None]).squeeze(1)
        entropies[row, at] = torch.special.entr(log_p.exp()).sum(1)
    return Predicted(losses.cpu().numpy(), entropies.cpu().numpy(), asker.denoiser_rows, asker.denoiser_tokens)
