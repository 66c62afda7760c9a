"""What every model is to the rest of the package."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Denoiser"]


@runtime_checkable
class Denoiser(Protocol):
    """A stateless function from visible tokens to logits of the hidden ones.

    vocab_size: number of tokens that can be predicted. mask_id: the id that stands for "hidden", never predicted.
    ``isinstance`` checks only that the names exist; ``unmask`` checks shape and finiteness of every answer.
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def mask_id(self) -> int: ...

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Logits of the original token at the wanted positions only.

        tokens (rows, length) int64: ``mask_id`` at hidden positions, -1 at padding; wanted (rows, length) bool.
        Returns (wanted.sum(), vocab_size), row by row, any float type; -inf forbids a token.
        """
        ...
