"""The chance to win against simulation and scipy, and how often a race drops what would have won."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from mdm_tune.core.errors import InputError
from mdm_tune.search.racing import CHANCE, carried, chance, hopeless, look_sizes

ORDERS = 2000
values = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=1, max_size=60).map(np.array)


def with_pseudo_examples(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(differences).max()
    return np.concatenate([differences, [largest, -largest]])


def test_every_look_about_doubles_the_one_before() -> None:
    for examples in range(8, 10_001):
        found = look_sizes(examples)
        assert found[-1] == examples and found[0] >= 8 and len(found) <= 5
        assert all(2 * a - b in (0, 1) for a, b in pairwise(found))
        assert len(found) == 5 or found[0] < 15  # as many looks as 8 examples at the first allow


def test_looks_by_hand() -> None:
    assert look_sizes(128) == (8, 16, 32, 64, 128)
    assert look_sizes(100) == (13, 25, 50, 100)
    assert look_sizes(512) == (32, 64, 128, 256, 512)
    assert [look_sizes(few) for few in (1, 7, 8, 14, 15)] == [(1,), (7,), (8,), (14,), (8, 15)]


@pytest.mark.parametrize(("count", "total"), [(1, 2), (3, 40), (8, 9), (8, 128), (100, 128)])
def test_chance_is_the_share_of_simulated_futures_that_win(count: int, total: int) -> None:
    """Posterior draws of variance, mean and examples to come; 4 standard errors: false alarm below 1 in 15,000 each."""
    rng = np.random.default_rng(count)
    seen = rng.normal(size=count)
    seen += -seen.mean() - np.sqrt(1 / count - 1 / total)  # about one standard error below 0
    known = with_pseudo_examples(seen)
    n, futures = len(known), 200_000
    variance = (n - 1) * known.var(ddof=1) / rng.chisquare(n - 1, futures)
    mean = rng.normal(known.mean(), np.sqrt(variance / n))
    rest = rng.normal((total - count) * mean, np.sqrt((total - count) * variance))
    share = float(np.mean(seen.sum() + rest > 0))
    assert 0.01 < share < 0.99
    assert chance(seen, total) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / futures))


def test_with_endless_examples_chance_is_the_p_of_a_paired_t_test() -> None:
    seen = np.random.default_rng(0).normal(-0.2, 1.0, 30)
    p = stats.ttest_1samp(with_pseudo_examples(seen), 0.0, alternative="less").pvalue
    assert chance(seen, 10**9) == pytest.approx(p, rel=1e-4)


@settings(deadline=None)
@given(seen=values, more=st.integers(1, 1000), scale=st.floats(0.01, 1000))
def test_chance_has_no_unit_and_mirrors(seen: NDArray[np.float64], more: int, scale: float) -> None:
    total = len(seen) + more
    found = chance(seen, total)
    assert chance(scale * seen, total) == pytest.approx(found, abs=1e-9)
    assert chance(-seen, total) == pytest.approx(1 - found, abs=1e-9)
    assert chance(seen[::-1], total) == pytest.approx(found, abs=1e-9)
    assert not hopeless(seen, len(seen))


@settings(deadline=None)
@given(seen=values, more=st.integers(1, 1000), incumbent=st.floats(-10, 10))
def test_what_is_dropped_is_carried_below_the_incumbent(seen: NDArray[np.float64], more: int, incumbent: float) -> None:
    lower = seen - np.abs(seen).max()  # so that most are dropped
    if hopeless(lower, len(lower) + more):
        assert carried(incumbent, lower) < incumbent


def test_carried_takes_no_part_in_how_hard_the_first_examples_are() -> None:
    rng = np.random.default_rng(0)
    hardness = np.concatenate([np.full(8, -50.0), np.full(24, 50.0)])
    incumbent, candidate = hardness + rng.normal(size=32), hardness - 2 + rng.normal(size=32)
    found = carried(float(incumbent.mean()), candidate[:8] - incumbent[:8])
    assert found == pytest.approx(candidate.mean(), abs=2.0)
    assert carried(3.0, np.array([-1.0, -2.0])) == 1.5


def test_equal_differences() -> None:
    for count in range(1, 9):
        assert chance(np.zeros(count), 128) == 0.5
        assert not hopeless(np.zeros(count), 128)
        assert chance(np.ones(count), 128) > 0.5
    lost = [hopeless(np.full(count, -0.25), 128) for count in range(1, 9)]
    assert lost == sorted(lost) and not any(lost[:3]) and lost[-1]  # three losses are chance, eight are not


def test_ties_and_few_losses_are_no_evidence() -> None:
    """0 or 1 each, as with correct answers: a deviation of 0 over the first examples must not decide."""
    assert not hopeless(np.array([0.0] * 7 + [-1.0]), 128)
    assert not hopeless(np.array([0.0] * 6 + [-1.0] * 2), 128)
    assert not hopeless(np.array([0.0] * 62 + [-1.0] * 2), 128)
    assert hopeless(np.array([0.0] * 48 + [-1.0] * 16), 128)


def test_all_seen_decides() -> None:
    assert chance(np.array([1.0, -0.5]), 2) == 1.0
    assert chance(np.array([-1.0, 0.5]), 2) == chance(np.zeros(2), 2) == 0.0


def dropped(population: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Share of random orders of the population in which each look alone would drop it; the last entry: any look."""
    rng, total = np.random.default_rng(seed), len(population)
    found = [
        [hopeless(order[:count], total) for count in look_sizes(total)[:-1]]
        for order in (rng.permutation(population) for _ in range(ORDERS))
    ]
    flags = np.array(found)
    return np.append(flags.mean(0), flags.any(1).mean())


def normal(total: int) -> NDArray[np.float64]:
    drawn = np.random.default_rng(total).normal(size=total)
    return drawn - drawn.mean()


def binary(total: int, share: float) -> NDArray[np.float64]:
    each = round(total * share / 2)
    return np.repeat([1.0, -1.0, 0.0], [each, each, total - 2 * each])


@pytest.mark.parametrize("total", [64, 128])
@pytest.mark.parametrize("kind", ["normal", "ties 75 %", "ties 97 %"])
def test_a_candidate_as_good_as_the_incumbent_is_dropped_at_most_at_the_stated_rate(kind: str, total: int) -> None:
    """The mean over all examples is exactly 0: no candidate that wins is closer. 4 standard errors: false alarm below
    1 in 10,000 a look."""
    population = normal(total) if kind == "normal" else binary(total, 1 - float(kind.split()[1]) / 100)
    rates = dropped(population, total)
    assert (rates[:-1] < CHANCE + 4 * np.sqrt(CHANCE / ORDERS)).all()
    assert rates[-1] < CHANCE * (len(rates) - 1)


def test_a_winner_is_hardly_ever_dropped_and_a_loser_soon() -> None:
    """Half a deviation apart: winners below 1 % (at most 0.25 % expected), losers above 90 % of the time."""
    assert dropped(normal(128) + 0.5, 0)[-1] < 0.01
    assert dropped(normal(128) - 0.5, 0)[-1] > 0.9


def test_rare_large_wins_cost_more_than_the_stated_rate_but_not_much() -> None:
    """Exponential differences, mean exactly 0: skewed against the normal law. Below 12 % a look, rare losses below."""
    drawn = np.random.default_rng(3).exponential(size=128)
    wins = dropped(drawn - drawn.mean(), 0)
    losses = dropped(drawn.mean() - drawn, 0)
    assert (wins[:-1] < 0.12).all()
    assert (losses[:-1] < CHANCE).all()


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.0, np.nan]), np.array([-np.inf, 1.0])])
def test_nothing_follows_from_no_or_infinite_differences(bad: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="race"):
        hopeless(bad, 10)
    with pytest.raises(InputError, match="race"):
        carried(0.0, bad)


def test_more_seen_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match="got 3 of 2"):
        chance(np.zeros(3), 2)
    with pytest.raises(InputError, match="at least one example"):
        look_sizes(0)
