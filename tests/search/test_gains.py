"""What is claimed, against closed forms, and by simulation where a claim would be false."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mdm_tune.core.statistics import Estimate, corrected_confidence, estimate, lower_bounds
from mdm_tune.evaluation.scores import Cost, Scores
from mdm_tune.evaluation.settings import Setting
from mdm_tune.search.gains import calls_interval, claimed, diversity_of, gain_of, no_worse

Values = NDArray[np.float64]
SETTING = Setting("linear", 4, 8, counts=(2, 2, 2, 2))


def scored(values: Values) -> Scores:
    return Scores(
        setting=SETTING,
        estimate=Estimate(float(np.mean(values)), None),
        nfe=4.0,
        cost=Cost(),
        use="report",
        values=values,
    )


def exact(value: float) -> Scores:
    return Scores(setting=SETTING, estimate=Estimate(value, None), nfe=4.0, cost=Cost())


def test_a_gain_points_to_better_and_has_both_intervals() -> None:
    rng = np.random.default_rng(0)
    linear = rng.normal(2.0, 1.0, 64)
    winner = linear - 0.5 + rng.normal(0.0, 0.3, 64)
    found = gain_of(scored(winner), scored(linear), "minimize", 4)
    assert found.value == pytest.approx(float((linear - winner).mean()))
    assert found.ci == estimate(linear - winner).ci
    assert found.familywise == estimate(linear - winner, 0.9875).ci
    assert found.differing == 64 and found.shown
    opposite = gain_of(scored(winner), scored(linear), "maximize", 4)
    assert opposite.value == pytest.approx(-found.value) and not opposite.shown


def test_a_gain_that_only_stands_alone_is_not_shown() -> None:
    differences = np.linspace(-1.0, 1.0, 40)
    differences += 2.4 * stats.sem(differences)  # between the quantiles of 95 % and of 99.4 %
    base = np.zeros(40)
    assert gain_of(scored(differences), scored(base), "maximize", 1).shown
    assert not gain_of(scored(differences), scored(base), "maximize", 8).shown


def test_exact_gains_need_only_be_better() -> None:
    found = gain_of(exact(0.3), exact(0.5), "minimize", 8)
    assert (found.value, found.ci, found.familywise, found.differing) == (pytest.approx(0.2), None, None, None)
    assert found.shown
    assert not gain_of(exact(0.5), exact(0.5), "minimize", 1).shown
    assert not gain_of(exact(math.inf), exact(math.inf), "minimize", 1).shown
    assert gain_of(exact(0.5), exact(math.inf), "minimize", 1).shown


@pytest.mark.parametrize(("wins", "shown"), [(9, False), (10, True)])
def test_few_examples_that_differ_show_no_gain(wins: int, shown: bool) -> None:
    """Nine wins and no loss among 200: both intervals lie above 0."""
    values = np.where(np.arange(200) < wins, 1.0, 0.0)
    found = gain_of(scored(values), scored(np.zeros(200)), "maximize", 1)
    assert found.familywise is not None and found.familywise[0] > 0
    assert found.differing == wins and found.shown == shown


def test_few_differences_of_several_sizes_show_no_gain() -> None:
    """The largest losses may be unseen: it takes 32, or 10 that are all of one size."""
    for many, shown in ((31, False), (32, True)):
        values = np.where(np.arange(200) < many, 1.0 + np.arange(200) / 200, 0.0)
        found = gain_of(scored(values), scored(np.zeros(200)), "maximize", 1)
        assert (found.differing, found.fewest, found.shown) == (many, 32, shown)


@pytest.mark.parametrize("count", [5, 10, 16, 32, 64])
def test_left_skewed_differences_seldom_pass_for_a_gain(count: int) -> None:
    """Of four budgets 0.6 % of these may: 25 of 4,000; more than 40 has probability 0.002."""
    drawn = 1.0 - np.random.default_rng(count).exponential(size=(4000, count))
    above = lower_bounds(drawn, corrected_confidence(4)) > 0
    assert (above.sum() if count >= 32 else 0) <= 40
    for each, low in zip(drawn[:20], above, strict=False):
        assert gain_of(scored(each), scored(np.zeros(count)), "maximize", 4).shown == (bool(low) and count >= 32)


def test_too_few_examples_show_nothing_and_say_so() -> None:
    found = gain_of(scored(np.full(9, 1.0)), scored(np.zeros(9)), "maximize", 1)
    assert found.ci is None and found.familywise is None and not found.shown and not found.loss
    assert found.no_interval == "too few examples" and found.differing == 9
    assert gain_of(exact(0.3), exact(0.5), "minimize", 1).no_interval == "exact"


def test_examples_that_share_a_prompt_differ_as_one() -> None:
    """40 answers to 8 questions, all better: too few. To 12 questions: a gain."""
    for prompts, shown in ((8, False), (12, True)):
        names = tuple(str(i % prompts) for i in range(5 * prompts))
        one, two = (replace(scored(np.full(5 * prompts, v)), groups=names, bounds=(0.0, 1.0)) for v in (1.0, 0.0))
        found = gain_of(one, two, "maximize", 1)
        assert (found.differing, found.shown) == (prompts, shown)


@pytest.mark.parametrize(("shift", "shown"), [(0.001, False), (1.0, True)])
def test_equal_differences_show_a_gain_only_if_rare_losses_could_not_undo_it(shift: float, shown: bool) -> None:
    """All answers wrong and then all right is a gain; a little more for each of 64 is undone by one loss."""
    base = np.zeros(64) if shift == 1 else np.linspace(0.0, 1.0, 64)
    found = gain_of(scored(base + shift), scored(base), "maximize", 6)
    assert found.differing == 64 and found.value == pytest.approx(shift)
    assert found.shown == shown
    assert not gain_of(scored(base), scored(base + shift), "maximize", 6).shown


def test_no_difference_shows_no_gain() -> None:
    same = scored(np.zeros(64))
    assert not gain_of(same, same, "maximize", 1).shown


def test_false_gains_of_a_whole_search_are_rare() -> None:
    """200 searches of 6 budgets without any gain: 2.5 % of them may claim one (gains have one side), 5 of 200.

    More than 12 has probability 0.002. Without the correction it would be 10 % or more, 20 of 200; fewer than 8, 0.001.
    """
    rng = np.random.default_rng(1)
    corrected_claims = single_claims = 0
    for _ in range(200):
        found = [gain_of(scored(rng.normal(size=32)), scored(np.zeros(32)), "maximize", 6) for _ in range(6)]
        corrected_claims += any(each.shown for each in found)
        single_claims += any(each.ci is not None and each.ci[0] > 0 for each in found)
    assert corrected_claims <= 12
    assert single_claims > corrected_claims and single_claims >= 8


def test_no_worse_is_the_one_sided_t_bound_of_difference_and_margin() -> None:
    rng = np.random.default_rng(2)
    other = rng.normal(5.0, 1.0, 400)
    values = other - 0.01 + rng.normal(0.0, 0.2, 400)
    found = no_worse(scored(values), scored(other), "maximize", 0.01, 0.05 / 3)
    surplus = values - other + 0.01 * other
    bound = stats.ttest_1samp(surplus, 0, alternative="greater").confidence_interval(1 - 0.05 / 3).low
    assert found.margin == pytest.approx(0.01 * other.mean())
    assert found.difference == pytest.approx((values - other).mean())
    assert found.bound is not None
    assert found.bound + found.margin == pytest.approx(bound, abs=0.1 * abs(surplus.mean() - bound))
    assert found.holds == (found.bound > -found.margin)
    assert found.holds
    assert not no_worse(scored(values - 0.1), scored(other), "maximize", 0.01, 0.05 / 3).holds
    assert not found.better and not no_worse(scored(values - 0.1), scored(other), "maximize", 0.01, 0.05 / 3).better
    for surplus, better in ((0.05, True), (0.01, False)):  # the one-sided bound lies about 0.022 below
        more = no_worse(scored(values + 0.01 + surplus), scored(other), "maximize", 0.01, 0.05 / 3)
        assert more.holds and more.better is better
    few = no_worse(
        scored(other + np.where(np.arange(400) < 20, 1 + np.arange(400) / 40, 0)), scored(other), "maximize", 0.01, 0.05
    )
    assert not few.better  # 20 of several sizes differ, a claim takes 32


def test_the_bound_of_few_examples_is_that_of_the_interval() -> None:
    other, noise = np.linspace(4.0, 6.0, 12), np.random.default_rng(5).normal(0.0, 0.2, 12)
    found = no_worse(scored(other + noise), scored(other), "maximize", 0.01, 0.01)
    expected = estimate(noise + 0.01 * other, 0.98).ci
    assert expected is not None and found.bound is not None
    assert found.bound + found.margin == pytest.approx(expected[0])
    assert no_worse(scored(other[:9]), scored(other[:9]), "maximize", 0.01, 0.01).bound is None


def test_no_worse_has_a_direction_and_a_margin_of_either_sign() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 0.1, 100)
    for value in (10.0, -10.0):
        other = scored(value + rng.normal(0.0, 0.1, 100))
        assert other.values is not None
        for direction, sign in (("maximize", 1), ("minimize", -1)):
            for loss, holds in ((0.05, True), (0.5, False)):  # the margin is 0.1
                worse = scored(other.values - sign * loss + noise / 2)
                assert no_worse(worse, other, direction, 0.01, 0.01).holds == holds  # type: ignore[arg-type]


def test_exact_values_are_no_worse_down_to_the_margin() -> None:
    assert no_worse(exact(1.01), exact(1.0), "minimize", 0.01, 0.05).holds
    assert not no_worse(exact(1.0101), exact(1.0), "minimize", 0.01, 0.05).holds
    assert no_worse(exact(0.9), exact(1.0), "minimize", 0.01, 0.05).better
    assert not no_worse(exact(1.0), exact(1.0), "minimize", 0.01, 0.05).better
    found = no_worse(exact(0.0), exact(0.0), "minimize", 0.01, 0.05)
    assert found.holds and found.bound is None and found.margin == 0
    assert not no_worse(exact(math.inf), exact(1.0), "minimize", 0.01, 0.05).holds


def test_equal_values_say_nothing_of_losses_that_are_rare() -> None:
    """100 right answers of 100 twice; and none of 100 twice, where the margin is nothing."""
    for value in (1.0, 0.0):
        same = scored(np.full(100, value))
        assert not no_worse(same, same, "maximize", 0.01, 0.05).holds


@pytest.mark.parametrize(
    ("right", "differing", "count", "level"),
    [(0.6, 0.2, 128, 0.05), (0.6, 0.2, 128, 0.05 / 6), (0.95, 0.0095, 128, 0.05), (0.9, 0.02, 128, 0.05)],
)
def test_a_loss_of_the_margin_is_seldom_called_none(right: float, differing: float, count: int, level: float) -> None:
    """Right and wrong answers, linear right in a share of ``right`` and the other 1 % less often; 400 experiments.

    They may hold at ``level``; more than that and 3.1 standard errors has probability 0.003 at most. In the last two,
    where few examples differ, 33 and 17 % would hold if it were not for that rule.
    """
    rng = np.random.default_rng(4)
    losses, wins = (differing + 0.01 * right) / 2, (differing - 0.01 * right) / 2
    held = 0
    for _ in range(400):
        place = rng.random(count)
        linear = (place < right).astype(float)
        other = np.where(place < losses, 0.0, np.where(place > 1 - wins, 1.0, linear))
        held += no_worse(scored(other), scored(linear), "maximize", 0.01, level).holds
    assert held <= 400 * level + 3.1 * math.sqrt(400 * level * (1 - level))


def spread(mean: float, deviation: float = 0.01) -> dict[str, Values]:
    values = np.linspace(-1.0, 1.0, 16)
    return {"token_entropy": mean + deviation * values / values.std(ddof=1)}


@pytest.mark.parametrize(
    ("winner", "flags"),
    [(0.96, ()), (0.94, ("less-diverse:token_entropy",)), (1.2, ())],
)
def test_a_loss_beyond_the_threshold_against_many_steps_is_flagged_and_blocks(
    winner: float, flags: tuple[str, ...]
) -> None:
    drawn = {"winner": spread(winner), "linear": spread(1.0), "reference": spread(1.0)}
    found = diversity_of(drawn, 128, 0.05)
    assert found.flags == flags and found.blocks == bool(flags)
    (loss,) = found.losses
    assert loss.share == pytest.approx(1 - winner) and loss.share_of_linear == pytest.approx(0.0)
    assert not diversity_of({**drawn, "linear": spread(winner)}, 128, 0.05).blocks  # few steps lose it, not the winner
    assert found.figures["reference"]["token_entropy"] == estimate(drawn["reference"]["token_entropy"])
    assert diversity_of(drawn, 128, 0.5).flags == ()


def test_a_loss_within_noise_is_not_flagged() -> None:
    """Welch: two means of 16 with deviation 0.1 differ by 0.1 +- 0.072, with deviation 0.2 by 0.1 +- 0.144."""
    for deviation, flagged, half in ((0.1, True, 0.0722), (0.2, False, 0.1444)):
        drawn = {
            "winner": spread(0.9, deviation),
            "linear": spread(1.0, deviation),
            "reference": spread(1.0, deviation),
        }
        found = diversity_of(drawn, 128, 0.05)
        assert bool(found.flags) == flagged
        assert found.losses[0].share_ci == pytest.approx((0.1 - half, 0.1 + half), abs=1e-4)


@pytest.mark.parametrize(
    ("linear", "blocks"),
    [(0.90, False), (0.94, False), (0.96, True), (1.0, True)],  # the winner loses 10 % of the data's figure
)
def test_a_loss_against_the_data_blocks_where_linear_loses_clearly_less(linear: float, blocks: bool) -> None:
    drawn = {"winner": spread(0.90), "linear": spread(linear), "reference": spread(0.9), "data": spread(1.0)}
    found = diversity_of(drawn, 128, 0.05)
    assert found.flags == ("less-diverse-than-data:token_entropy",)
    assert found.blocks == blocks
    assert found.losses[1].share_of_linear == pytest.approx(1 - linear)


def test_a_figure_of_zero_has_nothing_to_lose() -> None:
    nothing = {"distinct_words": np.zeros(16)}
    found = diversity_of({"winner": nothing, "linear": nothing, "data": nothing}, 16, 0.05)
    assert found.losses[0].share == 0 and found.losses[0].share_ci is None and not found.flags and not found.blocks


@pytest.mark.parametrize("claims", [1, 4])
@pytest.mark.parametrize("count", [9, 12, 40])
def test_many_samples_are_judged_as_a_single_search_is(count: int, claims: int) -> None:
    rng = np.random.default_rng(count)
    kinds = [rng.normal(0.5, 1.0, (40, count)), (rng.random((40, count)) < 0.6) * 1.0, np.ones((2, count))]
    kinds += [np.zeros((2, count)), rng.choice([-1.0, 0.0, 1.0], (40, count), p=[0.05, 0.5, 0.45])]
    for samples in kinds:
        shown = claimed(samples, corrected_confidence(claims), 1.0)
        for sample, expected in zip(samples, shown, strict=True):
            one, two = (replace(scored(each), bounds=(0.0, 1.0)) for each in (sample, np.zeros(count)))
            assert gain_of(one, two, "maximize", claims).shown == expected
    assert claimed(kinds[2], 0.95, 1.0).all() == (count >= 10)


def called(calls: Values | None, mean: float = 8.0, groups: list[int] | None = None) -> Scores:
    nfe = mean if calls is None else float(calls.mean())
    return replace(scored(np.zeros(200)), nfe=nfe, calls=calls, groups=groups)


def test_more_calls_have_the_interval_of_a_ratio_of_means_on_the_same_examples() -> None:
    rng = np.random.default_rng(0)
    linear = rng.integers(4, 9, 200).astype(float)  # answers of several lengths
    own = linear * rng.uniform(0.7, 1.5, 200)
    found = calls_interval(called(own), called(linear))
    assert found is not None
    picks = rng.integers(0, 200, (20_000, 200))
    drawn = np.quantile(own[picks].mean(1) / linear[picks].mean(1), [0.025, 0.975])  # the bootstrap's interval
    assert found == pytest.approx(drawn, abs=0.15 * (drawn[1] - drawn[0]))
    wider = calls_interval(called(own), called(linear), 0.99)
    assert wider is not None and wider[0] < found[0] and wider[1] > found[1]
    fixed = calls_interval(called(own), called(None, 6.0))
    ends = estimate(own).ci
    assert fixed is not None and ends is not None and np.multiply(fixed, 6.0) == pytest.approx(ends)
    assert calls_interval(called(1.5 * linear), called(linear)) is None  # the ratio does not vary
    assert calls_interval(called(None, 8.5), called(None)) is None
    twice = calls_interval(called(np.repeat(own[:100], 2), groups=[*np.repeat(range(100), 2)]), called(None))
    alone = calls_interval(called(own[:100]), called(None))
    assert twice is not None and alone is not None and twice == pytest.approx(alone)
