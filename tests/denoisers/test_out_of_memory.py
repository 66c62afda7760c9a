"""A batch that does not fit in the memory is halved once, and nothing but the number of calls changes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import RunError
from mdm_tune.denoisers.asking import Asked, BatchedDenoiser, working_batch
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.sampling.drawing import Drawing, Order
from mdm_tune.sampling.unmasking import Unmasked, unmask
from tests.support.helpers import TableDenoiser, random_law, same_plan, seeds

LAW = TableDenoiser(random_law(6, 3, 0))
ROWS = torch.cartesian_prod(*[torch.arange(3)] * 3)
PROMPTS = torch.cat([ROWS, torch.full_like(ROWS, LAW.mask_id)], dim=1)  # 27 distinct rows, 3 of 6 positions hidden
BEYOND = 1 << 50  # bytes, more than a process can address


def said(kind: type[Exception], *message: str) -> Callable[[], None]:
    def fail() -> None:
        raise kind(*message)

    return fail


FAILURES = {
    "torch on the CPU": lambda: torch.empty(BEYOND, dtype=torch.uint8),
    "numpy": lambda: np.empty(BEYOND, dtype=np.uint8),
    "python": said(MemoryError),
    "cuda": said(torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 20.00 GiB."),
    "cuda without the word": said(torch.OutOfMemoryError, "allocation failed"),
    "cuda driver": said(RuntimeError, "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    "cublas": said(RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "mps": said(RuntimeError, "MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1.00 GB)"),
    "windows": said(RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
}


class Limited:
    """The law, with memory for so many rows and tokens; ``asked`` is the rows of every call, ``failed`` of those."""

    def __init__(self, rows: int, fail: Callable[[], object] = FAILURES["cuda"], length: int = 6) -> None:
        self.rows, self.fail, self.length = rows, fail, length
        self.vocab_size, self.mask_id = LAW.vocab_size, LAW.mask_id
        self.asked: list[int] = []
        self.failed: list[int] = []

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        self.asked.append(len(tokens))
        if len(tokens) > self.rows or tokens.shape[1] > self.length:
            self.failed.append(len(tokens))
            self.fail()
        return LAW(tokens, wanted)


@dataclass
class Unhashable:
    """Two of these are equal, and a dictionary takes neither."""

    rows: int
    vocab_size: int = LAW.vocab_size
    mask_id: int = LAW.mask_id

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        return Limited(self.rows)(tokens, wanted)


class Slotted:
    """No weak reference to it can be made."""

    __slots__ = ("limited",)
    vocab_size, mask_id = LAW.vocab_size, LAW.mask_id

    def __init__(self, limited: Limited) -> None:
        self.limited = limited

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        return self.limited(tokens, wanted)


def ask(asker: BatchedDenoiser, rows: int = len(PROMPTS)) -> Tensor:
    """Log probabilities (rows, 3, 3) at the hidden positions of the first rows."""
    tokens, found = PROMPTS[:rows], torch.full((rows, 6, 3), torch.nan, dtype=torch.float64)
    hidden = tokens == LAW.mask_id
    row, position = hidden.nonzero(as_tuple=True)
    for some, logits in asker(Asked.of(tokens.numpy(), hidden.numpy()), np.arange(rows), "here"):
        found[row[some], position[some]] = logits.double().log_softmax(1)
    return found[:, 3:]


def fill(denoiser: Denoiser, order: Order = "confidence") -> Unmasked:
    return unmask(denoiser, PROMPTS, same_plan([1, 2], 27), seeds=seeds(27), drawing=Drawing(order), batch=16)


@pytest.mark.parametrize("kind", FAILURES)
def test_every_kind_of_failure_halves_the_batch_and_changes_no_answer(kind: str) -> None:
    denoiser, whole = Limited(5, FAILURES[kind]), BatchedDenoiser(LAW, 14)
    asker = BatchedDenoiser(denoiser, 14)
    assert torch.equal(ask(asker), ask(whole))
    assert denoiser.asked == [14, 7, 4, 4, 4, 4, 4, 4, 3] and denoiser.failed == [14, 7]
    assert asker.batch == working_batch(denoiser, 14) == 4
    assert (asker.denoiser_rows, asker.denoiser_tokens) == (whole.denoiser_rows, whole.denoiser_tokens) == (27, 27 * 6)


@pytest.mark.parametrize("order", ["random", "confidence", "entropy"])
def test_unmasking_gives_the_same_tokens_at_the_same_cost(order: Order) -> None:
    denoiser = Limited(3)
    expected = fill(LAW, order)
    for _ in range(3):
        found = fill(denoiser, order)
        assert torch.equal(found.tokens, expected.tokens) and torch.equal(found.nfe, expected.nfe)
        assert found.denoiser_rows == expected.denoiser_rows
        assert found.denoiser_tokens == expected.denoiser_tokens
    assert denoiser.failed == [16, 8, 4]  # in the first call of the first of three times two steps
    assert working_batch(denoiser, 16) == 2


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 12, 100])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 12])
def test_as_many_rows_as_halving_leaves(rows: int, batch: int, limit: int) -> None:
    halvings = [min(rows, batch)]
    while halvings[-1] > limit:
        halvings.append((halvings[-1] + 1) // 2)
    denoiser = Limited(limit)
    asker = BatchedDenoiser(denoiser, batch)
    assert torch.equal(ask(asker, rows), ask(BatchedDenoiser(LAW, 100), rows))
    assert denoiser.failed == halvings[:-1]
    worked = denoiser.asked[len(denoiser.failed) :]
    assert sum(worked) == rows and len(worked) == -(-rows // halvings[-1])
    assert asker.batch == working_batch(denoiser, batch) == (halvings[-1] if len(halvings) > 1 else batch)


def test_the_memory_keeps_the_smallest_size_and_a_smaller_batch_stays() -> None:
    denoiser = Limited(6)
    early = BatchedDenoiser(denoiser, 20)
    ask(BatchedDenoiser(denoiser, 20))
    assert working_batch(denoiser, 20) == 5 and working_batch(denoiser, 2) == 2
    ask(early)  # made before the other one failed
    ask(BatchedDenoiser(denoiser, 24))
    assert denoiser.failed == [20, 10]
    assert early.batch == 5
    denoiser.rows = 4  # less memory than before
    ask(early)
    assert denoiser.failed == [20, 10, 5] and working_batch(denoiser, 20) == 3


def test_a_batch_that_fits_is_left_alone() -> None:
    denoiser = Limited(16)
    fill(denoiser)
    assert denoiser.failed == [] and working_batch(denoiser, 16) == 16 and working_batch(denoiser, 99) == 99


@pytest.mark.parametrize("kind", FAILURES)
def test_one_row_that_does_not_fit_is_refused_and_says_nothing_of_shorter_ones(kind: str) -> None:
    denoiser = Limited(100, FAILURES[kind], length=5)
    with pytest.raises(RunError, match=r"one sequence of 6 tokens \(.+\); use shorter sequences, a smaller") as caught:
        fill(denoiser)
    assert caught.value.__context__ is None and "\n" not in str(caught.value)
    assert denoiser.asked == denoiser.failed == [16, 8, 4, 2, 1]
    assert working_batch(denoiser, 16) == 16


def test_what_the_allocator_said_is_told() -> None:
    with pytest.raises(RunError, match=r"\(CUDA out of memory\. Tried to allocate 20\.00 GiB\.\)"):
        ask(BatchedDenoiser(Limited(0), 1))
    with pytest.raises(RunError, match=r"\(MemoryError\)"):
        ask(BatchedDenoiser(Limited(0, FAILURES["python"]), 1))


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), KeyError("k")]
)
def test_other_errors_pass_and_are_not_tried_again(error: Exception) -> None:
    def fail() -> None:
        raise error

    denoiser = Limited(3, fail)
    with pytest.raises(type(error)) as caught:
        ask(BatchedDenoiser(denoiser, 16))
    assert caught.value is error and denoiser.asked == [16]


def test_equal_denoisers_are_remembered_apart() -> None:
    first, second = Unhashable(3), Unhashable(3)
    assert first == second
    ask(BatchedDenoiser(first, 16))
    assert working_batch(first, 16) == 2 and working_batch(second, 16) == 16


def test_a_denoiser_without_weak_references_works_and_is_asked_anew() -> None:
    limited = Limited(3)
    denoiser = Slotted(limited)
    asker = BatchedDenoiser(denoiser, 16)
    for _ in range(2):
        assert torch.equal(ask(asker), ask(BatchedDenoiser(LAW, 16)))
    assert limited.failed == [16, 8, 4] and asker.batch == 2
    assert working_batch(denoiser, 16) == 16
    assert torch.equal(fill(denoiser).tokens, fill(LAW).tokens)


def test_the_memory_of_a_size_keeps_no_denoiser_alive() -> None:
    denoiser = Limited(3)
    ask(BatchedDenoiser(denoiser, 16))
    alive = weakref.ref(denoiser)
    del denoiser
    gc.collect()
    assert alive() is None


def test_what_a_failed_call_had_computed_is_gone_before_the_next() -> None:
    held: list[weakref.ref[Tensor]] = []

    class Hungry(Limited):
        def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
            assert [ref() for ref in held] == [None] * len(held)
            activations = torch.zeros(8)
            held.append(weakref.ref(activations))
            return super().__call__(tokens, wanted)

    denoiser = Hungry(3)
    ask(BatchedDenoiser(denoiser, 16))
    assert denoiser.failed == [16, 8, 4]


@pytest.mark.parametrize("initialised", [True, False])
def test_the_cache_of_cuda_is_emptied_where_cuda_is_in_use(initialised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser, emptied = Limited(3), list[int]()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: initialised)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(len(denoiser.asked)))
    ask(BatchedDenoiser(denoiser, 16))
    assert emptied == ([1, 2, 3] if initialised else [])
