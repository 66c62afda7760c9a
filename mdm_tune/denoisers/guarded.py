"""A user's own denoiser, guarded: errors are explained, and every result is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdm_tune.core.guard import RUN_AGAIN, ForeignFailure, calling, out_of_memory
from mdm_tune.denoisers.base import Denoiser
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

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        with calling(self.where, REMEDY, file=self.file, let_through=lambda error: out_of_memory(error) is not None):
            result: Any = self.inner(tokens.clone(), wanted.clone())
        expected = (int(wanted.sum()), self.vocab_size)
        try:
            logits = checked_logits(result, expected, tokens.device)
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
