"""Asking a denoiser: in batches, identical rows once, answers checked and read in float64, the cost counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.reading import Unusable, readable
from mdm_tune.errors import RunError
from mdm_tune.guard import ForeignFailure, out_of_memory
from mdm_tune.messages import quantity
from mdm_tune.sampling.drawing import log_probabilities

__all__ = ["Asker", "working_batch"]

CALL = 1 << 28  # logits of one call at most, unless a single row has more: 1 GiB in float32
ELEMENTS = 1 << 22  # logits read at a time in float64 (32 MiB), so that large vocabularies do not fill the memory

# Rows that fitted in the memory after more had not, by the denoiser itself: equal ones may lie on different devices.
_working = WeakIdKeyDictionary()


def working_batch(denoiser: Denoiser, batch: int) -> int:
    """``batch``, or the rows per call that fitted in the memory where this process has seen more of them fail.

    It is below ``batch`` only after an answer that came once the batch was halved. A denoiser that cannot be referred
    to weakly is not remembered.
    """
    with contextlib.suppress(TypeError):
        return min(batch, int(_working.get(denoiser, batch)))
    return batch


class Asker:
    """A denoiser with its cost so far.

    batch: rows per call at most, fewer where all their logits together would be too many; halved for good where the
    memory does not suffice, see ``working_batch``. denoiser_rows: sequence forwards that were answered, identical rows
    of one question counted once, each as often as the denoiser's ``forwards`` says, where it has this attribute: the
    forwards that it makes for one row (guidance makes two). denoiser_tokens: their positions, padding left out.
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
        shape, and when the memory does not suffice for a single row.
        """
        distinct, which = torch.unique(tokens, dim=0, return_inverse=True)
        union = torch.zeros(distinct.shape, dtype=torch.int64, device=distinct.device)
        union = union.index_add(0, which, wanted.long()) > 0
        for part, logits in self._answers(distinct, union, _Place(names, which, where)):
            asked = union[part]
            place = asked.flatten().cumsum(0).view_as(asked) - 1
            mine = ((which >= part.start) & (which < part.stop)).nonzero().squeeze(1)
            row, position = wanted[mine].nonzero(as_tuple=True)
            source = place[which[mine][row] - part.start, position]
            for piece in torch.arange(len(row), device=row.device).split(max(1, ELEMENTS // logits.shape[1])):
                rows = mine[row[piece]]
                yield rows, position[piece], log_probabilities(logits[source[piece]], names[rows], where)

    def _answers(self, tokens: Tensor, wanted: Tensor, place: _Place) -> Iterator[tuple[slice, Tensor]]:
        """Rows in order and their logits; rows that do not fit in the memory are asked again by half as many."""
        sizes = (wanted.sum(1) * self.denoiser.vocab_size).tolist()
        start, batch = 0, working_batch(self.denoiser, self.batch)
        while start < len(sizes):
            part = slice(start, _stop(sizes, start, batch))
            failure = None
            try:
                logits = self._call(tokens[part], wanted[part])
            except ForeignFailure as error:
                raise error.at(place.of(part)) from error.__cause__
            except Unusable as error:
                raise RunError(
                    f"a denoiser must return one row of {self.denoiser.vocab_size} float logits per wanted position, "
                    f"{error} {place.of(part)}; correct the denoiser"
                ) from None
            except (MemoryError, RuntimeError) as error:
                failure = out_of_memory(error)
                if failure is None:
                    raise
            if failure is not None:  # not above, where the error still holds what the failed call had computed
                batch = _halved(part.stop - start, tokens.shape[1], failure)
                continue
            if batch < self.batch:  # kept once it has worked: a row that is too long says nothing of shorter ones
                self.batch = batch
                with contextlib.suppress(TypeError):
                    _working[self.denoiser] = batch
            yield part, logits
            start = part.stop

    def _call(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        with torch.inference_mode():
            logits = self.denoiser(tokens, wanted)
        forwards: int = getattr(self.denoiser, "forwards", 1)
        self.denoiser_rows += forwards * len(tokens)
        self.denoiser_tokens += forwards * int((tokens >= 0).sum())
        return readable(logits, (int(wanted.sum()), self.denoiser.vocab_size), tokens.device)


@dataclass(frozen=True)
class _Place:
    """Where a question is asked, for messages: names of the rows, the distinct row that each is, and the step."""

    names: Tensor
    which: Tensor
    step: str

    def of(self, part: slice) -> str:
        """``on row 7 at step 3``, or the first and last of several rows."""
        rows = self.names[(self.which >= part.start) & (self.which < part.stop)].tolist()
        first, last = min(rows, default=0), max(rows, default=0)
        return f"on {f'row {first}' if first == last else f'rows {first} to {last}'} {self.step}"


def _stop(sizes: list[int], start: int, batch: int) -> int:
    """Where a call from row ``start`` on ends: at most ``batch`` rows and CALL logits; sizes: logits of each row."""
    stop, total = start + 1, sizes[start]
    while stop < len(sizes) and stop - start < batch and total + sizes[stop] <= CALL:
        total += sizes[stop]
        stop += 1
    return stop


def _halved(rows: int, length: int, failure: str) -> int:
    """Half of the rows that were too many, rounded up; raises RunError where a single one was."""
    if rows == 1:
        raise RunError(
            f"the memory does not suffice to ask the denoiser for one sequence of {quantity(length, 'token')} "
            f"({failure}); use "
            "shorter sequences, a smaller model or dtype, or another device"
        )
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # the cached blocks have the sizes of the call that failed
    return (rows + 1) // 2
