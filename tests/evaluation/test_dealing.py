"""What is dealt together, and that a search, a profile and adaptive policies are the same whoever fills the pieces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdm_tune.config.file import SearchConfig
from mdm_tune.datasets.splits import law_dataset
from mdm_tune.denoisers.base import Denoiser
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.filling import PoolFiller
from mdm_tune.evaluation.scores import Scores
from mdm_tune.run.measuring import measure_profile
from mdm_tune.sampling.pieces import LocalPool, Pool, Task, predict
from mdm_tune.sampling.unmasking import Unmasked
from mdm_tune.schedules.curves import Beta, Linear
from mdm_tune.search.events import Comparison
from tests.support.drawn_metrics import changes, surprise
from tests.support.helpers import CountingDenoiser, sampler_of, seeds
from tests.support.searches import SHORT, run, scoring

BATCH, AT_A_TIME = 8, 7
METRIC = surprise(SHORT, changes=changes)
SEARCH = SearchConfig(
    strategy="qmc", trials=9, finalists=2, baselines=("linear", "squared-sine", "sine"), together=4, auto_stop=False
)


@dataclass
class Backwards:
    """A pool that takes some tasks at a time and works on the last of them first. deals: the tasks of each call."""

    denoiser: Denoiser
    copies: int = 3
    deals: list[int] = field(default_factory=list)

    @property
    def vocab_size(self) -> int:
        return self.denoiser.vocab_size

    @property
    def mask_id(self) -> int:
        return self.denoiser.mask_id

    def results(self, tasks: Iterable[Task]) -> Iterator[Any]:
        place = len(self.deals)
        self.deals.append(0)
        waiting = iter(tasks)
        while taken := list(itertools.islice(waiting, AT_A_TIME)):
            self.deals[place] += len(taken)
            yield from reversed([task(self.denoiser, "cpu") for task in reversed(taken)])

    def working_batches(self, batch: int) -> Mapping[str, int]:
        return {}


def evaluator(pool: Callable[[Denoiser], Pool]) -> tuple[Evaluator, Any, CountingDenoiser]:
    denoiser = CountingDenoiser(SHORT)
    sampler = sampler_of("confidence", batch=BATCH)
    dataset = law_dataset(SHORT, {"tune": 32, "choose": 20, "report": 40}, root=0)
    dealer = pool(denoiser)
    return Evaluator(denoiser, SHORT.length, sampler, METRIC, dataset, fill_with=PoolFiller(dealer)), dealer, denoiser


def told(scores: Scores) -> tuple[Any, ...]:
    assert scores.values is not None and scores.tokens is not None
    return scores.setting, scores.estimate, scores.values.tolist(), scores.tokens.tolist(), scores.cost.denoiser_rows


def test_a_search_is_the_same_whoever_fills_its_pieces() -> None:
    found = []
    for pool in (LocalPool, Backwards):
        here, _, denoiser = evaluator(pool)
        budget, events = run(here, SEARCH, 4)
        rows = budget.cost.denoiser_rows
        assert rows == denoiser.rows
        each = [told(scores) for scores in (budget.winner, *budget.baselines.values(), *budget.chosen_from)]
        found.append((each, budget.gain, budget.diversity, rows, budget.trials, events))
    assert found[0] == found[1]


def test_a_confirmation_deals_all_at_once_but_the_winner_on_report() -> None:
    """The reference, five candidates on choose and three baselines on report; then the winner, unless it is known."""
    here, pool, _ = evaluator(Backwards)
    budget, events = run(here, SEARCH, 4)
    choose, report, many = 3, 5, 5  # pieces of 20, 40 and 40 examples
    together = many + choose * len(budget.chosen_from) + report * len(budget.baselines)
    last = [report] if budget.winner.setting.key not in {each.setting.key for each in budget.baselines.values()} else []
    assert pool.deals[len(pool.deals) - 1 - len(last) :] == [together, *last]
    compared = [(event.use, event.done, event.total) for event in events if isinstance(event, Comparison)]
    candidates = len(budget.chosen_from)
    assert compared == [("choose", place, candidates) for place in range(candidates)] + [
        ("report", place, 4) for place in range(3 + len(last))
    ]


def test_scores_are_kept_one_by_one_though_they_are_dealt_together() -> None:
    """Of three settings that are dealt together the first two are kept where the metric fails on the third."""
    here, _, denoiser = evaluator(Backwards)
    settings = [here.setting(curve, 4) for curve in (Linear(), Beta(2.0, 0.5), Beta(0.5, 2.0))]
    known = list(here.measure_each([Measurement(each, here.split("report")) for each in settings]))
    calls = [0]

    def failing(result: Unmasked) -> Tensor:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return METRIC.rule(result)

    here = replace(here, metric=replace(METRIC, rule=failing))
    with scoring(here) as scores:
        with pytest.raises(KeyboardInterrupt):
            scores.score(settings, "report")
        rows = denoiser.rows
        found = scores.score(settings, "report")
    assert denoiser.rows - rows == known[2].cost.denoiser_rows
    assert [told(each) for each in found] == [told(each) for each in known]


def test_a_profile_is_the_same_whoever_fills_its_pieces() -> None:
    originals = SHORT.sample(20, 1)
    start = torch.full_like(originals, SHORT.mask_id)
    args: dict[str, Any] = {"examples": 20, "points": 16, "batch": BATCH}
    found = [
        measure_profile(SHORT, start, originals, seeds(20), **args, predictor=partial(predict, pool))
        for pool in (LocalPool(SHORT), Backwards(SHORT))
    ]
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert found[0].revealed.tolist() == found[1].revealed.tolist()
    assert found[0].denoiser_rows == found[1].denoiser_rows
