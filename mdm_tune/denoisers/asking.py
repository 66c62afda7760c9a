"""Calls of a denoiser in batches: identical rows once, results checked, and their cost counted.

``BatchedDenoiser`` returns logits. ``predictions`` returns how well known tokens are predicted; the
information profile is measured with it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from mdm_tune.core.errors import RunError
from mdm_tune.core.guard import ForeignFailure, out_of_memory
from mdm_tune.core.messages import quantity
from mdm_tune.denoisers.base import Denoiser, LinearHead, Parts, linear_head_of, parts_of, to_device
from mdm_tune.denoisers.outputs import UnusableOutput, checked_logits

__all__ = [
    "BatchedDenoiser",
    "Entries",
    "Predicted",
    "PredictionRequest",
    "Predictor",
    "all_finite",
    "check_best",
    "numbers_of",
    "predictions",
    "working_batch",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Entries = slice | Integers  # some of the wanted positions, which are numbered row by row

CALL = 1 << 28  # most logits of one call, unless a single row has more: 1 GiB in float32
ELEMENTS = 1 << 19  # logits converted to float64 at a time: 4 MiB, which the cache of a processor holds
HEAD = 1 << 21  # logits that a head computes at a time: 8 MiB in float32
# For fewer positions the time to read the head's weights counts, the more the wider it is.
HEAD_POSITIONS, HEAD_POSITIONS_WIDE, WIDTH_PER_POSITION = 64, 128, 8
STATES = 256  # positions for which slices of the vocabulary are computed: each reads the head's weights once

# The batch that fitted in memory after a larger one did not. Keyed by identity: equal denoisers may lie on different
# devices.
_working = WeakIdKeyDictionary()
_CPU = torch.device("cpu")


def working_batch(denoiser: Denoiser, batch: int) -> int:
    """The rows per call that fit in memory: ``batch``, or fewer if this process saw larger calls fail.

    It falls below ``batch`` only after a call with a halved batch has succeeded. A denoiser without weak references
    is not remembered.
    """
    if not _working:  # as in nearly all processes; a question to it takes long
        return batch
    with contextlib.suppress(TypeError):
        return min(batch, int(_working.get(denoiser, batch)))
    return batch


class BatchedDenoiser:
    """A denoiser that is called in batches, with a count of what the calls cost.

    A denoiser may have an attribute ``forwards``, the number of forwards that it makes for one row (guidance makes
    two). The counts are multiplied by it. If it has two parts (``base.Parts``), its head is applied to some positions
    at a time.

    Attributes:
        denoiser: The denoiser that is called.
        batch: Most rows per call. A call of a denoiser without parts has fewer rows if their logits would be too many.
            The batch is halved for good if the memory does not suffice, see ``working_batch``.
        device: Where the denoiser is.
        padded: Whether rows may have padding.
        denoiser_rows: Sequence forwards so far; identical rows of one request count once.
        denoiser_tokens: Positions of these rows, without padding.
    """

    def __init__(self, denoiser: Denoiser, batch: int, device: torch.device = _CPU, *, padded: bool = True) -> None:
        self.denoiser, self.batch, self.device, self.parts = denoiser, batch, device, parts_of(denoiser)
        self.padded, self.forwards = padded, int(getattr(denoiser, "forwards", 1))
        self.denoiser_rows = 0
        self.denoiser_tokens = 0

    def __call__(
        self, tokens: Integers, wanted: NDArray[np.bool_], names: Integers, where: str
    ) -> Iterator[tuple[Entries, Tensor]]:
        """Yield the predictions in pieces: of which wanted positions (n,), and their logits (n, vocab) on the device.

        The wanted positions are numbered in the order of ``wanted.nonzero()``. Nothing waits for the logits. A piece
        may come twice, with equal logits, if the memory does not suffice. The caller switches gradients off, once for
        the denoiser and for what it does with the logits.

        Args:
            tokens: (rows, length) int64, as for any denoiser.
            wanted: (rows, length) bool, True at the positions to predict.
            names: (rows,) row numbers for messages.
            where: Text for messages, such as "at step 3".

        Raises:
            RunError: If the denoiser returns a wrong shape, or if the memory does not suffice for a single row. The
                values are checked by ``check_best``.
        """
        calls = _calls_of(tokens, wanted, names, where)
        for start, logits in self._in_pieces(calls, self._logits):
            size = max(1, ELEMENTS // logits.shape[1])
            if calls.source is None:
                at = start
                for piece in _pieces(logits, size):
                    yield slice(at, at + piece.shape[0]), piece
                    at += piece.shape[0]
                    del piece
            else:
                low, high = calls.source.searchsorted([start, start + len(logits)])
                for at in range(low, high, size):
                    entries = slice(at, min(at + size, high))
                    picked = to_device(torch.from_numpy(calls.source[entries] - start), self.device)
                    yield calls.numbers[entries], logits[picked]
            del logits  # as everywhere here: the next logits are not computed while the last ones take memory

    @cached_property
    def linear_head(self) -> LinearHead | None:
        """The linear head that the denoiser states for the CPU, if it does.

        Raises:
            RunError: If it has not as many tokens as the denoiser, or allows the mask.
        """
        head = linear_head_of(self.parts)
        if head is None:
            return None
        problem = head.problem(self.denoiser.vocab_size, self.denoiser.mask_id)
        if problem is not None:
            raise RunError(f"{problem}; correct the denoiser")
        return head

    def before_head(
        self, tokens: Integers, wanted: NDArray[np.bool_], names: Integers, where: str
    ) -> Iterator[tuple[Entries, Tensor, Tensor | None]]:
        """Yield hidden states in place of logits, for a denoiser in parts whose head is linear (``Parts.linear``).

        As a call does it, with the same arguments and errors. A piece is: of which wanted positions (n,), the hidden
        states (k, width) of different predictions, and which of these (n,) int64 each position has; None for its own.
        """
        calls = _calls_of(tokens, wanted, names, where)
        for start, states in self._in_pieces(calls, self._states):
            stop = start + len(states)
            if calls.source is None:
                yield slice(start, stop), states, None
            else:
                low, high = calls.source.searchsorted([start, stop])
                yield calls.numbers[low:high], states, torch.from_numpy(calls.source[low:high] - start)
            del states

    def _in_pieces(
        self, calls: _Calls, answers: Callable[[_Calls, slice, slice], Iterator[Tensor]]
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield answers in order, with the number of their first position. A call that is too large is halved."""
        rows, sizes = len(calls.tokens), None
        if self.parts is None:  # its logits come all at once
            sizes = (np.bincount(calls.row, minlength=rows) * self.denoiser.vocab_size).tolist()
        start, begin, batch = 0, 0, working_batch(self.denoiser, self.batch)
        while start < rows:
            part = slice(start, min(start + batch, rows) if sizes is None else _call_end(sizes, start, batch))
            end = len(calls.row) if part.stop == rows else int(calls.row.searchsorted(part.stop))
            failure, done = None, begin
            try:
                for answer in answers(calls, part, slice(begin, end)):
                    first, done = done, done + answer.shape[0]
                    yield first, answer
                    del answer
            except ForeignFailure as error:
                raise error.located(calls.names.describe(part)) from error.__cause__
            except UnusableOutput as error:
                raise RunError(
                    f"a denoiser must return one row of {self.denoiser.vocab_size} float logits per wanted "
                    f"position, {error} {calls.names.describe(part)}; correct the denoiser"
                ) from None
            except (MemoryError, RuntimeError) as error:
                failure = out_of_memory(error)
                if failure is None:
                    raise
            if failure is not None:  # outside the handler, where the error still holds the failed call's tensors
                batch = _half_batch(part.stop - start, calls.tokens.shape[1], failure)
                continue
            if batch < self.batch:  # stored after success only: a row that is too long says nothing of shorter rows
                self.batch = batch
                with contextlib.suppress(TypeError):
                    _working[self.denoiser] = batch
            start, begin = part.stop, done

    def _logits(self, calls: _Calls, part: slice, entries: slice) -> Iterator[Tensor]:
        """Call the denoiser once, yield its logits in one or several pieces, and count the cost."""
        tokens, positions = torch.from_numpy(calls.tokens[part]), entries.stop - entries.start
        vocab, device = self.denoiser.vocab_size, self.device
        if self.parts is None:
            wanted = torch.from_numpy(calls.wanted[part])
            logits = self.denoiser(to_device(tokens, device), to_device(wanted, device))
            self._count(tokens)
            yield checked_logits(logits, (positions, vocab), device)
            return
        if positions > 0:
            states = self._call_trunk(self.parts, calls, part, entries)
            width = states.numel() // positions
            least = min(max(width // WIDTH_PER_POSITION, HEAD_POSITIONS), HEAD_POSITIONS_WIDE)
            size = max(least, HEAD // vocab)
            left = positions
            for piece in _pieces(states, size):
                logits = self.parts.head(piece)
                yield checked_logits(logits, (min(size, left), vocab), device)
                left -= size
                del logits
        self._count(tokens)  # once only, also if the memory did not suffice for the head at first

    def _states(self, calls: _Calls, part: slice, entries: slice) -> Iterator[Tensor]:
        """The same for hidden states, of the shape and type that the linear head takes."""
        head = self.linear_head
        assert self.parts is not None and head is not None
        positions = entries.stop - entries.start
        if positions > 0:
            states = self._call_trunk(self.parts, calls, part, entries)
            expected, dtype = (positions, head.weight.shape[1]), head.weight.dtype
            if states.shape != expected or states.dtype != dtype or not states.is_cpu:
                raise RunError(
                    f"parts.states must return states {expected} {dtype} on the CPU, which parts.linear takes, got "
                    f"{tuple(states.shape)} {states.dtype} on {states.device} {calls.names.describe(part)}; correct "
                    "the denoiser"
                )
            yield from _pieces(states, STATES)
        self._count(torch.from_numpy(calls.tokens[part]))

    @staticmethod
    def _call_trunk(parts: Parts, calls: _Calls, part: slice, entries: slice) -> Tensor:
        """The hidden states (n, ...) of these wanted positions, which are those of these rows."""
        row, column = calls.row[entries] - part.start, calls.column[entries]
        states = parts.states(torch.from_numpy(calls.tokens[part]), torch.from_numpy(row), torch.from_numpy(column))
        if not isinstance(states, Tensor) or states.ndim == 0 or len(states) != len(row):
            received = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
            raise RunError(
                f"parts.states must return one hidden state per wanted position, {len(row)} of them, got {received} "
                f"{calls.names.describe(part)}; correct the denoiser"
            )
        return states

    def _count(self, tokens: Tensor) -> None:
        positions = int(np.count_nonzero(tokens.numpy() >= 0)) if self.padded else tokens.numel()
        self.denoiser_rows += self.forwards * tokens.shape[0]
        self.denoiser_tokens += self.forwards * positions


def _pieces(tensor: Tensor, size: int) -> Sequence[Tensor]:
    """The tensor in pieces of at most ``size`` rows."""
    return tensor.split(size) if tensor.shape[0] > size else (tensor,)  # in ``len``, torch does more than that


def numbers_of(entries: Sequence[Entries], wanted: NDArray[np.bool_]) -> Integers | None:
    """Which of the wanted positions (rows, length) all pieces have; None if they have all of them once and in order."""
    if len(entries) == 1 and isinstance(entries[0], slice):
        return None
    every = np.arange(np.count_nonzero(wanted))
    return np.concatenate([every[some] for some in entries])


def all_finite(best: Tensor) -> bool:
    """Whether the largest logits (n,) are all finite; False also where finite ones have a sum that is not."""
    return math.isfinite(best.sum())


def check_best(best: Tensor, rows: Integers, where: str) -> None:
    """Raise RunError if a row of logits had NaN, +inf, or no finite logit.

    Args:
        best: (n,) the largest logit of each row, on the CPU; NaN if one of the row is NaN.
        rows: (n,) row numbers for the message.
        where: Text for the message, such as "at step 3".
    """
    if all_finite(best):
        return
    bad = ~torch.isfinite(best)
    if bool(bad.any()):
        row = int(rows[bad.nonzero()[0, 0]])
        kind = {"nan": "NaN", "inf": "+inf", "-inf": "no finite logit"}[str(float(best[bad][0]))]
        raise RunError(
            f"the denoiser returned {kind} for row {row} {where}; each wanted position needs at least one "
            "finite logit and neither NaN nor +inf: check the checkpoint and its dtype"
        )


def _distinct_rows(tokens: Integers) -> tuple[Integers, Integers]:
    """Find equal rows of tokens (rows, length).

    Returns:
        The first (distinct,) of each set of equal rows, ascending, and the index (rows,) of each row among them.
    """
    if len(tokens) == 1:
        return _ONLY, _ONLY
    index: dict[bytes, int] = {}
    same = [index.setdefault(row.tobytes(), len(index)) for row in tokens]
    firsts = range(len(tokens)) if len(index) == len(tokens) else [same.index(number) for number in range(len(index))]
    return np.array(firsts, dtype=np.int64), np.array(same, dtype=np.int64)


_ONLY = np.zeros(1, dtype=np.int64)


class _Calls(NamedTuple):
    """Distinct rows to predict.

    Attributes:
        tokens: (rows, length) int64.
        wanted: (rows, length) bool.
        row: (n,) int64, the rows of the wanted positions, ascending.
        column: (n,) int64, their columns, ascending within a row.
        names: Names of the rows.
        source: Which prediction each of the positions that were asked for has, ascending; None if each has its own.
        numbers: The positions that were asked for, in the order of ``source``.
    """

    tokens: Integers
    wanted: NDArray[np.bool_]
    row: Integers
    column: Integers
    names: _RowNames
    source: Integers | None
    numbers: Integers


def _calls_of(tokens: Integers, wanted: NDArray[np.bool_], names: Integers, where: str) -> _Calls:
    """The distinct rows among tokens (rows, length), and which of their predictions are wanted."""
    first, distinct_of = _distinct_rows(tokens)
    row, column = wanted.nonzero()
    names_of = _RowNames(names, distinct_of, where)
    if len(first) == len(tokens):
        return _Calls(tokens=tokens, wanted=wanted, row=row, column=column, names=names_of, source=None, numbers=_ONLY)
    union = np.zeros((len(first), tokens.shape[1]), dtype=bool)
    np.logical_or.at(union, distinct_of, wanted)
    prediction = union.cumsum().reshape(union.shape) - 1
    source = prediction[distinct_of[row], column]
    numbers = source.argsort(kind="stable")
    row, column = union.nonzero()
    return _Calls(
        tokens=tokens[first],
        wanted=union,
        row=row,
        column=column,
        names=names_of,
        source=source[numbers],
        numbers=numbers,
    )


class _RowNames(NamedTuple):
    """Row numbers for messages.

    Attributes:
        names: (rows,) number of each row.
        distinct_of: (rows,) index of each row among the distinct rows.
        where: Text that follows the row numbers, such as "at step 3".
    """

    names: Integers
    distinct_of: Integers
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


@torch.inference_mode()
def predictions(
    denoiser: Denoiser, request: PredictionRequest, *, batch: int, device: torch.device | None = None
) -> Predicted:
    """Compute the losses and entropies at the wanted positions.

    Args:
        denoiser: The denoiser to call.
        request: The rows.
        batch: Most rows per call.
        device: Where the denoiser is; None is where the tokens of the request lie.

    Returns:
        Arrays whose size does not depend on the vocabulary.

    Raises:
        RunError: If the denoiser fails.
    """
    device = request.tokens.device if device is None else device
    tokens, wanted, names = (tensor.cpu().numpy() for tensor in (request.tokens, request.wanted, request.names))
    originals, batched = request.originals.cpu(), BatchedDenoiser(denoiser, batch, device)
    losses, entropies = np.full((2, *tokens.shape), np.nan)
    row, column = wanted.nonzero()
    targets = originals[row, column]
    pieces: list[Entries] = []
    found = []
    for entries, logits in batched(tokens, wanted, names, request.where):
        best = logits.amax(1)
        log_p = logits.double().log_softmax(1)
        loss = -log_p.gather(1, to_device(targets[entries], device)[:, None]).squeeze(1)
        pieces.append(entries)
        found.append(torch.stack([best.double(), loss, torch.special.entr(log_p.exp()).sum(1)]))
        del logits, log_p
    if pieces:
        numbers = numbers_of(pieces, wanted)
        row, column = (row, column) if numbers is None else (row[numbers], column[numbers])
        best, *values = torch.cat(found, dim=1).cpu()
        check_best(best, names[row], request.where)
        losses[row, column], entropies[row, column] = values
    return Predicted(
        losses=losses,
        entropies=entropies,
        denoiser_rows=batched.denoiser_rows,
        denoiser_tokens=batched.denoiser_tokens,
    )
