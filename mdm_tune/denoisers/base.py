"""The protocol that every model satisfies, and the one of models that can be called in two parts."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut

__all__ = ["Denoiser", "LinearHead", "Parts", "linear_head_of", "parts_of", "to_device"]


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

    A third attribute is optional: ``linear``, a ``LinearHead`` that gives what ``head`` gives, or None. With it a
    vocabulary of thousands of tokens is computed a slice at a time on the CPU, so that a row of logits never exists.
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


@dataclass(frozen=True)
class LinearHead:
    """A head that is one linear map: logits = states @ weight.T + bias, and -inf for the forbidden tokens.

    Attributes:
        weight: (vocab_size, width) of any float type, that of the states.
        bias: (vocab_size,), or None.
        forbidden: (k,) int64 on the CPU, ascending: the tokens that are never predicted, the mask among them if it has
            an id below vocab_size. None if there are none.

    Raises:
        InputError: If the shapes or types do not fit together.
    """

    weight: Tensor
    bias: Tensor | None = None
    forbidden: Tensor | None = None

    def __post_init__(self) -> None:
        size = self.vocab_size
        if self.weight.ndim != 2 or not self.weight.is_floating_point():
            got = f"{tuple(self.weight.shape)} {self.weight.dtype}"
            raise InputError(
                f"the weight of a linear head must be (vocab_size, width) floats, got {got}; give the weight of the "
                "layer that makes logits"
            )
        if self.bias is not None and self.bias.shape != (size,):
            raise InputError(
                f"the bias of a linear head must be ({size},), got {tuple(self.bias.shape)}; leave it out, or give one "
                "number per token"
            )
        if self.forbidden is None:
            return
        if self.forbidden.ndim != 1 or self.forbidden.dtype != torch.int64:
            got = f"{tuple(self.forbidden.shape)} {self.forbidden.dtype}"
            raise InputError(f"the forbidden tokens of a linear head must be (k,) int64, got {got}; give their ids")
        ids = self._ids
        if sorted(set(ids)) != ids or (ids and not 0 <= ids[0] <= ids[-1] < size):
            raise InputError(
                f"the forbidden tokens of a linear head must ascend in [0, {size}), got {cut(ids)}; sort them"
            )

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return self.weight.shape[0]

    @cached_property
    def _ids(self) -> list[int]:
        return [] if self.forbidden is None else self.forbidden.tolist()

    def logits(self, states: Tensor, tokens: slice, out: Tensor) -> Tensor:
        """Write the logits (n, k) of k successive tokens to ``out``, from hidden states (n, width); return them."""
        weight = self.weight[tokens].t()
        if self.bias is None:
            torch.mm(states, weight, out=out)
        else:
            torch.addmm(self.bias[tokens], states, weight, out=out)
        low, high = bisect_left(self._ids, tokens.start), bisect_left(self._ids, tokens.stop)
        if self.forbidden is not None and low < high:
            out.index_fill_(1, self.forbidden[low:high] - tokens.start, -torch.inf)
        return out

    def all_logits(self, states: Tensor) -> Tensor:
        """The logits (n, vocab_size), computed in two slices; for checks."""
        middle = self.vocab_size // 2
        slices = (slice(0, middle), slice(middle, self.vocab_size))
        new = self.weight.new_empty
        return torch.cat([self.logits(states, some, new(len(states), some.stop - some.start)) for some in slices], 1)


def parts_of(denoiser: Denoiser) -> Parts | None:
    """The two parts of a denoiser, its attribute ``parts``; None if it has only one."""
    parts: Parts | None = getattr(denoiser, "parts", None)
    return parts


def linear_head_of(parts: Parts | None) -> LinearHead | None:
    """The linear head of the two parts; None if it is not linear, not known, or not on the CPU."""
    head: LinearHead | None = getattr(parts, "linear", None)
    return head if head is not None and head.weight.is_cpu else None


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. The CPU does not wait for what the device still has to do."""
    if tensor.is_cpu and device.type == "cuda":
        # Only memory that the system cannot move is copied without waiting.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
