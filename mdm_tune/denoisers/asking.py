"""Asking a denoiser: in batches, identical rows once, answers checked and read in float64, the cost counted.

``Asker`` gives log probabilities, ``predictions`` how well given tokens are predicted: the information profile is
measured by it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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

__all__ = ["Ask", "Asker", "Predicted", "Question", "log_probabilities", "predictions", "working_batch"]

Floats = NDArray[np.float64]

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
                raise error.located(place.of(part)) from error.__cause__
            except UnusableOutput as error:
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
        return checked_logits(logits, (int(wanted.sum()), self.denoiser.vocab_size), tokens.device)


def log_probabilities(logits: Tensor, rows: Tensor, where: str) -> Tensor:
    """Float64 log probabilities (n, vocab); rows (n,) and ``where`` are for the message that names a bad one."""
    best = logits.amax(1)  # NaN anywhere makes it NaN, a row without a finite logit makes it -inf
    bad = ~torch.isfinite(best)
    if bool(bad.any()):
        row = int(rows[bad.nonzero()[0, 0]])
        kind = {"nan": "NaN", "inf": "+inf", "-inf": "no finite logit"}[str(float(best[bad][0]))]
        raise RunError(
            f"the denoiser returned {kind} for row {row} {where}; each wanted position needs at least one "
            "finite logit and neither NaN nor +inf: check the checkpoint and its dtype"
        )
    return logits.double().log_softmax(1)


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


@dataclass(frozen=True)
class Predicted:
    """How well tokens are predicted, and what asking cost.

    losses, entropies (rows, length) float64: -log probability of the token and entropy of its prediction, in nats; NaN
    where no prediction was wanted. denoiser_rows and denoiser_tokens as ``unmask`` counts them.
    """

    losses: Floats
    entropies: Floats
    denoiser_rows: int
    denoiser_tokens: int


@dataclass(frozen=True)
class Question:
    """Tokens (rows, length) int64 and the positions where predictions are wanted (rows, length) bool.

    originals (rows, length): the tokens to predict, in the vocabulary where wanted. names (rows,) and ``where`` (such
    as "with 3 tokens visible") are for messages.
    """

    tokens: Tensor
    wanted: Tensor
    originals: Tensor
    names: Tensor
    where: str


class Ask(Protocol):
    """``predictions`` of one question after the other, without their denoiser; questions are made when needed."""

    def __call__(self, questions: Iterable[Question], *, batch: int) -> Iterator[Predicted]: ...


def predictions(denoiser: Denoiser, asked: Question, *, batch: int) -> Predicted:
    """Losses and entropies at the wanted positions; what is returned is small whatever the vocabulary.

    The question's tensors are on the denoiser's device. Raises RunError where the denoiser fails.
    """
    asker = Asker(denoiser, batch)
    shape, device = asked.tokens.shape, asked.tokens.device
    losses, entropies = torch.full((2, *shape), torch.nan, dtype=torch.float64, device=device)
    for row, at, log_p in asker(asked.tokens, asked.wanted, asked.names, asked.where):
        losses[row, at] = -log_p.gather(1, asked.originals[row, at][:, None]).squeeze(1)
        entropies[row, at] = torch.special.entr(log_p.exp()).sum(1)
    return Predicted(
        losses=losses.cpu().numpy(),
        entropies=entropies.cpu().numpy(),
        denoiser_rows=asker.denoiser_rows,
        denoiser_tokens=asker.denoiser_tokens,
    )
