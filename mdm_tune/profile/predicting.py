"""How well a denoiser predicts given tokens: what the information profile is measured by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.asking import Asker
from mdm_tune.denoisers.base import Denoiser

__all__ = ["Ask", "Predicted", "Question", "predictions"]

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


@dataclass(frozen=True)
class Question:
    """Tokens (rows, length) int64 and the positions where predictions are wanted (rows, length) bool.

    originals (rows, length): the tokens to predict, in the vocabulary where wanted. names (rows,) and ``where`` (such
    as "with 3 tokens visible") are for messages.
    """

    tokens: Tensor
    wanted: Tensor
    originals: Tensor
    names: Tensor
    where: str


class Ask(Protocol):
    """``predictions`` of one question after the other, without their denoiser; questions are made when needed."""

    def __call__(self, questions: Iterable[Question], *, batch: int) -> Iterator[Predicted]: ...


def predictions(denoiser: Denoiser, asked: Question, *, batch: int) -> Predicted:
    """Losses and entropies at the wanted positions; what is returned is small whatever the vocabulary.

    The question's tensors are on the denoiser's device. Raises RunError where the denoiser fails.
    """
    asker = Asker(denoiser, batch)
    shape, device = asked.tokens.shape, asked.tokens.device
    losses, entropies = torch.full((2, *shape), torch.nan, dtype=torch.float64, device=device)
    for row, at, log_p in asker(asked.tokens, asked.wanted, asked.names, asked.where):
        losses[row, at] = -log_p.gather(1, asked.originals[row, at][:, None]).squeeze(1)
        entropies[row, at] = torch.special.entr(log_p.exp()).sum(1)
    return Predicted(
        losses=losses.cpu().numpy(),
        entropies=entropies.cpu().numpy(),
        denoiser_rows=asker.denoiser_rows,
        denoiser_tokens=asker.denoiser_tokens,
    )
