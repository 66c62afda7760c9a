"""Asking a denoiser: in batches, identical rows once, answers checked and read in float64, the cost counted."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mdm_tune.denoisers.base import Denoiser
from mdm_tune.drawing import log_probabilities
from mdm_tune.errors import RunError

__all__ = ["Asker"]

CALL = 1 << 28  # logits of one call at most, unless a single row has more: 1 GiB in float32
ELEMENTS = 1 << 22  # logits read at a time in float64 (32 MiB), so that large vocabularies do not fill the memory


class Asker:
    """A denoiser with its cost so far.

    batch: rows per call at most; fewer where all their logits together would not fit. denoiser_rows: sequence forwards,
    identical rows of one question counted once. denoiser_tokens: their positions, padding left out.
    """

    def __init__(self, denoiser: Denoiser, batch: int) -> None:
        self.denoiser, self.batch = denoiser, batch
        self.denoiser_rows = 0
        self.denoiser_tokens = 0

    def __call__(
        self, tokens: Tensor, wanted: Tensor, names: Tensor, where: str
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pieces of the answer: rows (n,), positions (n,) and float64 log probabilities (n, vocab) there.

        tokens (rows, length) int64, wanted (rows, length) bool. names (rows,) and ``where`` (such as "at step 3") are
        for messages. Raises RunError when the denoiser returns NaN, +inf, a row without a finite logit, or a wrong
        shape.
        """
        distinct, which = torch.unique(tokens, dim=0, return_inverse=True)
        union = torch.zeros(distinct.shape, dtype=torch.int64, device=distinct.device)
        union = union.index_add(0, which, wanted.long()) > 0
        for part in _parts((union.sum(1) * self.denoiser.vocab_size).tolist(), self.batch):
            asked = union[part]
            logits = self._call(distinct[part], asked)
            place = asked.flatten().cumsum(0).view_as(asked) - 1
            mine = ((which >= part.start) & (which < part.stop)).nonzero().squeeze(1)
            row, position = wanted[mine].nonzero(as_tuple=True)
            source = place[which[mine][row] - part.start, position]
            for piece in torch.arange(len(row), device=row.device).split(max(1, ELEMENTS // logits.shape[1])):
                rows = mine[row[piece]]
                yield rows, position[piece], log_probabilities(logits[source[piece]], names[rows], where)

    def _call(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        with torch.inference_mode():
            logits = self.denoiser(tokens, wanted)
        self.denoiser_rows += len(tokens)
        self.denoiser_tokens += int((tokens >= 0).sum())
        expected = (int(wanted.sum()), self.denoiser.vocab_size)
        if logits.shape != expected:
            raise RunError(
                f"a denoiser must return one row of {self.denoiser.vocab_size} logits per wanted position, expected "
                f"{expected} and got {tuple(logits.shape)}; mend the denoiser"
            )
        return logits


def _parts(sizes: list[int], batch: int) -> Iterator[slice]:
    """Rows in order, at most ``batch`` and at most CALL logits together; sizes: logits of each row."""
    start, total = 0, 0
    for end, size in enumerate(sizes):
        if end > start and (end - start == batch or total + size > CALL):
            yield slice(start, end)
            start, total = end, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))
