"""The model's own answers at one token per step, by which some metrics judge samples where there are no references."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdm_tune.datasets.splits import Split, Use
from mdm_tune.sampling.unmasking import Unmasked

__all__ = ["Keep", "OwnAnswers", "own_task"]

Record = dict[str, Any]
RowKey = tuple[bytes, int]
Keep = Callable[[str, Callable[[], Record]], Record]


class OwnAnswers:
    """Draws the model's own answer to each example once, when it is first needed.

    Args:
        draw: Fills the rows of a split at one token per step, with the noise of its examples.
        splits: The whole splits.
        keep: Returns the stored record of a split; makes and stores it if there is none. None stores nothing, and only
            the examples that are asked for are drawn.

    Attributes:
        denoiser_rows: Sequence forwards of the answers so far; those of stored answers count as their record says.
        denoiser_tokens: Positions of these forwards.
        seconds: Wall-clock time.
    """

    def __init__(
        self, draw: Callable[[Split], Unmasked], splits: Mapping[Use, Split], keep: Keep | None = None
    ) -> None:
        self._draw, self._splits, self._keep = draw, splits, keep
        self._rows: dict[RowKey, Tensor] = {}
        self.denoiser_rows, self.denoiser_tokens, self.seconds = 0, 0, 0.0

    def of(self, split: Split) -> Split:
        """The examples of a split, with the model's own answers as ``originals``."""
        keys = _keys_of(split)
        lacking = [place for place, key in enumerate(keys) if key not in self._rows]
        if lacking:
            drawn = self._splits[split.use] if self._keep is not None else split.take(lacking)
            self._rows |= dict(zip(_keys_of(drawn), self._answers(drawn), strict=True))
        return replace(split, originals=torch.stack([self._rows[key] for key in keys]))

    def _answers(self, split: Split) -> Tensor:
        """The answers (n, length) of a split, from the storage or drawn now."""

        def made() -> Record:
            began = time.monotonic()
            drawn = self._draw(split)
            cost = [drawn.denoiser_rows, drawn.denoiser_tokens, time.monotonic() - began]
            return {"tokens": _text_of(drawn.tokens), "cost": cost}

        record = made() if self._keep is None else self._keep(own_task(split), made)
        rows, tokens, seconds = record["cost"]
        self.denoiser_rows, self.denoiser_tokens = self.denoiser_rows + rows, self.denoiser_tokens + tokens
        self.seconds += seconds
        return _tokens_of(record["tokens"], len(split.ids))


def _keys_of(split: Split) -> list[RowKey]:
    """What the answer of each row depends on: its tokens and its seed."""
    return [(row.tobytes(), int(seed)) for row, seed in zip(split.start.numpy(), split.seeds, strict=True)]


def own_task(split: Split) -> str:
    """The name of the record of the answers to a split."""
    return f"own answers {split.use} {split.fingerprint}"


def _text_of(tokens: Tensor) -> str:
    """Tokens (n, length) as text for a record."""
    return base64.b64encode(zlib.compress(tokens.cpu().numpy().astype("<i4").tobytes())).decode("ascii")


def _tokens_of(text: str, rows: int) -> Tensor:
    """The tokens (rows, length) int64 of a record."""
    flat = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4").astype(np.int64)
    return torch.from_numpy(flat.reshape(rows, -1))
