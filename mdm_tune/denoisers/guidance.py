"""Classifier-free guidance: the prediction with the prompt, pushed away from the one without it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.base import Denoiser

__all__ = ["Guided"]


class Guided:
    """A denoiser whose logits are u + (scale + 1) (c - u), c with the prompt visible and u with it hidden.

    scale: at least 0, where it is the denoiser itself. generated: so many last positions of every row are filled, but
    for ``closing`` ones behind them that end the text; whatever lies before them is the prompt, padding (-1) aside. A
    token that either prediction forbids is forbidden. forwards: sequence forwards per row, for the count of what an
    answer costs.

    Raises InputError on a scale or a number of positions out of range, and when called for a position of the prompt.
    Source: unsupervised classifier-free guidance, arXiv:2410.18514, in the form that LLaDA samples with.
    """

    def __init__(self, denoiser: Denoiser, scale: float, generated: int, closing: int = 0) -> None:
        if not 0 <= scale < math.inf:
            raise InputError(f"the scale of guidance must be at least 0 and finite, got {scale}; 0 is no guidance")
        if generated < 1:
            raise InputError(f"guidance must know how many positions are generated, at least 1, got {generated}")
        self.denoiser, self.scale, self.generated, self.closing = denoiser, scale, generated, closing
        self.forwards = 1 if scale == 0 else 2

    @property
    def vocab_size(self) -> int:
        return self.denoiser.vocab_size

    @property
    def mask_id(self) -> int:
        return self.denoiser.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Logits (wanted.sum(), vocab_size) as of any denoiser, in float32 or more."""
        if self.scale == 0:
            return self.denoiser(tokens, wanted)
        first = max(tokens.shape[1] - self.generated - self.closing, 0)
        if bool(wanted[:, :first].any()):
            raise InputError(
                f"with guidance only the last {self.generated} positions of a row may be masked, got one before them; "
                "set the generated positions to all that are masked, or the scale to 0"
            )
        alone = tokens.clone()
        prompt = alone[:, :first]
        prompt[prompt >= 0] = self.mask_id
        # One after the other: together they would take twice the memory that the batch allows.
        told = self.denoiser(tokens, wanted)
        told = told.to(torch.promote_types(told.dtype, torch.float32))
        untold = self.denoiser(alone, wanted).to(told.dtype)
        # A sum is -inf where one is and the other is no NaN or +inf, which must stay visible.
        forbidden = told + untold == -torch.inf
        return (untold + (self.scale + 1) * (told - untold)).masked_fill(forbidden, -torch.inf)
