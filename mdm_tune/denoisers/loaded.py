"""A denoiser together with what was learned while it was loaded."""

from __future__ import annotations

from dataclasses import dataclass

from mdm_tune.core.text import Clock, Codec
from mdm_tune.denoisers.base import Denoiser

__all__ = ["LoadedModel"]


@dataclass(frozen=True)
class LoadedModel:
    """A model from outside the package, ready to be asked.

    length: the longest sequence that is used, in tokens. notes: what a user should know, each a sentence. doubts:
    those notes that a result keeps as warnings. fingerprint:
    sixteen hex digits; equal means the same weights.
    """

    denoiser: Denoiser
    codec: Codec
    length: int
    notes: tuple[str, ...]
    fingerprint: str
    doubts: tuple[str, ...] = ()

    @property
    def clock(self) -> Clock | None:
        """What the chat template is told of the time, where it may ask for it."""
        found = getattr(self.codec, "clock", None)
        return found if isinstance(found, Clock) else None
