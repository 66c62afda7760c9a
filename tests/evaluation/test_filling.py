"""What fills rows: a pool, this process where steps are shown, or code of the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdm_tune.core.errors import RunError
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.filling import CodeFiller, PoolFiller, Rows
from mdm_tune.sampling.external import load_external
from mdm_tune.sampling.pieces import LocalPool, Task
from mdm_tune.sampling.unmasking import Step, Unmasked, unmask
from mdm_tune.schedules.curves import Linear
from tests.support.helpers import FunctionDenoiser, resampled, seeds
from tests.support.searches import SHORT, sampled

START = torch.full((4, 16), SHORT.mask_id)


class Elsewhere:
    """A pool that counts its tasks and can show no steps."""

    copies = 3

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.dealt = denoiser, 0
        self.vocab_size, self.mask_id = denoiser.vocab_size, denoiser.mask_id

    def results(self, tasks: Iterable[Task]) -> Iterator[Any]:
        for task in tasks:
            self.dealt += 1
            assert "on_step" not in getattr(task, "keywords", {})
            yield task(self.denoiser, "cpu")

    def working_batches(self, batch: int) -> Mapping[str, int]:
        return {}


def evaluator() -> Evaluator:
    return sampled({"tune": 8, "choose": 8, "report": 8})[0]


def test_rows_are_filled_in_this_process_unless_something_else_fills_them() -> None:
    here = evaluator()
    assert here.fill_with is None and here.pool == LocalPool(here.denoiser)
    away = Elsewhere(here.denoiser)
    there = replace(here, fill_with=PoolFiller(away))
    assert there.pool is away and there.pool.copies == 3
    setting = here.setting(Linear(), 4)
    one, two = (each.fill([setting], START, seeds(4)) for each in (here, there))
    assert away.dealt == 1 and torch.equal(one.tokens, two.tokens)


def test_steps_are_shown_by_this_process() -> None:
    """A pool elsewhere fills no rows whose steps are shown; the tokens are the same."""
    here = evaluator()
    away = Elsewhere(here.denoiser)
    there = replace(here, fill_with=PoolFiller(away, shown_by=here.denoiser))
    setting, one, two = here.setting(Linear(), 4), list[Step](), list[Step]()
    found = here.fill([setting], START, seeds(4), on_step=one.append)
    again = there.fill([setting], START, seeds(4), on_step=two.append)
    assert here.filler.shows_steps and there.filler.shows_steps and away.dealt == 0
    assert len(one) == len(two) == 4 and torch.equal(found.tokens, again.tokens)
    there.fill([setting], START, seeds(4))
    assert away.dealt == 1


@pytest.mark.parametrize("settings", [1, 2])
def test_code_of_the_users_own_fills_rows_and_leaves_predictions_to_the_pool(tmp_path: Path, settings: int) -> None:
    """It is told the rows of each setting with their seeds and counts; steps are not shown."""
    (tmp_path / "own.py").write_text(
        "def generate(prompts, counts, seeds):\n"
        "    assert (counts.sum((1, 2)) == 16).all() and seeds.shape == prompts.shape[:1]\n"
        "    return prompts * 0 + counts[:, 0, :1] % 2, (counts > 0).sum((1, 2))\n",
        encoding="utf-8",
    )
    code = load_external(f"{tmp_path / 'own.py'}:generate", SHORT, trust_code=True)
    here = evaluator()
    own = replace(here, fill_with=CodeFiller(code, here.pool))
    assert own.pool == here.pool and not own.filler.shows_steps
    steps: list[Step] = []
    wanted = [here.setting(Linear(), number) for number in (4, 2)[:settings]]
    found = own.fill(wanted, START, seeds(4), on_step=steps.append)
    assert steps == [] and found.nfe.tolist() == [4] * 4 + [2] * 4 * (settings - 1)
    firsts = [(each.counts or (0,))[0] % 2 for each in wanted for _ in range(4)]
    assert found.tokens[:, 0].tolist() == firsts and found.denoiser_rows == int(found.nfe.sum())


class Lengths:
    """A denoiser that keeps the lengths of the rows of each call; a prediction depends on the row and the position."""

    vocab_size, mask_id = 5, 5

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        self.calls.append((tokens >= 0).sum(1).tolist())
        row, position = wanted.nonzero(as_tuple=True)
        seen = tokens.clamp(min=0).sum(1)[row] + 2 * position
        return torch.cos(seen[:, None] * torch.arange(1.0, 6.0))


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_an_error_names_the_row_as_it_was_given(batch: int) -> None:
    """Row 1, the shortest, is filled last."""

    def logits(tokens: Tensor, wanted: Tensor) -> Tensor:
        short = (tokens >= 0).sum(1) == 5
        bad = torch.where(short, torch.nan, 0.0)[wanted.nonzero()[:, 0]]
        return torch.zeros(int(wanted.sum()), 5) + bad[:, None]

    start = torch.full((4, 16), -1)
    for row, length in enumerate([9, 5, 14, 7]):
        start[row, 16 - length :] = (torch.arange(length) + row) % 5
        start[row, -4:] = 5
    here = evaluator()
    wanted = Rows([here.setting(Linear(), 4)], start, seeds(4))
    filler = PoolFiller(LocalPool(FunctionDenoiser(5, logits)))
    with pytest.raises(RunError, match="returned NaN for row 1 at step 1"):
        next(filler.fill_each([wanted], resampled(here.sampler, order="entropy", batch=batch)))


@pytest.mark.parametrize("copies", [1, 2])
def test_rows_of_similar_lengths_share_a_call(copies: int) -> None:
    """Tokens, calls and counted cost are those of the order in which the rows were given, for any batch."""
    start = torch.full((9, 16), -1)
    for row, length in enumerate([9, 5, 14, 5, 16, 7, 12, 5, 10]):
        start[row, 16 - length :] = (torch.arange(length) + row) % 5
        start[row, -4:] = Lengths.mask_id
    here, denoiser = evaluator(), Lengths()
    settings = [here.setting(Linear(), 4), here.setting(Linear(), 2)][:copies]
    wanted = Rows(settings, start, seeds(9))
    results, calls = [], []
    for batch in (1, 4, 64):
        denoiser.calls = []
        sampler = resampled(here.sampler, order="entropy", batch=batch)
        results += PoolFiller(LocalPool(denoiser)).fill_each([wanted], sampler)
        calls.append([*denoiser.calls])
        shown = next(PoolFiller(LocalPool(denoiser)).fill_each([wanted], sampler, on_step=lambda step: None))
        assert torch.equal(shown.tokens, results[-1].tokens)
    assert [lengths[0] for lengths in calls[0]] == sorted((lengths[0] for lengths in calls[0]), reverse=True)
    assert all(max(lengths) - min(lengths) <= 7 for lengths in calls[1])
    given = sampler_order(here, wanted, denoiser)
    for found in results:
        assert torch.equal(found.tokens, given.tokens) and torch.equal(found.nfe, given.nfe)
        assert torch.equal(found.tokens[:, :12] == -1, start.repeat(copies, 1)[:, :12] == -1)
    assert len({found.denoiser_tokens for found in results[1:]}) == 1


def sampler_order(here: Evaluator, wanted: Rows, denoiser: Lengths) -> Unmasked:
    """The rows filled one after the other in the order in which they were given."""
    sampler = resampled(here.sampler, order="entropy", batch=1)
    arguments = wanted.arguments(sampler, denoiser.mask_id)
    return unmask(denoiser, arguments.tokens, arguments.plan, seeds=arguments.seeds, drawing=arguments.drawing, batch=1)
