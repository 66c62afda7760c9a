"""Calls of a denoiser in batches: identical rows once, results checked, and their cost counted.

``BatchedDenoiser`` returns logits. ``predictions`` returns how well known tokens are predicted; the
information profile is measured with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from mdm_tune.core.errors import RunError
from mdm_tune.core.guard import ForeignFailure, out_of_memory
from mdm_tune.core.messages import quantity
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits

__all__ = [
    "BatchedDenoiser",
    "Predicted",
    "PredictionRequest",
    "Predictor",
    "best_logits",
    "predictions",
    "working_batch",
]

Floats = NDArray[np.float64]

CALL = 1 << 28  # most logits of one call, unless a single row has more: 1 GiB in float32
ELEMENTS = 1 << 19  # logits converted to float64 at a time: 4 MiB, which the cache of a processor holds

# The batch that fitted in memory after a larger one did not. Keyed by identity: equal denoisers may lie on different
# devices.
_working = WeakIdKeyDictionary()


def working_batch(denoiser: Denoiser, batch: int) -> int:
    """The rows per call that fit in memory: ``batch``, or fewer if this process saw larger calls fail.

    It falls below ``batch`` only after a call with a halved batch has succeeded. A denoiser without weak references
    is not remembered.
    """
    with contextlib.suppress(TypeError):
        return min(batch, int(_working.get(denoiser, batch)))
    return batch


class BatchedDenoiser:
    """A denoiser that is called in batches, with a count of what the calls cost.

    A denoiser may have an attribute ``forwards``, the number of forwards that it makes for one row (guidance makes
    two). The counts are multiplied by it.

    Attributes:
        denoiser: The denoiser that is called.
        batch: Most rows per call. A call has fewer rows if their logits would be too many. The batch is halved for
            good if the memory does not suffice, see ``working_batch``.
        denoiser_rows: Sequence forwards so far; identical rows of one request count once.
        denoiser_tokens: Positions of these rows, without padding.
    """

    def __init__(self, denoiser: Denoiser, batch: int) -> None:
        self.denoiser, self.batch = denoiser, batch
        self.denoiser_rows = 0
        self.denoiser_tokens = 0

    def __call__(
        self, tokens: Tensor, wanted: Tensor, names: Tensor, where: str
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the predictions in pieces: rows (n,), positions (n,) and logits (n, vocab).

        Args:
            tokens: (rows, length) int64, as for any denoiser.
            wanted: (rows, length) bool, True at the positions to predict.
            names: (rows,) row numbers for messages.
            where: Text for messages, such as "at step 3".

        Raises:
            RunError: If the denoiser returns a wrong shape, or if the memory does not suffice for a single row. The
                values are checked by ``best_logits``.
        """
        first, distinct_of = _distinct_rows(tokens)
        if len(first) == len(tokens):  # no two rows are equal: the logits need no copy
            for part, logits in self._logits_by_call(tokens, wanted, _RowNames(names, distinct_of, where)):
                row, position = wanted[part].nonzero(as_tuple=True)
                size = max(1, ELEMENTS // logits.shape[1])
                for piece in (slice(start, start + size) for start in range(0, len(row), size)):
                    yield row[piece] + part.start, position[piece], logits[piece]
            return
        distinct = tokens[first]
        union = torch.zeros(distinct.shape, dtype=torch.int64, device=distinct.device)
        union = union.index_add(0, distinct_of, wanted.long()) > 0
        for part, logits in self._logits_by_call(distinct, union, _RowNames(names, distinct_of, where)):
            wanted_here = union[part]
            answer_row = wanted_here.flatten().cumsum(0).view_as(wanted_here) - 1
            members = ((distinct_of >= part.start) & (distinct_of < part.stop)).nonzero().squeeze(1)
            row, position = wanted[members].nonzero(as_tuple=True)
            source = answer_row[distinct_of[members][row] - part.start, position]
            for indices in torch.arange(len(row), device=row.device).split(max(1, ELEMENTS // logits.shape[1])):
                yield members[row[indices]], position[indices], logits[source[indices]]

    def _logits_by_call(self, tokens: Tensor, wanted: Tensor, row_names: _RowNames) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of rows, in order, with their logits. A call that does not fit in memory is halved."""
        sizes = (wanted.sum(1) * self.denoiser.vocab_size).tolist()
        start, batch = 0, working_batch(self.denoiser, self.batch)
        while start < len(sizes):
            part = slice(start, _call_end(sizes, start, batch))
            failure = None
            try:
                logits = self._call_once(tokens[part], wanted[part])
            except ForeignFailure as error:
                raise error.located(row_names.describe(part)) from error.__cause__
            except UnusableOutput as error:
                raise RunError(
                    f"a denoiser must return one row of {self.denoiser.vocab_size} float logits per wanted position, "
                    f"{error} {row_names.describe(part)}; correct the denoiser"
                ) from None
            except (MemoryError, RuntimeError) as error:
                failure = out_of_memory(error)
                if failure is None:
                    raise
            if failure is not None:  # outside the handler, where the error still holds the failed call's tensors
                batch = _half_batch(part.stop - start, tokens.shape[1], failure)
                continue
            if batch < self.batch:  # stored after success only: a row that is too long says nothing of shorter rows
                self.batch = batch
                with contextlib.suppress(TypeError):
                    _working[self.denoiser] = batch
            yield part, logits
            start = part.stop

    def _call_once(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        with torch.inference_mode():
            logits = self.denoiser(tokens, wanted)
        forwards: int = getattr(self.denoiser, "forwards", 1)
        self.denoiser_rows += forwards * len(tokens)
        self.denoiser_tokens += forwards * int((tokens >= 0).sum())
        return checked_logits(logits, (int(wanted.sum()), self.denoiser.vocab_size), tokens.device)


def best_logits(logits: Tensor, rows: Tensor, where: str) -> Tensor:
    """Return the largest logit (n,) of each row of logits (n, vocab).

    Args:
        logits: (n, vocab) of any float type.
        rows: (n,) row numbers for the message.
        where: Text for the message, such as "at step 3".

    Raises:
        RunError: If a row has NaN, +inf, or no finite logit.
    """
    best = logits.amax(1)  # NaN if any logit is NaN; -inf if no logit is finite
    if float((best * 0).sum()) != 0:  # NaN if one of them is not finite
        bad = ~torch.isfinite(best)
        row = int(rows[bad.nonzero()[0, 0]])
        kind = {"nan": "NaN", "inf": "+inf", "-inf": "no finite logit"}[str(float(best[bad][0]))]
        raise RunError(
            f"the denoiser returned {kind} for row {row} {where}; each wanted position needs at least one "
            "finite logit and neither NaN nor +inf: check the checkpoint and its dtype"
        )
    return best


def _distinct_rows(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Find equal rows of tokens (rows, length).

    Returns:
        The first (distinct,) of each set of equal rows, ascending, and the index (rows,) of each row among them.
    """
    rows, length = tokens.shape
    all_rows = torch.arange(rows, device=tokens.device)
    if rows == 1:
        return all_rows, all_rows
    hashes, same = (tokens * _hash_factors(length).to(tokens.device)).sum(1).unique(return_inverse=True)
    if len(hashes) == rows:
        return all_rows, all_rows
    first = torch.full((len(hashes),), rows, device=tokens.device).scatter_reduce(0, same, all_rows, "amin")
    if not torch.equal(tokens[first][same], tokens):  # two different rows have the same hash by chance
        distinct, same = torch.unique(tokens, dim=0, return_inverse=True)
        first = torch.full((len(distinct),), rows, device=tokens.device).scatter_reduce(0, same, all_rows, "amin")
    first, order = first.sort()
    return first, order.argsort()[same]


@cache
def _hash_factors(length: int) -> Tensor:
    """Odd factors (length,) int64; the sum of their products with a row's tokens is the row's hash."""
    return torch.from_numpy(2 * np.random.default_rng(0).integers(0, 1 << 62, length) + 1)


@dataclass(frozen=True)
class _RowNames:
    """Row numbers for messages.

    Attributes:
        names: (rows,) number of each row.
        distinct_of: (rows,) index of each row among the distinct rows.
        where: Text that follows the row numbers, such as "at step 3".
    """

    names: Tensor
    distinct_of: Tensor
    where: str

    def describe(self, part: slice) -> str:
        """Describe distinct rows, for example ``on row 7 at step 3`` or ``on rows 0 to 7 at step 3``."""
        rows = self.names[(self.distinct_of >= part.start) & (self.distinct_of < part.stop)].tolist()
        first, last = min(rows, default=0), max(rows, default=0)
        return f"on {f'row {first}' if first == last else f'rows {first} to {last}'} {self.where}"


def _call_end(sizes: list[int], start: int, batch: int) -> int:
    """The row after the last one of a call from ``start`` on: at most ``batch`` rows and CALL logits.

    sizes: the logits of each row.
    """
    stop, total = start + 1, sizes[start]
    while stop < len(sizes) and stop - start < batch and total + sizes[stop] <= CALL:
        total += sizes[stop]
        stop += 1
    return stop


def _half_batch(rows: int, length: int, failure: str) -> int:
    """Half of ``rows``, rounded up, after a call of that many rows did not fit in memory.

    Raises RunError if the call had a single row.
    """
    if rows == 1:
        raise RunError(
            f"the memory does not suffice for one sequence of {quantity(length, 'token')} ({failure}); use shorter "
            "sequences, a smaller model or dtype, or another device"
        )
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # the cached blocks have the sizes of the call that failed
    return (rows + 1) // 2


@dataclass(frozen=True)
class Predicted:
    """How well tokens are predicted, and the cost.

    Attributes:
        losses: (rows, length) float64, -log probability of the token in nats; NaN where no prediction was wanted.
        entropies: (rows, length) float64, entropy of the prediction in nats; NaN where no prediction was wanted.
        denoiser_rows: Sequence forwards, counted as in ``unmask``.
        denoiser_tokens: Positions of these forwards, counted as in ``unmask``.
    """

    losses: Floats
    entropies: Floats
    denoiser_rows: int
    denoiser_tokens: int


@dataclass(frozen=True)
class PredictionRequest:
    """Rows of tokens and the positions to predict.

    Attributes:
        tokens: (rows, length) int64, as for any denoiser.
        wanted: (rows, length) bool, True at the positions to predict.
        originals: (rows, length) int64, the tokens whose loss is computed; ids of the vocabulary where wanted.
        names: (rows,) row numbers for messages.
        where: Text for messages, such as "with 3 tokens visible".
    """

    tokens: Tensor
    wanted: Tensor
    originals: Tensor
    names: Tensor
    where: str


class Predictor(Protocol):
    """``predictions`` for a stream of requests, with the denoiser already chosen. Requests are read lazily."""

    def __call__(self, requests: Iterable[PredictionRequest], *, batch: int) -> Iterator[Predicted]: ...


def predictions(denoiser: Denoiser, request: PredictionRequest, *, batch: int) -> Predicted:
    """Compute the losses and entropies at the wanted positions.

    Args:
        denoiser: The denoiser to call.
        request: The rows; its tensors lie on the denoiser's device.
        batch: Most rows per call.

    Returns:
        Arrays whose size does not depend on the vocabulary.

    Raises:
        RunError: If the denoiser fails.
    """
    batched = BatchedDenoiser(denoiser, batch)
    shape, device = request.tokens.shape, request.tokens.device
    losses, entropies = torch.full((2, *shape), torch.nan, dtype=torch.float64, device=device)
    for row, at, logits in batched(request.tokens, request.wanted, request.names, request.where):
        best_logits(logits, request.names[row], request.where)
        log_p = logits.double().log_softmax(1)
        losses[row, at] = -log_p.gather(1, request.originals[row, at][:, None]).squeeze(1)
        entropies[row, at] = torch.special.entr(log_p.exp()).sum(1)
    return Predicted(
        losses=losses.cpu().numpy(),
        entropies=entropies.cpu().numpy(),
        denoiser_rows=batched.denoiser_rows,
        denoiser_tokens=batched.denoiser_tokens,
    )
