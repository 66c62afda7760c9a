"""Divide rows into pieces, for this process or for replicas on several devices.

A piece has at most one denoiser batch of rows. Its result and cost depend on its own rows alone, so the results and the
denoiser rows of a call do not depend on where its pieces run.
"""

from __future__ import annotations

import itertools
import math
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

__all__ = [
    "CountedPool",
    "DividedCall",
    "LocalPool",
    "Pool",
    "Task",
    "UnmaskArguments",
    "divide_unmask",
    "fill_rows",
    "longest_first",
    "predict",
    "results_of",
]

Array = NDArray[Any]
T = TypeVar("T")
_ROWS = 4  # the place of the denoiser rows in the result of ``_unmask_piece``
Task = Callable[[Denoiser, str], Any]  # receives a denoiser and its device; task and result can be pickled


class Pool(Protocol):
    """Runs tasks on one or several copies of a denoiser.

    Attributes:
        vocab_size: Number of tokens of the denoiser.
        mask_id: Id of its mask.
        copies: Number of tasks that run at the same time.
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def mask_id(self) -> int: ...

    @property
    def copies(self) -> int: ...

    def results(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """Run tasks, and yield their results in order, each as soon as it and those before it are complete.

        An error of a task is raised after all results before it.
        """
        ...

    def working_batches(self, batch: int) -> Mapping[str, int]:
        """``asking.working_batch`` of each copy, by its name in messages; "" for this process."""
        ...


@dataclass(frozen=True)
class LocalPool:
    """A ``Pool`` of one denoiser on one device, in this process."""

    denoiser: Denoiser
    device: str = "cpu"
    copies: int = 1

    @property
    def vocab_size(self) -> int:
        return self.denoiser.vocab_size

    @property
    def mask_id(self) -> int:
        return self.denoiser.mask_id

    def results(self, tasks: Iterable[Task]) -> Iterator[Any]:
        for task in tasks:
            yield task(self.denoiser, self.device)

    def working_batches(self, batch: int) -> Mapping[str, int]:
        return {"": working_batch(self.denoiser, batch)}


@dataclass(frozen=True)
class CountedPool:
    """A ``Pool`` that reports the denoiser rows of each piece.

    Attributes:
        pool: Runs the tasks.
        count: Called with the denoiser rows of each result, in order.
    """

    pool: Pool
    count: Callable[[int], None]

    @property
    def vocab_size(self) -> int:
        return self.pool.vocab_size

    @property
    def mask_id(self) -> int:
        return self.pool.mask_id

    @property
    def copies(self) -> int:
        return self.pool.copies

    def results(self, tasks: Iterable[Task]) -> Iterator[Any]:
        for result in self.pool.results(tasks):
            self.count(result.denoiser_rows if isinstance(result, Predicted) else result[_ROWS])
            yield result

    def working_batches(self, batch: int) -> Mapping[str, int]:
        return self.pool.working_batches(batch)


@dataclass(frozen=True)
class DividedCall(Generic[T]):
    """A computation that is divided into tasks.

    Attributes:
        tasks: The tasks, at least one.
        join: Combines their results.
    """

    tasks: Sequence[Task]
    join: Callable[[Sequence[Any]], T]


def results_of(pool: Pool, calls: Iterable[DividedCall[T]]) -> Iterator[T]:
    """Yield the results of calls in order. Calls are read lazily, and run in advance where copies are free."""
    pending: deque[DividedCall[T]] = deque()

    def tasks() -> Iterator[Task]:
        for call in calls:
            pending.append(call)
            yield from call.tasks

    results = pool.results(tasks())
    for first_result in results:
        call = pending.popleft()
        yield call.join([first_result, *itertools.islice(results, len(call.tasks) - 1)])


@dataclass(frozen=True, kw_only=True)
class UnmaskArguments:
    """The rows and options of one call of ``sampling.unmask``, whose parameters these are."""

    tokens: Tensor
    plan: Plan
    seeds: NDArray[np.uint64]
    drawing: Drawing = PLAIN
    blocks: Tensor | None = None
    batch: int = 128
    reference: Tensor | None = None
    names: NDArray[np.int64] | None = None
    most_calls: float = math.inf

    @property
    def tensors(self) -> dict[str, Tensor | None]:
        """All arguments with one entry per row but seeds and names, with the plan's tensors by their own names."""
        return {"tokens": self.tokens, "blocks": self.blocks, "reference": self.reference, **vars(self.plan)}

    def reordered(self, order: Tensor) -> UnmaskArguments:
        """The same call with its rows in this order, (rows,) int64."""
        blocks, reference = (None if tensor is None else tensor[order] for tensor in (self.blocks, self.reference))
        return replace(
            self,
            tokens=self.tokens[order],
            plan=type(self.plan)(*(tensor[order] for tensor in vars(self.plan).values())),
            seeds=self.seeds[order.numpy()],
            names=order.numpy() if self.names is None else self.names[order.numpy()],
            blocks=blocks,
            reference=reference,
        )


def divide_unmask(
    pool: Pool, arguments: UnmaskArguments, on_step: Callable[[Step], None] | None = None
) -> DividedCall[Unmasked]:
    """Divide a call of ``sampling.unmask`` into pieces of at most ``arguments.batch`` rows.

    Each piece stops when its own rows have made more than ``arguments.most_calls``, so that those of the call have too.
    ``on_step`` receives the steps of the first piece only. It cannot be pickled, so it works only in this process.

    Raises:
        InputError: If an argument is wrong, before the first denoiser call.
    """
    given = {name: value for name, value in vars(arguments).items() if name not in ("names", "most_calls")}
    check_call(**given, vocab_size=pool.vocab_size, mask_id=pool.mask_id)
    run_piece = partial(
        _unmask_piece,
        kind=type(arguments.plan),
        drawing=arguments.drawing,
        batch=arguments.batch,
        most_calls=arguments.most_calls,
    )
    names = np.arange(len(arguments.tokens)) if arguments.names is None else arguments.names
    tasks = [
        partial(
            run_piece,
            arrays=_to_arrays(arguments.tensors, rows),
            seeds=arguments.seeds[rows],
            names=names[rows],
        )
        for rows in _row_slices(len(arguments.tokens), arguments.batch)
    ]
    if on_step is not None:
        tasks[0] = partial(tasks[0], on_step=on_step)
    return DividedCall(tasks, partial(_join_unmasked, reference=arguments.reference is not None))


def fill_rows(pool: Pool, tokens: Tensor, plan: Plan, **options: Any) -> Unmasked:
    """Run ``sampling.unmask`` in pieces on a pool. The parameters are those of ``unmask``; results are on the CPU."""
    arguments = UnmaskArguments(tokens=tokens, plan=plan, **options)
    return next(results_of(pool, [divide_unmask(pool, arguments)]))


def longest_first(tokens: Tensor) -> Tensor:
    """The order (rows,) of rows of tokens (rows, length) by their length without padding; equal ones keep theirs."""
    return (tokens >= 0).sum(1).argsort(descending=True, stable=True)


def predict(pool: Pool, requests: Iterable[PredictionRequest], *, batch: int) -> Iterator[Predicted]:
    """Yield ``asking.predictions`` of each request, in pieces of at most ``batch`` rows."""
    return results_of(pool, (_prediction_tasks(request, batch) for request in requests))


def _prediction_tasks(request: PredictionRequest, batch: int) -> DividedCall[Predicted]:
    tensors = {name: getattr(request, name) for name in ("tokens", "wanted", "originals", "names")}
    order = longest_first(request.tokens)  # rows of similar length share a call, so that there is little padding
    tensors = {name: tensor[order] for name, tensor in tensors.items()}
    run_piece = partial(_predict_piece, batch=batch, where=request.where)
    slices = _row_slices(len(request.tokens), batch)
    tasks = [partial(run_piece, arrays=_to_arrays(tensors, rows)) for rows in slices]
    return DividedCall(tasks, partial(_join_predictions, original_order=order.argsort().numpy()))


def _join_predictions(parts: Sequence[Predicted], original_order: Array) -> Predicted:
    return Predicted(
        losses=np.concatenate([part.losses for part in parts])[original_order],
        entropies=np.concatenate([part.entropies for part in parts])[original_order],
        denoiser_rows=sum(part.denoiser_rows for part in parts),
        denoiser_tokens=sum(part.denoiser_tokens for part in parts),
    )


def _row_slices(rows: int, batch: int) -> list[slice]:
    """Slices of ``batch`` rows, the last one of fewer; one empty slice if there are no rows."""
    starts = [*range(0, rows, batch), rows] if rows else [0, 0]
    return [slice(first, stop) for first, stop in itertools.pairwise(starts)]


def _join_unmasked(parts: Sequence[Any], *, reference: bool) -> Unmasked:
    filled, nlls, nfes, impossible, denoiser_rows, denoiser_tokens, revealed = zip(*parts, strict=True)
    nll, first_impossible = (
        torch.from_numpy(np.concatenate(arrays)) if reference else None for arrays in (nlls, impossible)
    )
    tokens, nfe = (torch.from_numpy(np.concatenate(arrays)) for arrays in (filled, nfes))
    calls = max(part.shape[1] for part in revealed)
    padded = [np.pad(part, ((0, 0), (0, calls - part.shape[1]))) for part in revealed]
    return Unmasked(
        tokens=tokens,
        nll=nll,
        nfe=nfe,
        denoiser_rows=sum(denoiser_rows),
        denoiser_tokens=sum(denoiser_tokens),
        impossible=first_impossible,
        revealed=torch.from_numpy(np.concatenate(padded)),
    )


def _unmask_piece(
    denoiser: Denoiser, device: str, *, arrays: Mapping[str, Array], kind: type[Plan], **options: Any
) -> tuple[Any, ...]:
    """The fields of ``Unmasked`` for one piece, as arrays."""
    tensors = _to_tensors(arrays)
    plan = kind(**{field.name: tensors.pop(field.name) for field in fields(kind)})
    result = unmask(denoiser, tensors.pop("tokens"), plan, **tensors, **options, device=torch.device(device))
    nll, impossible = (None if tensor is None else tensor.numpy() for tensor in (result.nll, result.impossible))
    assert result.revealed is not None
    return (
        result.tokens.numpy(),
        nll,
        result.nfe.numpy(),
        impossible,
        result.denoiser_rows,
        result.denoiser_tokens,
        result.revealed.numpy(),
    )


def _predict_piece(
    denoiser: Denoiser, device: str, *, arrays: Mapping[str, Array], where: str, batch: int
) -> Predicted:
    request = PredictionRequest(**_to_tensors(arrays), where=where)
    return predictions(denoiser, request, batch=batch, device=torch.device(device))


def _to_arrays(tensors: Mapping[str, Tensor | None], rows: slice) -> dict[str, Array]:
    """These rows of the tensors as arrays. Tensors would use shared memory, of which containers have little."""
    return {name: tensor[rows].cpu().numpy() for name, tensor in tensors.items() if tensor is not None}


def _to_tensors(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays as tensors. They are copied, since arrays from another process are read-only."""
    return {name: torch.tensor(array) for name, array in arrays.items()}
