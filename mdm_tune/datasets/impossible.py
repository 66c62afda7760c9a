"""Tokens that a model gives probability 0, so that a likelihood is infinite: which one, where, and why."""

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

__all__ = ["Impossible"]

INSIDE = ("denoiser", "inner")  # where wrappers keep what they wrap


@dataclass(frozen=True)
class Impossible:
    """What messages say of a token that a denoiser cannot produce."""

    denoiser: Denoiser
    codec: Codec

    @cached_property
    def never(self) -> frozenset[int]:
        """The tokens that the denoiser excludes whatever is visible, its mask among them."""
        found = {self.denoiser.mask_id}
        for each in _layers(self.denoiser):
            found |= {int(token) for token in getattr(each, "forbidden", ())}
        return frozenset(found)

    def told(self, token: int) -> str:
        """The token with its text, and why it has probability 0."""
        text = self.codec.decode([token]) if 0 <= token < self.denoiser.vocab_size else ""
        name = f"token {token} ({shown(text)})" if text else f"token {token}"
        if token == self.denoiser.mask_id:
            return f"{name}, the mask, which is never predicted: the data hold the mask token itself"
        if token in self.never:
            return f"{name}, which the model never produces (model.never, or no token of its tokenizer)"
        return f"{name}, which the model rules out by what is visible there (its logit is -inf)"

    def refuse(self, split: Split, what: str) -> None:
        """Raise InputError naming the first token to fill in that the model never produces, before anything is paid.

        what: prices these tokens.
        """
        never = torch.tensor(sorted(self.never), dtype=split.originals.dtype)
        bad = split.hidden & torch.isin(split.originals, never)
        if bool(bad.any()):
            row, at = bad.nonzero()[0].tolist()
            raise InputError(
                f"{what} would be infinite for {split.named(row)} of the {split.use} split at position {at}: it has "
                f"{self.told(int(split.originals[row, at]))}; take it out of the data, or judge by another metric"
            )


def _layers(denoiser: object) -> Iterator[object]:
    """The denoiser and what it wraps, from outside in."""
    seen: list[object] = []
    while denoiser is not None and all(denoiser is not each for each in seen):
        seen.append(denoiser)
        denoiser = next((inner for name in INSIDE if (inner := getattr(denoiser, name, None)) is not None), None)
    return iter(seen)
