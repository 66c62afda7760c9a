"""The smallest gain that a report split shows, against the rule of claims, by simulation and in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mdm_tune.core.statistics import Estimate, corrected_confidence
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.search.gains import claimed, gain_of
from mdm_tune.search.power import Detectable, detectable, smallest_gain

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Values]
SETTINGS = [Setting(name, 4, 8, counts=counts) for name, counts in (("linear", (2, 2, 2, 2)), ("other", (1, 1, 2, 4)))]


def scored(values: Values, number: int = 0, bounds: tuple[float, float] | None = None) -> Scores:
    return Scores(
        setting=SETTINGS[number],
        estimate=Estimate(float(np.mean(values)), None),
        nfe=4.0,
        cost=Cost(),
        use="tune",
        values=values,
        bounds=bounds,
    )


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return rng.normal(0.0, 0.3, shape)


@pytest.mark.parametrize("claims", [1, 4])
@pytest.mark.parametrize("count", [32, 64, 128, 256])
def test_at_the_announced_gain_answers_that_never_get_worse_are_claimed(count: int, claims: int) -> None:
    """Scores that seldom differ. In closed form: how many wins a claim takes, and how often they come.

    The pilot is of 32 of which two differ. Announced and binomial power may differ by the noise of 2,500 searches.
    """
    pilot = np.where(np.arange(32) < 2, 1.0, 0.0)
    gain = smallest_gain(pilot, count, corrected_confidence(claims), 1.0)
    wins = np.arange(count + 1)
    shown = claimed((wins[:, None] > np.arange(count)).astype(float), corrected_confidence(claims), 1.0)
    assert (np.diff(shown.astype(int)) >= 0).all() and not shown[9] and shown[12]
    assert 0.75 <= float(stats.binom.pmf(wins, count, gain) @ shown) <= 0.85


@pytest.mark.parametrize("claims", [1, 4])
@pytest.mark.parametrize("count", [32, 100, 512])
def test_at_the_announced_gain_normal_differences_are_claimed(count: int, claims: int) -> None:
    """In the mean of 24 pilots of 32 examples: 0.80 +- 0.05; the pilots' own noise is 0.02 of it."""
    rng, found = np.random.default_rng(count), []
    for _ in range(24):
        gain = smallest_gain(normal(rng, (32,)), count, corrected_confidence(claims), 5.0)
        found.append(claimed(normal(rng, (200, count)) + gain, corrected_confidence(claims), 5.0).mean())
    assert 0.75 <= float(np.mean(found)) <= 0.85


@pytest.mark.parametrize("count", [8, 9, 10, 31])
def test_few_normal_examples_can_show_no_gain_and_are_not_said_to(count: int) -> None:
    rng = np.random.default_rng(count)
    assert smallest_gain(normal(rng, (32,)), count, 0.95, 5.0) == math.inf
    one, two = scored(np.zeros(32)), scored(normal(rng, (32,)), 1)
    found = detectable(one, two, count, 1)
    assert found is not None and found.gain == math.inf and found.large
    assert not gain_of(scored(np.full(count, 9.0) + np.arange(count)), scored(np.zeros(count)), "maximize", 1).shown


def test_ten_right_answers_show_a_gain_only_where_all_differ() -> None:
    """10 of 10 wins are claimed, 9 are not: at the announced gain p^10 is 0.80."""
    pilot = np.where(np.arange(32) < 2, 1.0, 0.0)
    assert smallest_gain(pilot, 10, 0.95, 1.0) ** 10 == pytest.approx(0.80, abs=0.05)
    assert smallest_gain(pilot, 9, 0.95, 1.0) == math.inf


def test_wins_and_losses_are_those_of_the_pilot() -> None:
    """12 of 128 pilot answers get better, 12 worse: a gain is more wins, and as many losses as there were."""
    pilot = np.repeat([1.0, -1.0, 0.0], [12, 12, 104])
    for count, claims in ((128, 1), (512, 4)):
        gain = smallest_gain(pilot, count, corrected_confidence(claims), 1.0)
        assert gain == smallest_gain(-pilot, count, corrected_confidence(claims), 1.0)
        losses = 13 / 128
        place = np.random.default_rng(count).random((2000, count))
        drawn = (place < losses + gain) * 1.0 - (place >= 1 - losses)
        assert 0.75 <= claimed(drawn, corrected_confidence(claims), 1.0).mean() <= 0.85


def test_more_examples_show_smaller_gains_and_more_claims_larger_ones() -> None:
    pilot = normal(np.random.default_rng(0), (32,))
    gains = [smallest_gain(pilot, count, 0.95, 5.0) for count in (32, 128, 1024, 16384)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] == pytest.approx(gains[-2] / 4, rel=0.15)
    normal_law = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * pilot.std(ddof=1) / 128
    assert gains[-1] == pytest.approx(normal_law, rel=0.15)
    assert smallest_gain(pilot, 128, corrected_confidence(8), 5.0) > gains[1]
    assert smallest_gain(pilot, 128, 0.95, 5.0) == gains[1]  # the same searches are drawn
    assert smallest_gain(-pilot, 128, 0.95, 5.0) == pytest.approx(gains[1])


def test_a_large_detectable_gain_names_the_examples_that_it_takes() -> None:
    """10 % of linear's 0.5 is the limit."""
    rng = np.random.default_rng(3)
    one, two = scored(np.full(64, 0.5)), scored(0.7 + normal(rng, (64,)), 1)
    found = detectable(one, two, 64, 1)
    assert found is not None and found.limit == pytest.approx(0.05) and found.large
    assert found.needed is not None and found.needed > 64
    enough = detectable(one, two, found.needed, 1)
    assert enough is not None and enough.gain <= 0.05 and not enough.large and enough.needed == found.needed
    half = detectable(one, two, found.needed // 2, 1)
    assert half is not None and half.large


def test_a_change_as_great_as_that_to_squared_sine_should_be_seen() -> None:
    """In nats 10 % may be far more than any schedule gains: 10 of 100 here, where the two differ by 0.3."""
    one, two = scored(np.full(64, 100.0)), scored(100.3 + normal(np.random.default_rng(4), (64,)), 1)
    found = detectable(one, two, 64, 4)
    assert found is not None and (found.report, found.claims, found.steps) == (64, 4, 4)
    assert found.limit == pytest.approx(max(map(abs, found.difference.ci or ())))
    assert 0.3 < found.limit < 0.5


@pytest.mark.parametrize(("report", "shown"), [(9, False), (64, True)])
def test_what_can_be_seen_names_its_budget_and_its_split(report: int, shown: bool) -> None:
    """Nine examples show no gain of differences that have several sizes."""
    rng = np.random.default_rng(7)
    one, two = scored(np.zeros(32)), replace(scored(normal(rng, (32,))), setting=SETTINGS[1])
    found = detectable(one, two, report, 2, examples=4 * report)
    assert found is not None
    assert (found.steps, found.report, found.examples, found.claims) == (one.setting.steps, report, 4 * report, 2)
    assert found.can_be_shown == shown == math.isfinite(found.gain) and (shown or found.large)
    assert found.needed is None or found.needed >= report


def test_nothing_is_said_where_the_pilot_says_nothing() -> None:
    one, two = scored(np.full(32, 0.5)), scored(np.linspace(0.0, 1.0, 32), 1)
    assert detectable(one, replace(one, setting=SETTINGS[1]), 512, 1) is None
    assert detectable(replace(one, values=None), two, 512, 1) is None
    assert detectable(*(replace(each, values=np.ones(1)) for each in (one, two)), 512, 1) is None
    zero = Detectable(
        steps=4, gain=0.1, limit=0.0, linear=0.0, difference=Estimate(0.1, (0.0, 0.2)), report=512, claims=1
    )
    assert zero.large and zero.needed is None


def test_answers_of_which_none_differs_still_say_what_a_claim_takes() -> None:
    """Right or wrong: wins have the size 1, and the pilot saw no loss."""
    one, two = (scored(np.arange(32) % 2 * 1.0, number, (0.0, 1.0)) for number in (0, 1))
    found = detectable(one, two, 64, 1)
    assert found is not None and found.gain == pytest.approx(smallest_gain(np.eye(32)[0], 64, 0.95, 1.0))


def test_answers_to_one_prompt_count_once() -> None:
    rng = np.random.default_rng(5)
    units = normal(rng, (16,))
    names = tuple(str(i // 4) for i in range(64))
    one, two = (replace(scored(each, n), groups=names) for n, each in enumerate((np.zeros(64), np.repeat(units, 4))))
    found = detectable(one, two, 64, 1)
    assert found is not None and found.gain == pytest.approx(smallest_gain(units, 64, 0.95, 1.0), rel=1e-6)


def test_balanced_differences_with_some_ties_show_a_gain() -> None:
    """A sixth of ties and as many wins as losses, of many sizes: near the normal approximation, and never nothing."""
    rng = np.random.default_rng(3)
    pilot = np.where(rng.random(36) < 1 / 6, 0.0, rng.normal(0, 0.1, 36))
    pilot[:2] = 0.0
    expected = 2.8 * 0.1 * math.sqrt(5 / 6) / math.sqrt(512)
    assert 0.7 * expected < smallest_gain(pilot, 512, 0.95, 1.0) < 1.6 * expected
    halves = np.array([1.0, -1.0] * 16)  # right against wrong throughout: a gain takes losses away
    assert 0.08 < smallest_gain(halves, 512, 0.95, 1.0) < 0.2
