"""Rows cut into pieces, which this process fills one after the other, or replicas on many devices at the same time.

A piece is at most one denoiser batch of rows. What it gives, and what it costs, depends on its own rows alone; so the
results and the denoiser rows of a call are the same whoever fills its pieces.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers.asking import Predicted, PredictionRequest, predictions, working_batch
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.sampling.drawing import PLAIN, Drawing
from mdm_tune.sampling.unmasking import Plan, Step, Unmasked, check_call, unmask

__all__ = ["Call", "LocalPool", "Pool", "Task", "UnmaskArguments", "answers_of", "fill_rows", "filling", "predict"]

Array = NDArray[Any]
T = TypeVar("T")
Task = Callable[[Denoiser, str], Any]  # of a denoiser and its device; a task and its answer can be pickled


class Pool(Protocol):
    """What works on pieces. vocab_size, mask_id: of its denoiser. copies: pieces that it works on at the same time."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def mask_id(self) -> int: ...

    @property
    def copies(self) -> int: ...

    def deal(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """The answers in the order of the tasks, each as soon as it and those before it are there.

        Raises what a task raises, once all answers before it were returned.
        """
        ...

    def working_batches(self, batch: int) -> Mapping[str, int]:
        """``asking.working_batch`` of each copy, by what messages call it; "" for this process."""
        ...


@dataclass(frozen=True)
class LocalPool:
    """This process with one denoiser on one device."""

    denoiser: Denoiser
    device: str = "cpu"
    copies: int = 1

    @property
    def vocab_size(self) -> int:
        return self.denoiser.vocab_size

    @property
    def mask_id(self) -> int:
        return self.denoiser.mask_id

    def deal(self, tasks: Iterable[Task]) -> Iterator[Any]:
        for task in tasks:
            yield task(self.denoiser, self.device)

    def working_batches(self, batch: int) -> Mapping[str, int]:
        return {"": working_batch(self.denoiser, batch)}


@dataclass(frozen=True)
class Call(Generic[T]):
    """Something that is answered in pieces: its tasks, at least one, and what makes its answer of theirs."""

    tasks: Sequence[Task]
    joined: Callable[[Sequence[Any]], T]


def answers_of(pool: Pool, calls: Iterable[Call[T]]) -> Iterator[T]:
    """The answers in the order of the calls; the next calls, made when needed, are dealt where there is room."""
    dealt: deque[Call[T]] = deque()

    def tasks() -> Iterator[Task]:
        for call in calls:
            dealt.append(call)
            yield from call.tasks

    answers = pool.deal(tasks())
    for first in answers:
        call = dealt.popleft()
        yield call.joined([first, *itertools.islice(answers, len(call.tasks) - 1)])


@dataclass(frozen=True, kw_only=True)
class UnmaskArguments:
    """The rows and options of one call of ``sampling.unmask``, which says what each is."""

    tokens: Tensor
    plan: Plan
    seeds: NDArray[np.uint64]
    drawing: Drawing = PLAIN
    blocks: Tensor | None = None
    batch: int = 128
    reference: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor | None]:
        """All that has an entry for each row but the seeds, the plan's tensors by their own names."""
        return {"tokens": self.tokens, "blocks": self.blocks, "reference": self.reference, **vars(self.plan)}

    def reordered(self, order: Tensor) -> UnmaskArguments:
        """The same with its rows in this order; order (rows,) int64."""
        blocks, reference = (None if each is None else each[order] for each in (self.blocks, self.reference))
        return replace(
            self,
            tokens=self.tokens[order],
            plan=type(self.plan)(*(each[order] for each in vars(self.plan).values())),
            seeds=self.seeds[order.numpy()],
            blocks=blocks,
            reference=reference,
        )


def filling(pool: Pool, given: UnmaskArguments, on_step: Callable[[Step], None] | None = None) -> Call[Unmasked]:
    """``sampling.unmask`` in pieces of at most ``given.batch`` rows.

    on_step: shown the steps of the first piece; it cannot be pickled, so that only this process can show them.

    Raises InputError for what can be wrong before the first denoiser call.
    """
    check_call(**vars(given), vocab_size=pool.vocab_size, mask_id=pool.mask_id)
    work = partial(_unmask, kind=type(given.plan), drawing=given.drawing, batch=given.batch)
    tasks = [
        partial(work, arrays=_packed(given.tensors, rows), seeds=given.seeds[rows], first_row=rows.start)
        for rows in _pieces(len(given.tokens), given.batch)
    ]
    if on_step is not None:
        tasks[0] = partial(tasks[0], on_step=on_step)
    return Call(tasks, partial(_joined, reference=given.reference is not None))


def fill_rows(pool: Pool, tokens: Tensor, plan: Plan, **options: Any) -> Unmasked:
    """``sampling.unmask`` by a pool, with the same parameters. Tensors of the result are on the CPU."""
    return next(answers_of(pool, [filling(pool, UnmaskArguments(tokens=tokens, plan=plan, **options))]))


def predict(pool: Pool, questions: Iterable[PredictionRequest], *, batch: int) -> Iterator[Predicted]:
    """``predicting.predictions`` of each question, in pieces of at most ``batch`` rows."""
    return answers_of(pool, (_predicting(question, batch) for question in questions))


def _predicting(asked: PredictionRequest, batch: int) -> Call[Predicted]:
    tensors = {name: getattr(asked, name) for name in ("tokens", "wanted", "originals", "names")}
    work = partial(_predictions, batch=batch, where=asked.where)
    return Call([partial(work, arrays=_packed(tensors, rows)) for rows in _pieces(len(asked.tokens), batch)], _together)


def _together(parts: Sequence[Predicted]) -> Predicted:
    return Predicted(
        losses=np.concatenate([part.losses for part in parts]),
        entropies=np.concatenate([part.entropies for part in parts]),
        denoiser_rows=sum(part.denoiser_rows for part in parts),
        denoiser_tokens=sum(part.denoiser_tokens for part in parts),
    )


def _pieces(rows: int, batch: int) -> list[slice]:
    """Rows in order, ``batch`` in each piece but the last; one empty piece where there are no rows."""
    starts = [*range(0, rows, batch), rows] if rows else [0, 0]
    return [slice(first, stop) for first, stop in itertools.pairwise(starts)]


def _joined(parts: Sequence[Any], *, reference: bool) -> Unmasked:
    filled, nlls, nfes, impossible, denoiser_rows, denoiser_tokens = zip(*parts, strict=True)
    nll, bad = (torch.from_numpy(np.concatenate(x)) if reference else None for x in (nlls, impossible))
    tokens, nfe = (torch.from_numpy(np.concatenate(x)) for x in (filled, nfes))
    return Unmasked(
        tokens=tokens,
        nll=nll,
        nfe=nfe,
        denoiser_rows=sum(denoiser_rows),
        denoiser_tokens=sum(denoiser_tokens),
        impossible=bad,
    )


def _unmask(
    denoiser: Denoiser, device: str, *, arrays: Mapping[str, Array], kind: type[Plan], **options: Any
) -> tuple[Any, ...]:
    """The fields of ``Unmasked`` for one piece, as arrays."""
    tensors = _unpacked(arrays, device)
    plan = kind(**{field.name: tensors.pop(field.name) for field in fields(kind)})
    found = unmask(denoiser, tensors.pop("tokens"), plan, **tensors, **options)
    nll, bad = (None if each is None else each.cpu().numpy() for each in (found.nll, found.impossible))
    return found.tokens.cpu().numpy(), nll, found.nfe.cpu().numpy(), bad, found.denoiser_rows, found.denoiser_tokens


def _predictions(denoiser: Denoiser, device: str, *, arrays: Mapping[str, Array], where: str, batch: int) -> Predicted:
    return predictions(denoiser, PredictionRequest(**_unpacked(arrays, device), where=where), batch=batch)


def _packed(tensors: Mapping[str, Tensor | None], rows: slice) -> dict[str, Array]:
    """These rows of what is given, as arrays: a tensor would take shared memory, of which containers have little."""
    return {name: tensor[rows].cpu().numpy() for name, tensor in tensors.items() if tensor is not None}


def _unpacked(arrays: Mapping[str, Array], device: str) -> dict[str, Any]:
    """Arrays as tensors; copied, since those that another process sent cannot be written to."""
    return {name: torch.tensor(array, device=device) for name, array in arrays.items()}
