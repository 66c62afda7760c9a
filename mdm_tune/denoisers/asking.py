"""Calls of a denoiser in batches: identical rows once, results checked, and their cost counted.

``BatchedDenoiser`` returns logits. ``predictions`` returns how well known tokens are predicted; the
information profile is measured with it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

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
    "Asked",
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
    if not _working.data:  # as in nearly all processes; to ask the dictionary itself takes long
        return batch
    with contextlib.suppress(TypeError):
        return min(batch, int(_working.get(denoiser, batch)))
    return batch


class Asked(NamedTuple):
    """Rows that a denoiser is asked about.

    Attributes:
        tokens: (rows, length) int64, as for any denoiser.
        wanted: (rows, length) bool, True at the positions to predict.
        row: (n,) int64, the rows of the wanted positions, ascending.
        column: (n,) int64, their columns, ascending within a row.
    """

    tokens: Integers
    wanted: NDArray[np.bool_]
    row: Integers
    column: Integers

    @classmethod
    def of(cls, tokens: Integers, wanted: NDArray[np.bool_]) -> Asked:
        """The rows, with their wanted positions listed."""
        row, column = wanted.nonzero()
        return cls(tokens=tokens, wanted=wanted, row=row, column=column)

    def rows(self, start: int, stop: int) -> Asked:
        """Some of the rows."""
        return Asked.of(self.tokens[start:stop], self.wanted[start:stop])


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

    def __call__(self, asked: Asked, names: Integers, where: str) -> Iterator[tuple[Entries, Tensor]]:
        """Yield the predictions in pieces: of which wanted positions (n,), and their logits (n, vocab) on the device.

        The wanted positions are numbered in the order of ``asked``. Nothing waits for the logits. A piece
        may come twice, with equal logits, if the memory does not suffice. The caller switches gradients off, once for
        the denoiser and for what it does with the logits.

        Args:
            asked: The rows.
            names: (rows,) row numbers for messages.
            where: Text for messages, such as "at step 3".

        Raises:
            RunError: If the denoiser returns a wrong shape, or if the memory does not suffice for a single row. The
                values are checked by ``check_best``.
        """
        distinct, distinct_of, copies = _distinct(asked)
        describe = partial(_described, names, distinct_of, where)
        for start, stop, logits in self._in_pieces(distinct, self._logits, describe):
            size = max(1, ELEMENTS // logits.shape[1])
            if copies is None:
                at = start
                for piece in _pieces(logits, size):
                    yield slice(at, at + piece.shape[0]), piece
                    at += piece.shape[0]
                    del piece
            else:
                low, high = copies.source.searchsorted([start, stop])
                for at in range(low, high, size):
                    entries = slice(at, min(at + size, high))
                    picked = to_device(torch.from_numpy(copies.source[entries] - start), self.device)
                    yield copies.numbers[entries], logits[picked]
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

    def before_head(self, asked: Asked, names: Integers, where: str) -> Iterator[tuple[Entries, Tensor, Tensor | None]]:
        """Yield hidden states in place of logits, for a denoiser in parts whose head is linear (``Parts.linear``).

        As a call does it, with the same arguments and errors. A piece is: of which wanted positions (n,), the hidden
        states (k, width) of different predictions, and which of these (n,) int64 each position has; None for its own.
        """
        distinct, distinct_of, copies = _distinct(asked)
        describe = partial(_described, names, distinct_of, where)
        for start, stop, states in self._in_pieces(distinct, self._states, describe):
            if copies is None:
                yield slice(start, stop), states, None
            else:
                low, high = copies.source.searchsorted([start, stop])
                yield copies.numbers[low:high], states, torch.from_numpy(copies.source[low:high] - start)
            del states

    def _in_pieces(
        self, distinct: Asked, answers: Callable[[Asked], Iterator[Tensor]], describe: Callable[[int, int], str]
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Yield answers in order, with the number of their first position and that behind their last one.

        A call that is too large is halved. ``describe`` names some of the rows, by their first and behind their last.
        """
        rows, sizes = len(distinct.tokens), None
        if self.parts is None:  # its logits come all at once
            sizes = (np.bincount(distinct.row, minlength=rows) * self.denoiser.vocab_size).tolist()
        start, begin, batch = 0, 0, working_batch(self.denoiser, self.batch)
        while start < rows:
            stop = min(start + batch, rows) if sizes is None else _call_end(sizes, start, batch)
            asked = distinct if stop - start == rows else distinct.rows(start, stop)
            failure, done = None, begin
            try:
                for answer in answers(asked):
                    first, done = done, done + answer.shape[0]
                    yield first, done, answer
                    del answer
            except ForeignFailure as error:
                raise error.located(describe(start, stop)) from error.__cause__
            except UnusableOutput as error:
                raise RunError(
                    f"a denoiser must return one row of {self.denoiser.vocab_size} float logits per wanted "
                    f"position, {error} {describe(start, stop)}; correct the denoiser"
                ) from None
            except _UnusableStates as error:
                raise RunError(f"{error} {describe(start, stop)}; correct the denoiser") from None
            except (MemoryError, RuntimeError) as error:
                failure = out_of_memory(error)
                if failure is None:
                    raise
            if failure is not None:  # outside the handler, where the error still holds the failed call's tensors
                batch = _half_batch(stop - start, asked.tokens.shape[1], failure)
                continue
            if batch < self.batch:  # stored after success only: a row that is too long says nothing of shorter rows
                self.batch = batch
                with contextlib.suppress(TypeError):
                    _working[self.denoiser] = batch
            start, begin = stop, done

    def _logits(self, asked: Asked) -> Iterator[Tensor]:
        """Call the denoiser once, yield its logits in one or several pieces, and count the cost."""
        positions, vocab, device = len(asked.row), self.denoiser.vocab_size, self.device
        if self.parts is None:
            tokens, wanted = _copied(asked.tokens, asked.wanted)
            logits = self.denoiser(to_device(tokens, device), to_device(wanted, device))
            self._count(asked)
            yield checked_logits(logits, (positions, vocab), device)
            return
        if positions > 0:
            states = self._call_trunk(self.parts, asked)
            width = states.numel() // positions
            least = min(max(width // WIDTH_PER_POSITION, HEAD_POSITIONS), HEAD_POSITIONS_WIDE)
            for piece in _pieces(states, max(least, HEAD // vocab)):
                logits = self.parts.head(piece)
                yield checked_logits(logits, (piece.shape[0], vocab), device)
                del logits
        self._count(asked)  # once only, also if the memory did not suffice for the head at first

    def _states(self, asked: Asked) -> Iterator[Tensor]:
        """The same for hidden states, of the shape and type that the linear head takes."""
        head = self.linear_head
        assert self.parts is not None and head is not None
        if len(asked.row) > 0:
            states = self._call_trunk(self.parts, asked)
            expected, dtype = (len(asked.row), head.weight.shape[1]), head.weight.dtype
            if states.shape != expected or states.dtype != dtype or not states.is_cpu:
                raise _UnusableStates(
                    f"parts.states must return states {expected} {dtype} on the CPU, which parts.linear takes, got "
                    f"{tuple(states.shape)} {states.dtype} on {states.device}"
                )
            yield from _pieces(states, STATES)
        self._count(asked)

    @staticmethod
    def _call_trunk(parts: Parts, asked: Asked) -> Tensor:
        """The hidden states (n, ...) of the wanted positions."""
        states = parts.states(*_copied(asked.tokens, asked.row, asked.column))
        if not isinstance(states, Tensor) or states.ndim == 0 or states.shape[0] != len(asked.row):
            received = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
            raise _UnusableStates(
                f"parts.states must return one hidden state per wanted position, {len(asked.row)} of them, got "
                f"{received}"
            )
        return states

    def _count(self, asked: Asked) -> None:
        tokens = asked.tokens
        positions = int(np.count_nonzero(tokens >= 0)) if self.padded else tokens.size
        self.denoiser_rows += self.forwards * len(tokens)
        self.denoiser_tokens += self.forwards * positions


class _UnusableStates(Exception):
    """Hidden states that cannot be used. The text is the rule for them and what was received."""


def _copied(*arrays: NDArray[Any]) -> Iterator[Tensor]:
    """The arrays as tensors of their own: a denoiser may keep what it gets, or write into it."""
    return (torch.from_numpy(array.copy()) for array in arrays)


def _pieces(tensor: Tensor, size: int) -> Sequence[Tensor]:
    """The tensor in pieces of at most ``size`` rows."""
    return tensor.split(size) if tensor.shape[0] > size else (tensor,)  # in ``len``, torch does more than that


def numbers_of(entries: Sequence[Entries], count: int) -> Integers | None:
    """Which of ``count`` wanted positions all pieces have; None if they have all of them once and in order."""
    if len(entries) == 1 and isinstance(entries[0], slice):
        return None
    every = np.arange(count)
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


class _Copies(NamedTuple):
    """Which predictions of distinct rows the wanted positions of all rows have.

    Attributes:
        source: (n,) int64, the number of the prediction of each wanted position, ascending.
        numbers: (n,) int64, the numbers of the wanted positions in that order.
    """

    source: Integers
    numbers: Integers


def _distinct(asked: Asked) -> tuple[Asked, Integers, _Copies | None]:
    """The distinct rows, the index (rows,) of each row among them, and the copies; None if all rows are distinct."""
    first, distinct_of = _distinct_rows(asked.tokens)
    if len(first) == len(asked.tokens):
        return asked, distinct_of, None
    union = np.zeros((len(first), asked.tokens.shape[1]), dtype=bool)
    np.logical_or.at(union, distinct_of, asked.wanted)
    prediction = union.cumsum().reshape(union.shape) - 1
    source = prediction[distinct_of[asked.row], asked.column]
    numbers = source.argsort(kind="stable")
    return Asked.of(asked.tokens[first], union), distinct_of, _Copies(source[numbers], numbers)


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


def _described(names: Integers, distinct_of: Integers, where: str, start: int, stop: int) -> str:
    """Describe distinct rows, for example ``on row 7 at step 3`` or ``on rows 0 to 7 at step 3``.

    Args:
        names: (rows,) number of each row.
        distinct_of: (rows,) index of each row among the distinct rows.
        where: Text that follows the row numbers, such as "at step 3".
        start: The first distinct row.
        stop: The one behind the last.
    """
    rows = names[(distinct_of >= start) & (distinct_of < stop)].tolist()
    first, last = min(rows, default=0), max(rows, default=0)
    return f"on {f'row {first}' if first == last else f'rows {first} to {last}'} {where}"


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
    asked = Asked.of(tokens, wanted)
    row, column = asked.row, asked.column
    targets = originals[row, column]
    pieces: list[Entries] = []
    found = []
    for entries, logits in batched(asked, names, request.where):
        best = logits.amax(1)
        log_p = logits.double().log_softmax(1)
        loss = -log_p.gather(1, to_device(targets[entries], device)[:, None]).squeeze(1)
        pieces.append(entries)
        found.append(torch.stack([best.double(), loss, torch.special.entr(log_p.exp()).sum(1)]))
        del logits, log_p
    if pieces:
        numbers = numbers_of(pieces, len(row))
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
