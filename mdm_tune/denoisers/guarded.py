"""A user's own denoiser: every call is guarded, and every answer looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdm_tune.core.guard import RUN_AGAIN, ForeignFailure, calling, out_of_memory
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits

__all__ = ["OwnDenoiser"]

REMEDY = f"correct it, {RUN_AGAIN}"


class OwnDenoiser:
    """A denoiser of somebody else's as one of ours; its other attributes are still to be had.

    where: what it is, for messages. file: where its code is. It gets copies of what it is asked, so that it may change
    them. Raises ForeignFailure for whatever a call raises, and for an answer that is no logits or predicts the mask.
    """

    def __init__(self, inner: Denoiser, where: str, file: Path | None = None) -> None:
        self.inner, self.where, self.file = inner, where, file
        self.vocab_size, self.mask_id = inner.vocab_size, inner.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        with calling(self.where, REMEDY, file=self.file, let_through=lambda error: out_of_memory(error) is not None):
            answer: Any = self.inner(tokens.clone(), wanted.clone())
        expected = (int(wanted.sum()), self.vocab_size)
        try:
            logits = checked_logits(answer, expected, tokens.device)
        except UnusableOutput as error:
            said = f"it must return one row of float logits per wanted position, {error}"
            raise ForeignFailure(self.where, said, REMEDY) from None
        if self.mask_id < self.vocab_size and bool((logits[:, self.mask_id] > -torch.inf).any()):
            said = f"it must never predict the mask, token {self.mask_id} (its logit is -inf)"
            raise ForeignFailure(self.where, said, REMEDY)
        return logits

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):  # before it is set, as while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)
