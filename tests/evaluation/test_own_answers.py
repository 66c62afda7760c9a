"""The model's own answers at one token per step: drawn once, and what samples are judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdm_tune.config.sampler import SamplerConfig
from mdm_tune.core.text import Symbols
from mdm_tune.datasets.splits import Dataset, Split, masked_split
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.evaluator import Evaluator, Measurement
from mdm_tune.evaluation.own_answers import OwnAnswers
from mdm_tune.evaluation.settings import Sampler
from mdm_tune.metrics.agreement import agreement
from mdm_tune.metrics.answers import judges_by_model
from mdm_tune.sampling.drawing import Drawing
from mdm_tune.sampling.unmasking import CountPlan, unmask
from mdm_tune.schedules.curves import Beta, Linear

LAW = MarkovChain.sticky(3, 0.4, 8)


def evaluator_of(order: str, temperature: float) -> Evaluator:
    split = masked_split("tune", [*map(str, range(12))], LAW.sample(12, 0), LAW.mask_id, 0)
    dataset = Dataset({"tune": split}, Symbols(LAW.symbols))
    sampler = Sampler(SamplerConfig(order=order, temperature=temperature, steps=(3,), batch=5))
    return Evaluator(LAW, 8, sampler, agreement(dataset, whole=False), dataset)


@pytest.mark.parametrize(("order", "temperature"), [("random", 1.0), ("margin", 0.7), ("entropy", 1.0)])
def test_agreement_is_that_of_a_loop_with_the_sampler_at_one_token_per_step(order: str, temperature: float) -> None:
    plain = evaluator_of(order, temperature)
    evaluator = replace(plain, own=OwnAnswers(plain.one_by_one, plain.dataset.splits))
    split, setting = evaluator.split("tune"), evaluator.setting(Beta(0.3, 2.0), 3)
    expected = []
    for row in range(12):
        part = split.part(row, row + 1)
        plans = [torch.ones(1, 1, 8, dtype=torch.int64), torch.tensor(setting.counts).view(1, 1, -1)]
        own, drawn = (
            unmask(LAW, part.start, CountPlan(plan), seeds=part.seeds, drawing=Drawing(order, temperature)).tokens[0]
            for plan in plans
        )
        expected.append(float((own == drawn).double().mean()))
    assert evaluator.measure_on(setting, split).values.tolist() == expected
    assert 0 < np.mean(expected) < 1
    (shuffled,), _ = evaluator.together([setting], "tune", 7)  # as races score
    assert shuffled.tolist() == [expected[int(name)] for name in split.shuffled().first(7).ids]
    own = evaluator.setting(Linear(), 8)
    assert evaluator.measure_on(own, split).estimate.value == 1.0  # the same counts, the same noise


def test_own_answers_are_drawn_once_and_their_rows_are_counted() -> None:
    evaluator, asked = evaluator_of("random", 1.0), list[tuple[str, ...]]()

    def draw(split: Split) -> object:
        asked.append(split.ids)
        return evaluator.one_by_one(split)

    split, stored = evaluator.split("tune"), dict[str, dict]()

    def keep(task: str, make: object) -> dict:
        return stored.setdefault(task, stored.get(task) or make())

    for keeper, groups in ((None, [("3", "1"), ("0",)]), (keep, [split.ids])):
        asked.clear()
        own = OwnAnswers(draw, {"tune": split}, keeper)
        first, second = own.of(split.take([3, 1])), own.of(split.take([1, 0]))
        assert asked == groups  # without a storage only the examples that are asked for
        assert torch.equal(first.originals[1], second.originals[0]) and first.ids == ("3", "1")
        assert own.denoiser_tokens == 8 * own.denoiser_rows > 0
        assert torch.equal(second.originals, evaluator.one_by_one(split).tokens[[1, 0]])
    resumed = OwnAnswers(draw, {"tune": split}, keep)
    assert torch.equal(resumed.of(split).originals, own.of(split).originals) and len(asked) == 1
    assert resumed.denoiser_rows == own.denoiser_rows  # a search that goes on has cost the same in all


def test_values_are_those_of_no_reference() -> None:
    """Other references change nothing; they have no value of their own."""
    plain = evaluator_of("margin", 1.0)
    split = plain.split("tune")
    other = replace(split, originals=split.originals.flip(0))
    for dataset in (plain.dataset, replace(plain.dataset, splits={"tune": other})):
        evaluator = replace(plain, dataset=dataset, own=OwnAnswers(plain.one_by_one, dataset.splits))
        scores = next(evaluator.measure_each([Measurement(evaluator.setting(Linear(), 3), dataset.splits["tune"])]))
        assert scores.values.tolist() == pytest.approx(
            next(replace(evaluator, dataset=plain.dataset).measure_each([Measurement(scores.setting, split)])).values
        )
        assert evaluator.data("tune") is None
    assert judges_by_model(plain.metric) and not judges_by_model(object())
