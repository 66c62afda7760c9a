"""Classifier-free guidance: the prediction with the prompt, pushed away from the one without it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.base import Denoiser, Parts, parts_of

__all__ = ["Guided"]


class Guided:
    """A denoiser whose logits are u + (scale + 1) (c - u).

    c are the logits with the prompt visible, u those with the prompt hidden. A token that either prediction forbids is
    forbidden. A row consists of padding (-1), the prompt, ``generated`` positions and ``closing`` tokens.
    A call for a position of the prompt raises InputError.

    Source: unsupervised classifier-free guidance, arXiv:2410.18514, in the form that LLaDA uses.

    Args:
        denoiser: The denoiser to guide.
        scale: Strength, at least 0; 0 is the denoiser itself.
        generated: Number of positions to fill per row, at least 1.
        closing: Number of tokens after them that end the text.

    Attributes:
        forwards: Sequence forwards per row: 1 without guidance, 2 with it.

    Raises:
        InputError: If scale or generated is out of range.
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
        """Return logits (wanted.sum(), vocab_size) as any denoiser does, in float32 or float64."""
        if self.scale == 0:
            return self.denoiser(tokens, wanted)
        without_prompt = self.without_prompt(tokens, bool(wanted[:, : self.first_generated(tokens)].any()))
        # Two calls: one call for both would take twice the memory that the batch allows.
        return self.combined(self.denoiser(tokens, wanted), self.denoiser(without_prompt, wanted))

    @property
    def parts(self) -> Parts | None:
        """The guided denoiser in two parts; None if the denoiser itself has only one."""
        inner = parts_of(self.denoiser)
        return inner if inner is None or self.scale == 0 else _GuidedParts(self, inner)

    def first_generated(self, tokens: Tensor) -> int:
        """The first column that is generated."""
        return max(tokens.shape[1] - self.generated - self.closing, 0)

    def without_prompt(self, tokens: Tensor, outside: bool) -> Tensor:
        """The tokens with the prompt hidden; raises InputError if a position outside the generated ones is wanted."""
        if outside:
            raise InputError(
                f"with guidance only the last {self.generated} positions of a row may be masked, got one before them; "
                "set the generated positions to all that are masked, or the scale to 0"
            )
        without_prompt = tokens.clone()
        prompt = without_prompt[:, : self.first_generated(tokens)]
        prompt[prompt >= 0] = self.mask_id
        return without_prompt

    def combined(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """Guided logits from those with and without the prompt, each (n, vocab_size)."""
        conditional = conditional.to(torch.promote_types(conditional.dtype, torch.float32))
        unconditional = unconditional.to(conditional.dtype)
        # The sum is -inf if one logit is and the other is finite or -inf. NaN and +inf must stay visible.
        forbidden = conditional + unconditional == -torch.inf
        return (unconditional + (self.scale + 1) * (conditional - unconditional)).masked_fill(forbidden, -torch.inf)


class _GuidedParts:
    """``Parts`` whose hidden states are those with and without the prompt, side by side."""

    def __init__(self, guided: Guided, inner: Parts) -> None:
        self.guided, self.inner = guided, inner

    def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
        without_prompt = self.guided.without_prompt(tokens, bool((column < self.guided.first_generated(tokens)).any()))
        return torch.stack([self.inner.states(each, row, column) for each in (tokens, without_prompt)], dim=1)

    def head(self, states: Tensor) -> Tensor:
        return self.guided.combined(self.inner.head(states[:, 0]), self.inner.head(states[:, 1]))
