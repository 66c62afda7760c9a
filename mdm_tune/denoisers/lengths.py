"""Rows of different lengths for denoisers that do not handle padding."""

from __future__ import annotations

import torch
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser, LinearHead, Parts, linear_head_of, parts_of, to_device

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

    @property
    def parts(self) -> Parts | None:
        """The inner denoiser's parts, also called with rows of one length at a time; None if it has none."""
        inner = parts_of(self.inner)
        return None if inner is None else _EqualLengthParts(inner)


class _EqualLengthParts:
    def __init__(self, inner: Parts) -> None:
        self.inner = inner

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        real = tokens >= 0
        if bool(real.all()):
            return self.inner.states(tokens, row, column)
        lengths = real.sum(1)
        result: Tensor | None = None
        for length in lengths[row].unique().tolist():
            selected, entries = (lengths == length), (lengths[row] == length)
            new_row = (selected.cumsum(0) - 1)[row[entries]]
            new_column = (real.cumsum(1) - 1)[row[entries], column[entries]]
            part = self.inner.states(tokens[selected][real[selected]].view(-1, length), new_row, new_column)
            if result is None:
                result = part.new_empty(len(row), *part.shape[1:])
            result[to_device(entries.nonzero().squeeze(1), result.device)] = part
        assert result is not None  # n is at least 1
        return result

    def head(self, states: Tensor) -> Tensor:
        return self.inner.head(states)

    @property
    def linear(self) -> LinearHead | None:
        return linear_head_of(self.inner)
