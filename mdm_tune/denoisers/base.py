"""The protocol that every model satisfies."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Denoiser"]


@runtime_checkable
class Denoiser(Protocol):
    """A stateless function from visible tokens to the logits of hidden tokens.

    ``isinstance`` checks only that the names exist. ``unmask`` checks the shape and finiteness of every result.

    Attributes:
        vocab_size: Number of tokens that can be predicted.
        mask_id: The id that stands for "hidden". It is never predicted.
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def mask_id(self) -> int: ...

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the logits of the original token at the wanted positions only.

        Args:
            tokens: (rows, length) int64, ``mask_id`` at hidden positions and -1 at padding.
            wanted: (rows, length) bool, True at the positions to predict.

        Returns:
            Logits (wanted.sum(), vocab_size), row by row, of any float type; -inf forbids a token.
        """
        ...
