"""The protocol that every model satisfies, and the one of models that can be called in two parts."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut

__all__ = ["FLOATS", "Denoiser", "LinearHead", "Parts", "linear_head_of", "parts_of", "to_device"]

FLOATS = frozenset((torch.float64, torch.float32, torch.bfloat16, torch.float16))  # of logits


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
        weight: (vocab_size, width) of float32, bfloat16, float16 or float64, the type of the states. In float64 whole
            rows of logits are computed.
        bias: (vocab_size,) of the same type, or None.
        forbidden: (k,) int64 on the CPU, ascending: the tokens that are never predicted, the mask among them if it has
            an id below vocab_size. None if there are none.

    Raises:
        InputError: If the shapes or types do not fit together.
    """

    weight: Tensor
    bias: Tensor | None = None
    forbidden: Tensor | None = None

    def __post_init__(self) -> None:
        weight, bias, forbidden = self.weight, self.bias, self.forbidden
        if not _is_dense(weight) or weight.ndim != 2 or weight.dtype not in FLOATS or not weight.numel():
            raise InputError(
                f"the weight of a linear head must be a dense float tensor (vocab_size, width), got {_kind(weight)}; "
                "give the weight of the layer that makes logits"
            )
        size = self.vocab_size
        if bias is not None and (not _is_dense(bias) or bias.shape != (size,) or bias.dtype != weight.dtype):
            raise InputError(
                f"the bias of a linear head must be a tensor ({size},) {weight.dtype}, as its weight, got "
                f"{_kind(bias)}; leave it out, or give one number per token"
            )
        if forbidden is None:
            return
        if not _is_dense(forbidden) or forbidden.ndim != 1 or forbidden.dtype != torch.int64 or not forbidden.is_cpu:
            raise InputError(
                f"the forbidden tokens of a linear head must be a tensor (k,) int64 on the CPU, got "
                f"{_kind(forbidden)}; give torch.tensor of their ids"
            )
        ids = self._ids
        if sorted(set(ids)) != ids or (ids and not 0 <= ids[0] <= ids[-1] < size):
            raise InputError(
                f"the forbidden tokens of a linear head must ascend in [0, {size}), each once, got {cut(ids)}; give "
                "ids of the vocabulary, sorted"
            )

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return self.weight.shape[0]

    def problem(self, vocab_size: int, mask_id: int) -> str | None:
        """Why it cannot be the head of such a denoiser, the rule and what it has; None if it can."""
        if self.vocab_size != vocab_size:
            return f"parts.linear must have one row of weights per token, {vocab_size} of them, got {self.vocab_size}"
        if mask_id < vocab_size and mask_id not in self._ids:
            return f"parts.linear must forbid the mask, token {mask_id}, got {cut(self._ids)} as its forbidden tokens"
        return None

    @cached_property
    def _ids(self) -> list[int]:
        return [] if self.forbidden is None else self.forbidden.tolist()

    def logits(self, states: Tensor, tokens: slice, out: Tensor) -> Tensor:
        """Write the logits (n, k) of k successive tokens to ``out``, from hidden states (n, width); return them.

        The caller switches gradients off.
        """
        weight = self.weight[tokens].t()
        if self.bias is None:
            torch.mm(states, weight, out=out)
        else:
            torch.addmm(self.bias[tokens], states, weight, out=out)
        low, high = bisect_left(self._ids, tokens.start), bisect_left(self._ids, tokens.stop)
        if self.forbidden is not None and low < high:
            out.index_fill_(1, self.forbidden[low:high] - tokens.start, -torch.inf)
        return out

    @torch.no_grad()
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
    """The linear head of the two parts; None if they state none, or if it is not on the CPU.

    Another thing may happen to have the name ``linear``, such as a layer.
    """
    head = getattr(parts, "linear", None)
    return head if isinstance(head, LinearHead) and head.weight.is_cpu else None


def _is_dense(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_nested


def _kind(value: object) -> str:
    """A tensor by its shape and type, another thing by its class."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)} {value.dtype}{'' if _is_dense(value) else ', not dense'}"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. The CPU does not wait for what the device still has to do."""
    if tensor.is_cpu and device.type == "cuda":
        # Only memory that the system cannot move is copied without waiting.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
