"""Rows of different lengths for denoisers that do not know what padding is."""

from __future__ import annotations

import torch
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser

__all__ = ["EqualLengths"]


class EqualLengths:
    """Asks a denoiser for rows of one length at a time, without their padding."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.vocab_size, self.mask_id = inner.vocab_size, inner.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Logits (wanted.sum(), vocab_size) of tokens (rows, length), -1 at padding on any side."""
        real = tokens >= 0
        if bool(real.all()):
            return self.inner(tokens, wanted)
        lengths = torch.where(wanted.any(1), real.sum(1), 0)  # 0: a row that asks nothing
        row_of = wanted.nonzero()[:, 0]
        answer: Tensor | None = None
        for length in lengths.unique().tolist():
            mine = lengths == length
            if length == 0:
                continue
            inside = real[mine]
            part = self.inner(tokens[mine][inside].view(-1, length), wanted[mine][inside].view(-1, length))
            if answer is None:
                answer = part.new_empty(len(row_of), part.shape[1])
            answer[mine[row_of]] = part
        return torch.empty(0, self.vocab_size, device=tokens.device) if answer is None else answer
