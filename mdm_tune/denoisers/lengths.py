"""Rows of different lengths for denoisers that do not handle padding."""

from __future__ import annotations

import torch
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser

__all__ = ["EqualLengths"]


class EqualLengths:
    """A denoiser that calls another one with rows of one length at a time, without padding."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.vocab_size, self.mask_id = inner.vocab_size, inner.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return logits (wanted.sum(), vocab_size) for tokens (rows, length), with -1 at padding on any side."""
        real = tokens >= 0
        if bool(real.all()):
            return self.inner(tokens, wanted)
        lengths = torch.where(wanted.any(1), real.sum(1), 0)  # 0: a row without a wanted position
        row_of = wanted.nonzero()[:, 0]
        result: Tensor | None = None
        for length in lengths.unique().tolist():
            selected = lengths == length
            if length == 0:
                continue
            is_token = real[selected]
            part = self.inner(tokens[selected][is_token].view(-1, length), wanted[selected][is_token].view(-1, length))
            if result is None:
                result = part.new_empty(len(row_of), part.shape[1])
            result[selected[row_of]] = part
        return torch.empty(0, self.vocab_size, device=tokens.device) if result is None else result
