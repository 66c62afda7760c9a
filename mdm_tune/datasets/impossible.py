"""Messages about data tokens to which a model gives probability 0, so that a likelihood would be infinite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown
from mdm_tune.core.text import Codec
from mdm_tune.datasets.splits import Split
from mdm_tune.denoisers.base import Denoiser

__all__ = ["ImpossibleTokens"]

INNER = ("denoiser", "inner")  # attributes in which wrappers keep the wrapped denoiser


@dataclass(frozen=True)
class ImpossibleTokens:
    """The tokens that a denoiser cannot produce.

    Attributes:
        denoiser: The denoiser, with its wrappers.
        codec: Its codec, for the texts of tokens.
    """

    denoiser: Denoiser
    codec: Codec

    @cached_property
    def never(self) -> frozenset[int]:
        """The tokens that the denoiser excludes in every context, its mask among them."""
        excluded = {self.denoiser.mask_id}
        for layer in _wrapped_denoisers(self.denoiser):
            forbidden = getattr(layer, "forbidden", None)
            if isinstance(forbidden, torch.Tensor):  # in a user's code another thing may have that name
                excluded |= set(forbidden.tolist())
        return frozenset(excluded)

    def describe(self, token: int) -> str:
        """Describe a token, with its text and the reason for its probability 0."""
        text = self.codec.decode([token]) if 0 <= token < self.denoiser.vocab_size else ""
        name = f"token {token} ({shown(text)})" if text else f"token {token}"
        if token == self.denoiser.mask_id:
            return f"{name}, the mask, which is never predicted: the data hold the mask token itself"
        if token in self.never:
            return f"{name}, which the model never produces (model.never, or no token of its tokenizer)"
        return f"{name}, which the model rules out in this context (its logit is -inf)"

    def refuse(self, split: Split, what: str) -> None:
        """Raise InputError if a reference has a token that the model never produces, before any denoiser call.

        Args:
            split: The examples.
            what: The quantity that would be infinite, for the message.
        """
        never_produced = torch.tensor(sorted(self.never), dtype=split.originals.dtype)
        impossible = split.hidden & torch.isin(split.originals, never_produced)
        if bool(impossible.any()):
            row, position = impossible.nonzero()[0].tolist()
            reason = self.describe(int(split.originals[row, position]))
            raise InputError(
                f"{what} would be infinite for {split.named(row)} of the {split.use} split at position {position}: "
                f"it has {reason}; take it out of the data, or judge by another metric"
            )


def _wrapped_denoisers(denoiser: object) -> Iterator[object]:
    """The denoiser and the denoisers that it wraps, from outside to inside."""
    seen: list[object] = []
    while denoiser is not None and all(denoiser is not layer for layer in seen):
        seen.append(denoiser)
        denoiser = next((inner for name in INNER if (inner := getattr(denoiser, name, None)) is not None), None)
    return iter(seen)
