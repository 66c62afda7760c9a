"""How much the prediction of each hidden position changes from one call of its row to the next.

The last prediction of every position that is still predicted is kept on the denoiser's device, in the float type of its
logits: positions x vocabulary numbers, which are written over in place.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.core.errors import RunError
from mdm_tune.core.guard import out_of_memory
from mdm_tune.denoisers.base import to_device
from mdm_tune.sampling.large_vocabulary import Scratch, powers

__all__ = ["Stability", "divergence"]

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]
NONE = -1  # a position without a place, or without an earlier prediction


class Stability:
    """The last predictions of the positions of a call of ``unmask``.

    Args:
        shape: (rows, length).
        device: Where the logits are.
        scratch: Buffers that several calls share.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device, scratch: Scratch) -> None:
        self._place = np.full(shape, NONE)  # of each position among the kept predictions
        self._call = np.full(shape, NONE)  # in which the kept prediction was made
        self._now, self._free, self._device = 0, np.zeros(0, dtype=np.int64), device
        self._scratch = scratch
        self._kept: Tensor | None = None  # (places, vocab) logits
        self._totals = torch.zeros(0, dtype=torch.float64, device=device)  # their logsumexp
        self._changes = torch.zeros(0, dtype=torch.float64, device=device)

    def begin(self, wanted: Booleans) -> None:
        """Begin a call that predicts the wanted positions (rows, length), and forget all others."""
        self._now += 1
        gone = ~wanted & (self._place >= 0)
        free = np.concatenate([self._free, self._place[gone]])
        self._place[gone] = self._call[gone] = NONE
        new = wanted & (self._place < 0)
        missing = int(new.sum()) - len(free)
        if missing > 0:
            places = len(self._totals)
            free = np.concatenate([free, np.arange(places, places + missing)])
            more = torch.zeros(missing, dtype=torch.float64, device=self._device)
            self._totals, self._changes = (torch.cat([old, more]) for old in (self._totals, self._changes))
        self._place[new], self._free = free[: int(new.sum())], free[int(new.sum()) :]

    def change(self, rows: Integers, at: Integers, logits: Tensor, best: Tensor) -> Tensor:
        """Compare predictions with the last ones of their positions, and keep them in their place.

        Args:
            rows: (n,) their rows.
            at: (n,) their positions.
            logits: (n, vocab); a piece may come twice in a call, with equal logits.
            best: (n,) the largest logit of each.

        Returns:
            (n,) float64, KL(prediction || last prediction) in nats; infinite where there is no last one.

        Raises:
            RunError: If the memory does not suffice for the kept predictions.
        """
        place, call = self._place[rows, at], self._call[rows, at]
        index = to_device(torch.from_numpy(place), self._device)
        new = call < self._now
        if new.all():
            self._compare(index, call >= 0, logits, best)
        elif new.any():
            some = to_device(torch.from_numpy(new.nonzero()[0]), self._device)
            self._compare(index[some], call[new] >= 0, logits[some], best[some])
        self._call[rows, at] = self._now
        return self._changes[index]

    def _compare(self, index: Tensor, known: Booleans, logits: Tensor, best: Tensor) -> None:
        kept = self._room(logits)
        changes, totals = divergence(logits, best, kept[index], self._totals[index], self._scratch)
        if not known.all():
            changes = torch.where(to_device(torch.from_numpy(known), self._device), changes, torch.inf)
        kept[index], self._totals[index], self._changes[index] = logits, totals, changes

    def _room(self, logits: Tensor) -> Tensor:
        """The kept predictions, with as many places as there are positions."""
        places, vocab = len(self._totals), logits.shape[1]
        if self._kept is None or len(self._kept) < places:
            try:
                room = logits.new_zeros((places, vocab))
            except (MemoryError, RuntimeError) as error:
                failure = out_of_memory(error)
                if failure is None:
                    raise
                size = places * vocab * logits.element_size() / 2**30
                raise RunError(
                    f"klass keeps the last prediction of each hidden position, and the memory does not suffice for "
                    f"{size:.3g} GiB of them ({failure}); use a smaller batch or shorter blocks"
                ) from None
            if self._kept is not None:
                room[: len(self._kept)] = self._kept
            self._kept = room
        return self._kept


def divergence(
    logits: Tensor, best: Tensor, last: Tensor, last_totals: Tensor, scratch: Scratch
) -> tuple[Tensor, Tensor]:
    """KL(p || q) in nats (n,) of the softmaxes p and q of two sets of logits (n, vocab), and the logsumexp (n,) of p's.

    Rounded to 1e-9, so that it does not depend on how the rows are divided. It is infinite where p has a token that q
    rules out.

    Args:
        logits: Logits of p.
        best: (n,) the largest of each row, finite.
        last: Logits of q.
        last_totals: (n,) float64, their logsumexp.
        scratch: Buffers that several calls share.
    """
    best = best.double()
    terms, weights = scratch.like(logits, "change").copy_(logits), scratch.like(logits)
    total = powers(torch.sub(terms, best[:, None], out=weights)).sum(1)
    totals = best + total.log()
    terms.sub_(last).mul_(weights)  # no number where p has no weight and q rules the token out, or both do
    found = terms.nansum(1) / total - totals + last_totals
    return found.clamp_(min=0.0).round(decimals=9), totals
