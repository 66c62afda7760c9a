"""Stand-ins: rounder schedules against counts and prices computed here, baselines by their own comparison."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from mdm_tune.config.file import SpaceConfig
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.evaluation.profile_choice import Chooser
from mdm_tune.metrics import quality
from mdm_tune.schedules.counts import alpha_grid, to_counts
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.pricing import ancestral_order_kl, order_kl
from mdm_tune.schedules.profile import Profile
from mdm_tune.search.gains import Gain
from mdm_tune.search.stand_ins import Place, StandIns, rounder_at
from tests.support.helpers import sampler_of
from tests.support.searches import FIXED, SHORT, sampled

BOX = ((0.1, 10.0), (0.1, 10.0))
LENGTH = 16
EXACT = Evaluator(SHORT, LENGTH, FIXED, quality.order_kl_metric(SHORT), None)
CURVE = SHORT.profile(LENGTH)
PAIRS = np.exp(np.random.default_rng(3).uniform(-1, 1, (12, 2))).tolist()


def kl(a: float, b: float, steps: int) -> float:
    return order_kl(CURVE, SHORT.entropy(), to_counts(Beta(a, b), steps, LENGTH))


def pair_of(name: str) -> tuple[float, float]:
    a, b = map(float, name.removeprefix("beta:").split(","))
    return a, b


def near(value: float, digits: int) -> list[float]:
    """The numbers with so many digits around a value, from a list of all such numbers."""
    every = [
        float(f"{n}e{exponent}") for exponent in (-4, -3, -2, -1, 0) for n in range(10 ** (digits - 1), 10**digits)
    ]
    return [max(each for each in every if each <= value), min(each for each in every if each >= value)]


@pytest.mark.parametrize("steps", [4, 6])
def test_a_rounder_schedule_by_exact_values_has_fewest_digits_and_loses_least(steps: int) -> None:
    seen = set()
    for a, b in PAIRS:
        gain = kl(0.5, 0.5, steps) - kl(a, b, steps)
        place = Place(evaluator=EXACT, winner=Beta(a, b), steps=steps, gain=gain)
        found = rounder_at([place], BOX)
        wanted = None
        for digits in (1, 2, 3):
            around = itertools.product(near(a, digits), near(b, digits))
            losses = sorted(
                kl(*pair, steps) - kl(a, b, steps) for pair in around if 0.1 <= min(pair) <= max(pair) <= 10
            )
            if losses and losses[0] <= 0.05 * max(gain, 0.0) + 1e-12:
                wanted = digits, max(losses[0], 0.0)
                break
        assert (found is None) == (wanted is None)
        if found is not None and wanted is not None:
            pair = pair_of(found[0].schedule)
            digits = [len(f"{value!r}".replace(".", "").strip("0")) for value in pair]
            assert max(digits) <= wanted[0] and max(found[0].loss, 0.0) == pytest.approx(wanted[1], abs=1e-12)
            assert found[0].loss == pytest.approx(kl(*pair, steps) - kl(a, b, steps), abs=1e-12)
            same = to_counts(Beta(*pair), steps, LENGTH) == to_counts(Beta(a, b), steps, LENGTH)
            assert found[0].by == ("counts" if same else "exact")
            seen.add(found[0].by)
    assert "counts" in seen


def test_sampled_values_leave_only_equal_counts() -> None:
    evaluator, denoiser = sampled()
    for a, b in PAIRS:
        found = rounder_at([Place(evaluator=evaluator, winner=Beta(a, b), steps=6, gain=10.0)], BOX)
        if found is not None:
            other = pair_of(found[0].schedule)
            assert found[0].by == "counts" and other != (a, b)
            assert to_counts(Beta(*other), 6, LENGTH) == to_counts(Beta(a, b), 6, LENGTH)
    assert denoiser.rows == 0
    assert rounder_at([Place(evaluator=evaluator, winner=Beta(0.5, 2.0), steps=6, gain=10.0)], BOX) is None  # as round


def test_one_schedule_of_several_budgets_has_one_rounder_one_for_all() -> None:
    evaluator, _ = sampled()
    places = [Place(evaluator=evaluator, winner=Beta(0.734, 0.412), steps=steps, gain=1.0) for steps in (2, 4, 8)]
    found = rounder_at(places, BOX)
    assert found is not None and len(found) == 3 and len({each.schedule for each in found}) == 1
    other = Beta(*pair_of(found[0].schedule))
    for steps in (2, 4, 8):
        assert to_counts(other, steps, LENGTH) == to_counts(Beta(0.734, 0.412), steps, LENGTH)
    (alone,) = rounder_at(places[:1], BOX) or []
    assert len(alone.schedule) <= len(found[0].schedule)


def test_a_measured_profile_bounds_the_loss_by_its_paired_differences() -> None:
    source = np.random.default_rng(1)
    values = np.maximum(CURVE + 0.02 * source.normal(size=(400, 1)) + 0.02 * source.normal(size=(400, LENGTH)), 0.01)
    profile = Profile(
        length=LENGTH, block_length=LENGTH, vocab_size=2, revealed=np.arange(LENGTH), values=values, exact=False
    )
    chooser = Chooser(profile=profile, sampler=FIXED, monotone=False, space=SpaceConfig(), limit=LENGTH)
    place = Place(evaluator=EXACT, winner=Beta(0.734, 0.412), steps=6, gain=50.0, chooser=chooser)

    def prices(schedule: Beta) -> np.ndarray:
        counts = to_counts(schedule, 6, LENGTH)
        return np.asarray(values[:, np.cumsum([0, *counts[:-1]])] @ counts)

    other = Beta(1.0, 0.8)
    found = place.rounder(other)
    more = prices(other) - prices(place.winner)
    width = student.ppf(0.975, 399) * more.std(ddof=1) / 20
    assert found is not None and found.by == "profile"
    assert found.loss == pytest.approx(more.mean(), abs=0.01)  # prices are on the smoothed curve
    assert found.most - found.loss == pytest.approx(width, rel=0.1)
    assert replace(place, gain=found.most / 0.049).rounder(other) is not None
    assert replace(place, gain=found.most / 0.051).rounder(other) is None
    few = replace(chooser, profile=profile.of_examples(np.arange(9)))
    assert replace(place, chooser=few).rounder(other) is None


def test_ancestral_reveal_is_valued_as_such() -> None:
    evaluator = Evaluator(SHORT, LENGTH, sampler_of(reveal="bernoulli"), quality.order_kl_metric(SHORT), None)
    found = Place(evaluator=evaluator, winner=Beta(0.734, 0.412), steps=6, gain=50.0).rounder(Beta(0.7, 0.4))
    own, other = (
        ancestral_order_kl(CURVE, SHORT.entropy(), alpha_grid(Beta(*pair), 6)) for pair in ((0.734, 0.412), (0.7, 0.4))
    )
    assert found is not None and found.by == "exact" and found.loss == pytest.approx(other - own, abs=1e-12)


def gain(value: float, ends: tuple[float, float] | None = None, shown: bool = True) -> Gain:
    return Gain(value=value, ci=ends, familywise=ends, differing=None if ends is None else 40, shown=shown)


def test_baselines_count_by_their_own_comparison() -> None:
    exact = StandIns.of(None, {"linear": gain(1.0), "sine": gain(0.049), "maskgit-cosine": gain(0.051)}, 1.0)
    assert [*exact.baselines] == ["sine"] and exact.text == "sine loses 0.049, 4.9 % of the gain over linear"
    assert (
        StandIns.of(None, {"linear": gain(1.0)}, 1.0).text
        == "not linear, which loses more than 5 % of the gain over linear"
    )
    none = StandIns.of(None, {"sine": gain(0.2), "squared-sine": gain(0.0)}, 0.0)
    assert none.text == "squared-sine is as good" and StandIns.of(None, {"sine": gain(0.2)}, 0.0).text.endswith(
        "is worse"
    )
    unshown = gain(0.02, (-0.01, 0.05), shown=False)
    measured = StandIns.of(None, {"linear": gain(0.3, (0.2, 0.4)), "sine": unshown}, 0.3)
    assert measured.baselines == {"sine": unshown}
    assert measured.text == (
        "not shown to be worse: sine (the winner's gain, corrected: 0.020 [-0.010, 0.050] over sine)"
    )
    behind = StandIns.of(None, {"sine": gain(-0.02, (-0.05, 0.01), shown=False)}, 0.3).text
    assert behind.endswith("(the winner's gain, corrected: -0.020 [-0.050, 0.010] over sine)")
    ahead = {"sine": gain(-0.03, (-0.05, -0.01), shown=False), "linear": unshown}
    assert StandIns.of(None, ahead, 0.3).text == (
        "better: sine (the winner's gain, corrected: -0.030 [-0.050, -0.010] over sine); not shown to be worse: linear "
        "(the winner's gain, corrected: 0.020 [-0.010, 0.050] over linear)"
    )
    assert StandIns.of(None, {"sine": gain(-0.0625)}, 0.3).text == "sine is better by 0.062"
    assert StandIns.of(None, {"linear": gain(0.3, (0.2, 0.4))}, 0.3).text == "not linear, which is shown to be worse"
    assert StandIns.of(None, {}, 0.3).text == "" and StandIns.from_json(measured.to_json()) == measured
