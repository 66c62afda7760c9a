"""A denoiser together with what loading it has shown."""

from __future__ import annotations

from dataclasses import dataclass

from mdm_tune.core.text import Clock, Codec
from mdm_tune.denoisers.base import Denoiser

__all__ = ["LoadedModel"]


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model.

    Attributes:
        denoiser: The denoiser.
        codec: From text to tokens and back.
        length: Longest sequence that is used, in tokens.
        notes: Sentences for the user.
        fingerprint: Sixteen hex digits; equal digits mean equal weights.
        doubts: Those notes that a result stores as warnings.
    """

    denoiser: Denoiser
    codec: Codec
    length: int
    notes: tuple[str, ...]
    fingerprint: str
    doubts: tuple[str, ...] = ()

    @property
    def clock(self) -> Clock | None:
        """The time that the chat template receives; None if the codec has no clock."""
        clock = getattr(self.codec, "clock", None)
        return clock if isinstance(clock, Clock) else None
