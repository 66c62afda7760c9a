"""The protocol that every model satisfies, and the one of models that can be called in two parts."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Denoiser", "Parts", "parts_of", "to_device"]


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


class Parts(Protocol):
    """A denoiser in two parts: from tokens to hidden states, and from these to logits.

    ``head(states(...))`` equals the denoiser's own result. The head is applied to some positions at a time, so that the
    logits of all positions never exist at once. The arguments of ``states`` lie on the CPU, so that what depends on
    padding or on the number of positions is known without waiting for the device.
    """

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the hidden states of the wanted positions only.

        Args:
            tokens: (rows, length) int64 on the CPU, ``mask_id`` at hidden positions and -1 at padding.
            row: (n,) int64 on the CPU, the row of each wanted position, ascending; n is at least 1.
            column: (n,) int64 on the CPU, its column, ascending within a row.

        Returns:
            Hidden states (n, ...) on the model's device.
        """
        ...

    def head(self, states: Tensor) -> Tensor:
        """Return logits (n, vocab_size), of any float type, from hidden states (n, ...)."""
        ...


def parts_of(denoiser: Denoiser) -> Parts | None:
    """The two parts of a denoiser, its attribute ``parts``; None if it has only one."""
    parts: Parts | None = getattr(denoiser, "parts", None)
    return parts


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. The CPU does not wait for what the device still has to do."""
    if tensor.is_cpu and device.type == "cuda":
        # Only memory that the system cannot move is copied without waiting.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
