"""A user's own denoiser, guarded: errors are explained, and every result is checked."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdm_tune.core.guard import RUN_AGAIN, ForeignFailure, calling, out_of_memory
from mdm_tune.denoisers.base import Denoiser, LinearHead, Parts
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits

__all__ = ["GuardedDenoiser"]

REMEDY = f"correct it, {RUN_AGAIN}"


class GuardedDenoiser:
    """A denoiser around one that the user wrote. Other attributes are those of the inner denoiser.

    The inner denoiser receives copies of the tensors, so it may change them. A call raises ForeignFailure if the inner
    denoiser raises, returns no logits, or predicts the mask.

    Args:
        inner: The user's denoiser.
        where: Its name in messages.
        file: The file with its code.
    """

    def __init__(self, inner: Denoiser, where: str, file: Path | None = None) -> None:
        self.inner, self.where, self.file = inner, where, file
        self.vocab_size, self.mask_id = inner.vocab_size, inner.mask_id
        with self._calling():
            parts = getattr(inner, "parts", None)
            both = [callable(getattr(parts, name, None)) for name in ("states", "head")]
        # Another thing may happen to have that name.
        self.parts: Parts | None = _GuardedParts(self, parts) if parts is not None and all(both) else None

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        with self._calling():
            result: Any = self.inner(tokens.clone(), wanted.clone())
        return self._checked(result, int(wanted.sum()), tokens.device)

    def _calling(self) -> AbstractContextManager[None]:
        return calling(self.where, REMEDY, file=self.file, let_through=lambda error: out_of_memory(error) is not None)

    def _checked(self, result: Any, positions: int, device: torch.device) -> Tensor:
        """The result of the inner denoiser for so many positions, as logits."""
        try:
            logits = checked_logits(result, (positions, self.vocab_size), device)
        except UnusableOutput as error:
            problem = f"it must return one row of float logits per wanted position, {error}"
            raise ForeignFailure(self.where, problem, REMEDY) from None
        if self.mask_id < self.vocab_size and bool((logits[:, self.mask_id] > -torch.inf).any()):
            problem = f"it must never predict the mask, token {self.mask_id} (its logit is -inf)"
            raise ForeignFailure(self.where, problem, REMEDY)
        return logits

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):  # not set yet while the object is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)


class _GuardedParts:
    """The ``Parts`` of a user's denoiser, guarded alike."""

    def __init__(self, guarded: GuardedDenoiser, inner: Parts) -> None:
        self.guarded, self.inner = guarded, inner

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        with self.guarded._calling():
            states: Any = self.inner.states(tokens.clone(), row.clone(), column.clone())
        if not isinstance(states, Tensor) or states.shape[:1] != row.shape:
            received = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
            problem = (
                f"parts.states must return one hidden state per wanted position, {len(row)} of them, got {received}"
            )
            raise ForeignFailure(self.guarded.where, problem, REMEDY)
        return states.detach()

    def head(self, states: Tensor) -> Tensor:
        with self.guarded._calling():
            result: Any = self.inner.head(states)
        return self.guarded._checked(result, len(states), states.device)

    @property
    def linear(self) -> LinearHead | None:
        """The linear head that the user's code states, if it does; another thing may happen to have that name."""
        guarded = self.guarded
        with guarded._calling():
            head = getattr(self.inner, "linear", None)
        if not isinstance(head, LinearHead):
            return None
        problem = head.problem(guarded.vocab_size, guarded.mask_id)
        if problem is not None:
            raise ForeignFailure(guarded.where, problem, REMEDY)
        return head
