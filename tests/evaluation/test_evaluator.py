"""Settings, the record, and comparisons pair by pair.

Covers: scores.
"""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import torch
from scipy import stats

from mdm_tune.core.errors import InputError
from mdm_tune.core.statistics import Bounds
from mdm_tune.datasets.splits import law_dataset
from mdm_tune.denoisers.analytic import MarkovChain
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.filling import PoolFiller
from mdm_tune.evaluation.scores import Cost, Reveals, ScoreBook, paired_difference
from mdm_tune.evaluation.settings import Sampler, Setting
from mdm_tune.metrics import quality
from mdm_tune.sampling.pieces import LocalPool
from mdm_tune.schedules.curves import Beta, Counts, Linear, SquaredSine
from tests.support.drawn_metrics import DrawnMetric
from tests.support.helpers import CountingDenoiser, resampled, sampler_of
from tests.support.searches import exact, sampled, scoring

LAW = MarkovChain.sticky(2, 0.1, 16)
FIXED = sampler_of()
ONES = DrawnMetric(lambda result: result.tokens.double().mean(1), "maximize")  # their share in what was drawn


def evaluator(sampler: Sampler = FIXED, report: int = 64) -> Evaluator:
    dataset = law_dataset(LAW, {"tune": 16, "choose": 16, "report": report}, root=0)
    return Evaluator(LAW, 16, sampler, quality.PathLikelihood("nelbo", "random"), dataset)


def test_what_was_scored_is_answered_from_the_record() -> None:
    found = evaluator()
    first = found.score(found.setting(Linear(), 4), "report")
    again = found.score(found.setting(Counts((4, 4, 4, 4)), 4), "report")
    assert first.cost.denoiser_rows > 0 and again.cost == Cost()
    assert again.setting.label == "counts:4,4,4,4"
    assert again.values is first.values
    assert found.score(found.setting(Linear(), 4), "choose").cost.denoiser_rows > 0  # another split


def test_schedules_meet_the_same_noise() -> None:
    """Pairs must be far less spread than unpaired differences: that is what common noise is for."""
    found = evaluator(report=400)
    one = found.score(found.setting(Linear(), 8), "report").values
    two = found.score(found.setting(Beta(0.5, 0.45), 8), "report").values
    assert one is not None and two is not None
    assert (one - two).std() < 0.5 * math.hypot(one.std(), two.std())


def test_differences_are_paired() -> None:
    found = evaluator()
    one = found.score(found.setting(Linear(), 4), "report")
    two = found.score(found.setting(SquaredSine(), 4), "report")
    assert one.values is not None and two.values is not None
    assert paired_difference(one, two).value == pytest.approx(float((one.values - two.values).mean()))


def test_sample_metrics_need_a_data_set() -> None:
    bare = Evaluator(LAW, 16, FIXED, quality.PathLikelihood("nelbo", "random"), None)
    with pytest.raises(InputError, match="metric nelbo needs examples, and the config has no dataset section"):
        bare.score(bare.setting(Linear(), 4), "report")


# Several settings in common batches


@pytest.mark.parametrize("bounds", [None, quality.SHARE])
def test_a_share_of_none_has_an_exact_interval(bounds: Bounds | None) -> None:
    dataset = law_dataset(LAW, {"tune": 8, "choose": 8, "report": 40}, root=0)
    found = Evaluator(
        LAW, 16, FIXED, DrawnMetric(lambda result: torch.zeros(len(result.tokens)), "maximize", bounds), dataset
    )
    ci = found.score(found.setting(Linear(), 4), "report").estimate.ci
    exact = stats.binomtest(0, 40).proportion_ci(method="exact")
    assert ci == ((0.0, 0.0) if bounds is None else pytest.approx((exact.low, exact.high)))
    with scoring(found) as scores:
        assert scores.score([found.setting(Linear(), 4)], "report")[0].estimate.ci == ci


NELBO = quality.PathLikelihood("nelbo", "random")
SAMPLERS = {
    "random": (FIXED, NELBO),
    "drawn": (FIXED, ONES),
    "cumulative": (resampled(FIXED, counts="cumulative"), NELBO),
    "bernoulli": (resampled(FIXED, reveal="bernoulli"), NELBO),
    "blocks": (FIXED, NELBO),
    "confidence": (resampled(FIXED, order="confidence"), ONES),
    "confidence in blocks": (sampler_of("confidence", temperature=0.5), ONES),
    "margin": (resampled(FIXED, order="margin"), quality.PathLikelihood("path_nll", "margin")),
}
BLOCKS = {"blocks": (4,), "confidence in blocks": (8,)}
CURVES = (Linear(), SquaredSine(), Beta(8.0, 0.2), Beta(0.2, 8.0))


def counted(sampler: str, batch: int = 64) -> tuple[Evaluator, CountingDenoiser]:
    """40 tune examples, and the count of what the denoiser is asked."""
    denoiser = CountingDenoiser(LAW)
    dataset = law_dataset(LAW, {"tune": 40, "choose": 8, "report": 8}, root=0)
    chosen, metric = SAMPLERS[sampler]
    blocks = BLOCKS.get(sampler, ())
    return Evaluator(denoiser, 16, resampled(chosen, batch=batch), metric, dataset, blocks), denoiser


def alone(sampler: str, setting: Setting) -> np.ndarray:
    """The values of a setting that is scored by itself, in the order of a race."""
    found, _ = counted(sampler)
    values = found.score(setting, "tune").values
    assert values is not None
    result: np.ndarray = values[[int(name) for name in found.split("tune").shuffled().ids]]
    return result


@pytest.mark.parametrize("batch", [64, 7])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_settings_that_are_scored_together_score_as_alone(sampler: str, batch: int) -> None:
    """On a law in float64, to the last bit."""
    found, denoiser = counted(sampler, batch)
    settings = [found.setting(curve, 8) for curve in CURVES]
    values, cost = found.together(settings, "tune", 40)
    for setting, its in zip(settings, values, strict=True):
        np.testing.assert_array_equal(its, alone(sampler, setting))
    assert len({tuple(its) for its in values}) > 1
    assert (cost.denoiser_rows, cost.denoiser_tokens) == (denoiser.rows, denoiser.tokens)


@pytest.mark.parametrize("sampler", ["random", "bernoulli", "confidence", "blocks"])
def test_what_the_first_examples_gave_is_used_again(sampler: str) -> None:
    """More and more examples, with a setting that joins late and one that leaves early."""
    found, denoiser = counted(sampler)
    one, two, late = (found.setting(curve, 8) for curve in CURVES[:3])
    found.together([one, two], "tune", 5)
    before = denoiser.rows
    first, cost = found.together([one, two], "tune", 5)
    assert cost.denoiser_rows == 0 == denoiser.rows - before and [len(values) for values in first] == [5, 5]
    found.together([two], "tune", 23)
    before = denoiser.rows
    values, cost = found.together([late, two, one], "tune", 40)
    assert cost.denoiser_rows == denoiser.rows - before
    for setting, its in zip((late, two, one), values, strict=True):
        np.testing.assert_array_equal(its, alone(sampler, setting))
    before = denoiser.rows
    fewer, cost = found.together([one, late], "tune", 8)
    assert cost.denoiser_rows == 0 == denoiser.rows - before
    np.testing.assert_array_equal(fewer, [values[2][:8], values[0][:8]])


def test_rows_that_settings_share_are_computed_once() -> None:
    """Until their counts differ, two settings of random order show the denoiser the same rows."""
    found, denoiser = counted("random", batch=1024)
    apart = [found.setting(Counts(counts), 4) for counts in ((1, 3, 6, 6), (1, 3, 8, 4), (2, 2, 6, 6))]
    single = []
    for setting in apart:
        each, _ = counted("random", batch=1024)
        single.append(each.together([setting], "tune", 40)[1].denoiser_rows)
    shared, _ = counted("random", batch=1024)
    assert shared.together([apart[0], apart[0]], "tune", 40)[1].denoiser_rows == single[0]
    rows = found.together(apart, "tune", 40)[1].denoiser_rows
    first_two, _ = counted("random", batch=1024)
    both = first_two.together(apart[:2], "tune", 40)[1].denoiser_rows
    assert both == single[0] + _rows_of_the_last_step(apart[1])
    assert both < rows < sum(single)
    assert denoiser.rows == rows


def _rows_of_the_last_step(setting: Setting) -> int:
    """The distinct rows that one setting shows at its last step."""
    found, denoiser = counted("random", batch=1024)
    found.together([setting], "tune", 40)
    return len(denoiser.calls[-1][0])


def test_rows_are_filled_by_the_first_setting_then_by_the_next() -> None:
    found, _ = counted("drawn")
    settings = [found.setting(curve, steps) for curve, steps in zip(CURVES, (2, 8, 5, 16), strict=True)]
    part = found.split("tune").part(3, 9)
    filled = found.fill(settings, part.start, part.seeds)
    assert filled.tokens.shape == (24, 16)
    for place, setting in enumerate(settings):
        own = found.fill([setting], part.start, part.seeds)
        rows = slice(6 * place, 6 * place + 6)
        assert torch.equal(filled.tokens[rows], own.tokens)
        assert filled.nfe[rows].tolist() == own.nfe.tolist() == [setting.nfe] * 6


def test_examples_of_a_race_come_in_an_order_that_says_nothing_of_them() -> None:
    split = counted("random")[0].split("tune")
    mixed = split.shuffled()
    assert sorted(mixed.ids) == sorted(split.ids) and mixed.ids != split.ids
    place = {name: at for at, name in enumerate(split.ids)}
    order = [place[name] for name in mixed.ids]
    assert torch.equal(mixed.originals, split.originals[order])
    np.testing.assert_array_equal(mixed.seeds, split.seeds[order])
    assert mixed.ids == split.shuffled().ids


# Nobody changes an evaluator


@pytest.mark.parametrize("name", [each.name for each in fields(Evaluator)])
def test_an_evaluator_cannot_be_assigned_to(name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(exact(), name, None)


def test_what_replaces_an_evaluator_shares_its_book_and_its_pace() -> None:
    """What was scored before costs nothing afterwards, in other blocks and by another filler too."""
    whole, denoiser = sampled({"tune": 8, "choose": 8, "report": 8})
    setting = whole.setting(Linear(), 4)
    first = whole.score(setting, "report")
    assert first.cost.denoiser_rows == denoiser.rows > 0 and whole.pace.per_call > 0
    rows = denoiser.rows
    for other in (whole.in_blocks(4), replace(whole, fill_with=PoolFiller(LocalPool(denoiser)))):
        assert other is not whole and other.pace is whole.pace
        again = other.score(setting, "report")
        assert again.estimate == first.estimate and again.cost.denoiser_rows == 0
    fresh = replace(whole, book=ScoreBook())
    assert denoiser.rows == rows and fresh.score(setting, "report").cost.denoiser_rows == rows


def test_the_book_keeps_the_longer_of_two_beginnings() -> None:
    book, setting = ScoreBook(), Setting("linear", 2, 16, counts=(8, 8))
    assert book.first(setting, "tune").tolist() == []
    for values, kept in (([1.0, 2.0], [1.0, 2.0]), ([1.0], [1.0, 2.0]), ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])):
        book.keep_first(setting, "tune", np.array(values))
        assert book.first(setting, "tune").tolist() == kept
    assert book.first(setting, "choose").tolist() == [] and book.whole(setting, "tune") is None


def test_tokens_per_call_are_means_over_all_examples_with_their_middle_and_the_examples_that_still_call() -> None:
    revealed = torch.tensor([[4, 0, 0], *[[1, 3, 0]] * 8, [2, 1, 1]])
    found = Reveals.of(revealed, (revealed > 0).sum(1))
    assert found.mean == (1.4, 2.5, 0.1) and found.examples == (10, 9, 1)
    # of ten examples in ascending order the first and the ninth
    assert found.low == (1, 0, 0) and found.high == (2, 3, 0)
    assert Reveals.from_json(found.to_json()) == found
    scored = evaluator().score(evaluator().setting(Counts((1, 6, 9)), 3), "report")
    assert scored.reveals == Reveals(mean=(1.0, 6.0, 9.0), low=(1, 6, 9), high=(1, 6, 9), examples=(64, 64, 64))
