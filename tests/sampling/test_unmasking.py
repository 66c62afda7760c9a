"""The contracts of the one unmasking loop: what it may change, what it may compute and what it must not depend on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdm_tune.denoisers import asking
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.denoisers.transformer import Transformer, TransformerConfig
from mdm_tune.sampling.drawing import ORDERS, Drawing, Order
from mdm_tune.sampling.unmasking import CountPlan, Plan, RevealPlan, Step, Unmasked, unmask
from tests.support.helpers import CountingDenoiser, FunctionDenoiser, TableDenoiser, plan, random_law, same_plan, seeds

LENGTH, VOCAB, STEPS = 6, 3, 4
WAYS = [*ORDERS, "ancestral"]


@dataclass(frozen=True)
class Batch:
    """Rows with prompts, padding, duplicates and their own plans; ``blocks`` is None for one block."""

    tokens: Tensor
    counts: Tensor
    alphas: Tensor
    seeds: NDArray[np.uint64]
    blocks: Tensor | None

    def pick(self, rows: Sequence[int]) -> Batch:
        index = torch.tensor(rows, dtype=torch.int64)
        blocks = None if self.blocks is None else self.blocks[index]
        chosen = self.seeds[np.array(rows, dtype=np.int64)]
        return Batch(
            tokens=self.tokens[index], counts=self.counts[index], alphas=self.alphas[index], seeds=chosen, blocks=blocks
        )

    def plan(self, way: str) -> Plan:
        return RevealPlan(self.alphas) if way == "ancestral" else CountPlan(self.counts)


def mixed(rows: int = 20, length: int = LENGTH, vocab: int = VOCAB, blocks: int = 1, seed: int = 0) -> Batch:
    """Random rows, the second half of which repeats the first with other seeds; the very last row repeats its seed."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, vocab, (rows, length))
    tokens[rng.random((rows, length)) < 0.7] = vocab
    tokens[1] = vocab
    tokens[2] = rng.integers(0, vocab, length)  # nothing to do
    for row in range(0, rows, 3):
        tokens[row, length - 1 - row % 2 :] = -1
    places = rng.integers(0, blocks, (rows, length))
    counts = np.zeros((rows, blocks, STEPS), dtype=np.int64)
    for row, block in itertools.product(range(rows), range(blocks)):
        hidden = int(((tokens[row] == vocab) & (places[row] == block)).sum())
        counts[row, block] = rng.multinomial(hidden, rng.dirichlet(np.ones(STEPS)))
    inner = np.sort(rng.random((rows, STEPS - 1)), axis=1)
    alphas = np.concatenate([np.zeros((rows, 1)), inner, np.ones((rows, 1))], axis=1)
    half = np.arange(rows) % (rows // 2)
    keys = seeds(rows, first=100)
    keys[-1] = keys[half[-1]]
    chosen = [torch.from_numpy(array[half]) for array in (tokens, counts, alphas, places)]
    return Batch(
        tokens=chosen[0], counts=chosen[1], alphas=chosen[2], seeds=keys, blocks=chosen[3] if blocks > 1 else None
    )


def table() -> TableDenoiser:
    return TableDenoiser(random_law(LENGTH, VOCAB, seed=2, spread=1.0))


def small_transformer() -> Transformer:
    """Random float32 weights everywhere, so that every position matters to every other."""
    model = Transformer(TransformerConfig(symbols="abcdefg", length=12, width=16, depth=2, heads=2))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.3)
    return model.eval().requires_grad_(False)


def run(denoiser: Denoiser, batch: Batch, way: str, size: int = 128, record: list[Step] | None = None) -> Unmasked:
    order: Order = "random" if way == "ancestral" else way  # type: ignore[assignment]  # one of ORDERS
    blocks = None if way == "ancestral" else batch.blocks
    on_step = None if record is None else record.append
    a_plan = batch.plan(way)
    drawing = Drawing(order)
    return unmask(
        denoiser, batch.tokens, a_plan, seeds=batch.seeds, drawing=drawing, blocks=blocks, batch=size, on_step=on_step
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_what_changes_and_what_does_not(way: str, blocks: int) -> None:
    batch = mixed(blocks=blocks)
    before = batch.tokens.clone()
    result = run(table(), batch, way)
    hidden = before == VOCAB
    assert torch.equal(batch.tokens, before)
    assert torch.equal(result.tokens[~hidden], before[~hidden])
    assert bool((before == -1).any())
    filled = result.tokens[hidden]
    assert bool(((filled >= 0) & (filled < VOCAB)).all())
    assert len(set(filled.tolist())) == VOCAB


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_on_step_runs_in_the_mode_of_the_caller(mode: Any) -> None:
    weight, found = torch.ones((), requires_grad=True), []

    def on_step(step: Step) -> None:
        assert step.confidence is not None
        found.append((torch.is_inference_mode_enabled(), (weight * step.confidence).sum().requires_grad))

    batch = mixed()
    with mode():
        expected = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        unmask(
            table(),
            batch.tokens,
            CountPlan(batch.counts),
            seeds=batch.seeds,
            drawing=Drawing("confidence"),
            on_step=on_step,
        )
        assert (torch.is_inference_mode_enabled(), torch.is_grad_enabled()) == expected
    assert found == [expected] * STEPS


@pytest.mark.parametrize("batch", [1, 3])
def test_a_denoiser_may_write_into_what_it_gets(batch: int) -> None:
    """As one whose predictions are shifted may do with ``column``; the tokens are those of one that does not."""

    class Shifted:
        vocab_size, mask_id = 5, 5

        def __init__(self, *, writes: bool, whole: bool) -> None:
            self.writes, self.parts = writes, None if whole else self

        def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
            found = self.head(self.states(tokens, *wanted.nonzero(as_tuple=True)))
            if self.writes:
                wanted.zero_()
                tokens.zero_()
            return found

        def states(self, tokens: Tensor, row: Tensor, column: Tensor) -> Tensor:
            before = column - 1
            found = torch.sin((tokens.double() @ torch.arange(1.0, 7, dtype=torch.float64))[row] + 3 * before)
            if self.writes:
                tokens.zero_()
                row.zero_()
                column.sub_(1)
            return found[:, None]

        def head(self, states: Tensor) -> Tensor:
            return states * torch.linspace(-2, 2, 5, dtype=torch.float64)

    start = torch.full((3, 6), 5)
    start[:, 0] = torch.arange(3)
    options = {"seeds": seeds(3), "drawing": Drawing("confidence", 0.0), "batch": batch}
    shown: dict[tuple[bool, bool], list[Any]] = {}
    for writes, whole in itertools.product((False, True), repeat=2):
        steps: list[Step] = []
        model = Shifted(writes=writes, whole=whole)
        result = unmask(model, start, same_plan([2, 2, 1], 3), on_step=steps.append, **options)  # type: ignore[arg-type]
        shown[writes, whole] = [result.tokens.tolist(), *(step.revealed.tolist() for step in steps)]
    assert all(each == shown[False, False] for each in shown.values())
    assert (result.tokens < 5).all() and torch.equal(result.tokens[:, 0], start[:, 0])


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_no_rows_are_filled_at_once(order: Order) -> None:
    counts = CountPlan(torch.zeros(0, 2, 3, dtype=torch.int64))
    result = unmask(
        TableDenoiser(random_law(4, 3, 0)), torch.zeros(0, 4).long(), counts, seeds=seeds(0), drawing=Drawing(order)
    )
    assert result.tokens.shape == (0, 4) and result.denoiser_rows == 0


def test_tokens_that_were_handed_out_do_not_change_later() -> None:
    """The denoiser and ``on_step`` may keep what they get, and ``on_step`` may write into it."""
    seen: list[Tensor] = []
    steps: list[Step] = []

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        seen.append(tokens)
        return torch.zeros(int(wanted.sum()), 3)

    start = torch.full((1, 4), 3)
    drawing = Drawing("confidence", 0.0)
    denoiser, one_by_one = FunctionDenoiser(3, logits), same_plan([1] * 4, 1)
    unmask(denoiser, start, one_by_one, seeds=seeds(1), drawing=drawing, on_step=steps.append)
    assert [int((tokens == 3).sum()) for tokens in seen] == [4, 3, 2, 1]
    assert [int((step.tokens == 3).sum()) for step in steps] == [3, 2, 1, 0]
    assert start.tolist() == [[3, 3, 3, 3]]
    overwrite = unmask(denoiser, start, one_by_one, seeds=seeds(1), on_step=lambda step: step.tokens.fill_(3))
    assert overwrite.tokens.max() < 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_on_step_sees_every_step_and_counts_stay_in_their_block(way: str, blocks: int) -> None:
    batch = mixed(blocks=blocks)
    steps: list[Step] = []
    result = run(table(), batch, way, record=steps)
    stages = 1 if way == "ancestral" else blocks
    assert [step.number for step in steps] == list(range(STEPS * stages))
    before = batch.tokens
    for step in steps:  # read after the run: what on_step was shown must not change later
        assert torch.equal(step.revealed, before != step.tokens)
        assert torch.equal(step.revealed, (before == VOCAB) & (step.tokens != VOCAB))
        if way != "ancestral":
            block, number = divmod(step.number, STEPS)
            assert torch.equal(step.revealed.sum(1), batch.counts[:, block, number])
            if batch.blocks is not None:
                assert bool((batch.blocks[step.revealed] == block).all())
        before = step.tokens
    assert torch.equal(before, result.tokens)
    assert result.revealed is not None
    for row, revealed in enumerate(result.revealed.tolist()):  # only steps that reveal something take a call
        counts = [count for step in steps if (count := int(step.revealed[row].sum()))]
        assert revealed == counts + [0] * (result.revealed.shape[1] - len(counts))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 3, 128])
def test_cost_is_what_the_denoiser_was_asked(way: str, size: int) -> None:
    batch = mixed(blocks=2)
    counting = CountingDenoiser(table())
    steps: list[Step] = []
    result = run(counting, batch, way, size=size, record=steps)
    assert result.denoiser_rows == counting.rows
    assert result.denoiser_tokens == counting.tokens
    # Independently: at each step the distinct rows among those that reveal something, and nothing else.
    nfe, calls, before = [0] * len(batch.tokens), iter(counting.calls), batch.tokens
    for step in steps:
        active = step.revealed.any(1).nonzero().flatten().tolist()
        for row in active:
            nfe[row] += 1
        rows = [tuple(before[row].tolist()) for row in active]
        asked: list[tuple[int, ...]] = []
        while len(asked) < len(set(rows)):
            tokens, wanted = next(calls)
            assert len(tokens) <= size
            assert bool(wanted.any(1).all())
            assert bool((tokens[wanted] == VOCAB).all())
            asked += [tuple(row) for row in tokens.tolist()]
        assert sorted(asked) == sorted(set(rows))
        before = step.tokens
    assert next(calls, None) is None
    assert result.nfe.tolist() == nfe
    assert nfe[2] == 0


def test_only_what_is_needed_is_wanted() -> None:
    tokens = torch.full((3, LENGTH), VOCAB)
    blocks = torch.tensor([0, 0, 0, 0, 1, 1]).expand(3, -1)
    a_plan = plan(*[[[2, 2], [1, 1]]] * 3)
    for order, expected in [("random", [2, 2, 1, 1]), ("margin", [4, 2, 2, 1]), ("confidence", [4, 2, 2, 1])]:
        counting = CountingDenoiser(table())
        drawing = Drawing(order)  # type: ignore[arg-type]  # one of ORDERS
        unmask(counting, tokens[:1], plan([[2, 2], [1, 1]]), seeds=seeds(1), drawing=drawing, blocks=blocks[:1])
        assert [int(wanted.sum()) for _, wanted in counting.calls] == expected
    counting = CountingDenoiser(table())
    steps: list[Step] = []
    unmask(counting, tokens, a_plan, seeds=seeds(3), blocks=blocks, on_step=steps.append)
    assert len(counting.calls[0][0]) == 1  # three equal rows are one, asked wherever any of them needs an answer
    assert torch.equal(counting.calls[0][1], steps[0].revealed.any(0, keepdim=True))


def assert_same(together: Unmasked, rows: Sequence[int], part: Unmasked) -> None:
    assert torch.equal(together.tokens[list(rows)], part.tokens)
    assert torch.equal(together.nfe[list(rows)], part.nfe)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["table", "transformer"])
def test_tokens_do_not_depend_on_the_batch(way: str, kind: str) -> None:
    denoiser: Denoiser = table() if kind == "table" else small_transformer()
    sizes = {"table": (LENGTH, VOCAB), "transformer": (12, 7)}[kind]
    batch = mixed(24, *sizes, blocks=2, seed=4)
    together = run(denoiser, batch, way)
    assert len(torch.unique(together.tokens, dim=0)) > 15
    for size in (1, 2, 7):
        assert_same(together, range(24), run(denoiser, batch, way, size=size))
    for rows in np.array_split(np.random.default_rng(0).permutation(24), 5):
        assert_same(together, rows.tolist(), run(denoiser, batch.pick(rows.tolist()), way))
    order = np.random.default_rng(1).permutation(24).tolist()
    assert_same(together, order, run(denoiser, batch.pick(order), way, size=5))
    # A row that repeats another with the same seed gets the same tokens; other seeds give others.
    assert torch.equal(together.tokens[-1], together.tokens[11])
    elsewhere = Batch(
        tokens=batch.tokens,
        counts=batch.counts,
        alphas=batch.alphas,
        seeds=batch.seeds + np.uint64(1000),
        blocks=batch.blocks,
    )
    assert not torch.equal(run(denoiser, elsewhere, way).tokens, together.tokens)


@pytest.mark.parametrize("order", ORDERS)
def test_each_row_may_follow_its_own_plan(order: Order) -> None:
    plans = [[[6]], [[1, 2, 3]], [[1] * 6], [[0, 3, 0, 3]], [[2, 1], [1, 2]], [[1, 1, 1], [3]], [[0], [2, 1], [3]]]
    tokens = torch.full((len(plans), LENGTH), VOCAB)
    place = {1: [0] * 6, 2: [0, 1, 0, 1, 0, 1], 3: [1, 2, 1, 2, 1, 2]}
    blocks = torch.tensor([place[len(row)] for row in plans])
    together = unmask(table(), tokens, plan(*plans), seeds=seeds(len(plans)), drawing=Drawing(order), blocks=blocks)
    for row, own in enumerate(plans):
        here = slice(row, row + 1)
        key = seeds(1, first=row)
        alone = unmask(table(), tokens[here], plan(own), seeds=key, drawing=Drawing(order), blocks=blocks[here])
        assert_same(together, [row], alone)
        assert int(alone.nfe) == sum(count > 0 for block in own for count in block)


@pytest.mark.parametrize("order", ORDERS)
def test_steps_that_reveal_nothing_change_nothing(order: Order) -> None:
    tokens = torch.full((30, LENGTH), VOCAB)
    dense = unmask(table(), tokens, same_plan([1, 2, 3], 30), seeds=seeds(30), drawing=Drawing(order))
    sparse = unmask(table(), tokens, same_plan([0, 1, 0, 0, 2, 3, 0], 30), seeds=seeds(30), drawing=Drawing(order))
    assert_same(dense, range(30), sparse)
    assert sparse.denoiser_rows == dense.denoiser_rows


def test_equal_revealed_sets_share_noise_between_ancestral_grids() -> None:
    # Common random numbers: a finer grid only splits the steps of a coarser one, position by position.
    tokens = torch.full((50, LENGTH), VOCAB)
    shown: list[list[Step]] = [[], []]
    for steps, grid in zip(shown, ([0.0, 0.4, 1.0], [0.0, 0.1, 0.4, 0.8, 1.0]), strict=True):
        reveal = RevealPlan(torch.tensor(grid, dtype=torch.float64).expand(50, -1))
        unmask(table(), tokens, reveal, seeds=seeds(50), on_step=steps.append)
    assert torch.equal(shown[0][0].revealed, shown[1][0].revealed | shown[1][1].revealed)


@pytest.mark.parametrize("way", WAYS)
def test_reading_the_logits_in_pieces_changes_nothing(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = mixed(blocks=2)
    whole = run(table(), batch, way)
    monkeypatch.setattr(asking, "ELEMENTS", 2 * VOCAB)
    assert_same(whole, range(20), run(table(), batch, way))


def test_nothing_to_do() -> None:
    counting = CountingDenoiser(table())
    tokens = torch.tensor([[0, 1, 2, 0, 1, -1]])
    full = unmask(counting, tokens, same_plan([0, 0], 1), seeds=seeds(1))
    assert full.tokens.tolist() == [[0, 1, 2, 0, 1, -1]]
    stepless = unmask(counting, tokens, same_plan([], 1), seeds=seeds(1))
    stepless.tokens[0, 0] = 2  # the result is the caller's own, never the input itself
    assert tokens.tolist() == [[0, 1, 2, 0, 1, -1]]
    empty = unmask(counting, torch.zeros(0, LENGTH, dtype=torch.int64), same_plan([6], 0), seeds=seeds(0))
    assert empty.tokens.shape == (0, LENGTH)
    assert counting.calls == []
    assert (int(full.nfe), full.denoiser_rows, full.denoiser_tokens, empty.denoiser_rows) == (0, 0, 0, 0)


def test_global_generators_are_left_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what this test is about
    state = (torch.get_rng_state(), np.random.get_state()[1].tolist())  # type: ignore[index]  # noqa: NPY002
    run(table(), mixed(), "confidence")
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
