"""The best and nearly best Beta(a, b) on a curve, against prices one by one and grids denser than the search's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import MarkovChain, Parity, RepeatedBit
from mdm_tune.schedules import family as module
from mdm_tune.schedules.counts import CountRule, alpha_grid, to_counts
from mdm_tune.schedules.curves import Beta, parse_schedule
from mdm_tune.schedules.family import Pricer
from mdm_tune.schedules.pricing import AncestralCurve, ancestral_nelbo, nelbo, optima, order_kl

CHAIN = MarkovChain.sticky(2, 0.05, 32)
BOX = (0.1, 10.0)
RANGES = {"a": BOX, "b": BOX}
ROUND_OFF = 1 + 1e-12  # of going to the logarithm and back


def falling(seed: int, length: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).gamma(0.5, 1.0, length))[::-1].copy()


def fixed(curve: np.ndarray, block_length: int | None = None, rule: CountRule = "one-per-step") -> Pricer:
    return Pricer(curve=curve, block_length=block_length or len(curve), bernoulli=False, rule=rule)


def ancestral(curve: np.ndarray) -> Pricer:
    return Pricer(curve=curve, block_length=len(curve), bernoulli=True, rule="one-per-step")


def square(low: float, high: float, points: int) -> np.ndarray:
    axis = np.geomspace(low, high, points)
    return np.array(list(itertools.product(axis, repeat=2)))


def by_hand(pricer: Pricer, beta: Beta, steps: int) -> float:
    """One schedule by the plain functions; in every block the same share of the steps."""
    if pricer.bernoulli:
        return ancestral_nelbo(pricer.curve, alpha_grid(beta, steps))
    blocks = len(pricer.curve) // pricer.block_length
    return nelbo(pricer.curve, to_counts(beta, steps // blocks, pricer.block_length, pricer.rule) * blocks)


@pytest.mark.parametrize("rule", ["one-per-step", "cumulative"])
@pytest.mark.parametrize(("block_length", "steps"), [(24, 1), (24, 5), (24, 30), (8, 6), (8, 12), (8, 48), (1, 24)])
def test_many_prices_are_those_one_by_one(rule: CountRule, block_length: int, steps: int) -> None:
    """On a curve that rises and falls, with more steps than tokens too."""
    pricer = fixed(np.random.default_rng(0).uniform(0, 3, 24), block_length, rule)
    assert pricer.blocks == 24 // block_length
    points = square(0.1, 10, 6)
    expected = [by_hand(pricer, Beta(a, b), steps) for a, b in points]
    assert np.ptp(expected) > 0.1 or steps == 1 or steps >= 24  # else all would be one price
    np.testing.assert_allclose(pricer.beta_nelbos(points, steps), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("steps", [1, 4, 40])
def test_many_ancestral_prices_are_those_one_by_one(steps: int) -> None:
    for curve in (np.random.default_rng(1).uniform(0, 3, 24), RepeatedBit(64).profile(), CHAIN.profile()):
        points = square(0.1, 10, 6)
        expected = [by_hand(ancestral(curve), Beta(a, b), steps) for a, b in points]
        np.testing.assert_allclose(ancestral(curve).beta_nelbos(points, steps), expected, rtol=1e-6, atol=0)


def test_steps_that_blocks_cannot_share_are_refused() -> None:
    with pytest.raises(InputError, match="7 steps cannot be shared equally by 4 blocks"):
        fixed(CHAIN.profile(), 8).beta_nelbos(np.ones((1, 2)), 7)
    with pytest.raises(InputError, match="2 steps are fewer than the 4 blocks of 8 tokens"):
        fixed(CHAIN.profile(), 8).best_beta(2, RANGES)


@pytest.mark.parametrize(("steps", "expected"), [(4, 1.7164), (8, 0.6218)])
def test_the_chains_best_beta_is_the_optimum_over_all_counts(steps: int, expected: float) -> None:
    pricer = fixed(CHAIN.profile())
    assert pricer.floor == pytest.approx(CHAIN.entropy(), abs=1e-12)
    best = pricer.best_beta(steps, RANGES)
    counts = to_counts(best, steps, 32)
    assert nelbo(pricer.curve, counts) - CHAIN.entropy() == pytest.approx(expected, abs=1e-4)
    assert counts == pricer.optimum_counts(steps).counts(steps)


def test_the_cliffs_are_met_exactly() -> None:
    """A repeated bit wants one token first, parity one token last: both lose nothing then."""
    for law, end in ((RepeatedBit(32), 0), (Parity(32), -1)):
        pricer = fixed(law.profile())
        best = pricer.best_beta(4, RANGES)
        assert to_counts(best, 4, 32)[end] == 1
        assert by_hand(pricer, best, 4) == pytest.approx(law.entropy(), abs=1e-9)


@pytest.mark.parametrize(
    ("pricer", "steps", "a", "b"),
    [
        (fixed(falling(2, 64)), 8, BOX, BOX),
        (fixed(falling(3, 48), rule="cumulative"), 5, BOX, BOX),
        (fixed(np.tile(falling(4, 16), 3), 16), 12, (0.3, 2.0), (0.05, 20.0)),
        (fixed(np.random.default_rng(5).uniform(0, 2, 40)), 6, BOX, BOX),
        (ancestral(falling(6, 64)), 8, BOX, BOX),
        (ancestral(CHAIN.profile()), 4, (0.8, 3.0), (0.8, 5.0)),
    ],
)
def test_no_dense_grid_beats_the_best_beta(
    pricer: Pricer, steps: int, a: tuple[float, float], b: tuple[float, float]
) -> None:
    """120 x 120 points: 6 times as many as the first scan."""
    best = pricer.best_beta(steps, {"a": a, "b": b})
    assert a[0] / ROUND_OFF <= best.a <= a[1] * ROUND_OFF and b[0] / ROUND_OFF <= best.b <= b[1] * ROUND_OFF
    assert best == pricer.best_beta(steps, {"a": a, "b": b})
    points = np.array(list(itertools.product(np.geomspace(*a, 120), np.geomspace(*b, 120))))
    prices = pricer.beta_nelbos(points, steps)
    price = by_hand(pricer, best, steps)
    assert price <= prices.min() * (1 + 1e-6 * pricer.bernoulli) + 1e-9
    assert price < np.quantile(prices, 0.2) - 1e-3  # there is something to find
    if not pricer.bernoulli and pricer.rule == "one-per-step":
        assert price >= pricer.optimum_counts(steps).nelbo[steps - 1] - 1e-9


def test_of_equal_points_one_in_their_middle_is_taken() -> None:
    """At one step everything costs the same, and the middle of the box is near Beta(1, 1)."""
    best = fixed(CHAIN.profile()).best_beta(1, RANGES)
    assert (math.log(best.a), math.log(best.b)) == pytest.approx((0, 0), abs=0.3)


def test_a_box_of_one_point_is_that_point() -> None:
    best = fixed(CHAIN.profile()).best_beta(4, {"a": (0.7, 0.7), "b": (2.0, 2.0)})
    assert (best.a, best.b) == pytest.approx((0.7, 2.0), rel=1e-12)


@pytest.mark.parametrize(
    ("pricer", "steps"),
    [(fixed(CHAIN.profile()), 8), (fixed(np.tile(falling(4, 16), 3), 16), 12), (ancestral(CHAIN.profile()), 8)],
)
def test_near_best_points_qualify_and_are_spread(pricer: Pricer, steps: int) -> None:
    found = pricer.near_best(steps, RANGES, 6)
    assert found == pricer.near_best(steps, RANGES, 6)
    assert found[:3] == pricer.near_best(steps, RANGES, 3)
    assert len(found) == 6 and found[0] == pricer.best_beta(steps, RANGES)
    prices = np.array([by_hand(pricer, beta, steps) for beta in found])
    allowed = prices[0] + 0.25 * (prices[0] - pricer.curve.sum())
    assert (prices[1:] <= allowed * (1 + 1e-6)).all()
    at = np.log([[beta.a, beta.b] for beta in found])
    apart = [min(np.linalg.norm(at[i] - at[:i], axis=1)) for i in range(1, 6)]
    assert apart == sorted(apart, reverse=True) and apart[-1] > 0.1
    # What qualifies on a grid of its own is nowhere much farther from the chosen than the chosen are from each other.
    points = square(*BOX, 60)
    good = np.log(points[pricer.beta_nelbos(points, steps) <= allowed])
    assert len(good) > 20
    away = np.linalg.norm(good[:, None] - at, axis=2).min(axis=1)
    assert away.max() <= apart[-1] + 0.2


def test_a_price_at_the_floor_has_no_slack() -> None:
    """One token per step loses nothing: only what loses nothing qualifies, though everything is cheap."""
    pricer = fixed(CHAIN.profile())
    for beta in pricer.near_best(32, RANGES, 4):
        assert by_hand(pricer, beta, 32) == pytest.approx(pricer.floor, abs=1e-9)
    parity = fixed(Parity(32).profile())
    for beta in parity.near_best(4, RANGES, 4):
        assert by_hand(parity, beta, 4) == pytest.approx(parity.floor, abs=1e-9)
    assert pricer.near_best(4, RANGES, 1) == [pricer.best_beta(4, RANGES)]


def test_optima_are_those_of_pricing() -> None:
    curve = np.tile(falling(4, 16), 3)
    ours, plain = fixed(curve, 16).optimum_counts(10), optima(curve, 10, 16)
    assert ours.counts(7) == plain.counts(7) and ours.nelbo.tolist() == plain.nelbo.tolist()
    assert math.isinf(ours.nelbo[1]) and math.isfinite(ours.nelbo[2])
    best = ancestral(CHAIN.profile()).optimum_alphas(4)
    assert best.shape == (5,)
    beta = ancestral(CHAIN.profile()).best_beta(4, RANGES)
    assert ancestral_nelbo(CHAIN.profile(), best) <= ancestral_nelbo(CHAIN.profile(), alpha_grid(beta, 4)) + 1e-9


def test_everything_exported_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)


def test_steps_without_tokens_belong_to_the_optimum_where_the_rule_allows_them() -> None:
    """On a curve that rises it can be better to reveal more at once, and by this rule a Beta may leave steps empty."""
    curve = np.array([1, 3, 3, 3, 0.2, 0.2, 0.2, 0.1])
    pricer = Pricer(curve=curve, block_length=8, bernoulli=False, rule="cumulative")
    counts = pricer.counts_at(pricer.optimum_counts(6), 6)
    assert len(counts) == 6 and sum(counts) == 8
    beta = pricer.best_beta(6, RANGES)
    assert nelbo(curve, counts) <= pricer.beta_nelbos(np.array([[beta.a, beta.b]]), 6)[0] < 5
    strict = Pricer(curve=curve, block_length=8, bernoulli=False, rule="one-per-step")
    assert min(strict.counts_at(strict.optimum_counts(6), 6)) == 1


def test_the_ancestral_optimum_sees_a_drop_after_the_first_token() -> None:
    """Excess of a repeated bit of 1,024: no worse than the best of restarts from random grids and from every Beta."""
    law = RepeatedBit(1024)
    smooth = AncestralCurve(law.profile())
    best = smooth.price(smooth.optimal_alphas(8)[None])[0]
    rng = np.random.default_rng(0)
    grids = np.sort(rng.random((2000, 7)) ** rng.integers(1, 12, (2000, 1)), axis=1)
    random = np.hstack([np.zeros((2000, 1)), grids, np.ones((2000, 1))])
    pricer = Pricer(curve=law.profile(), block_length=1024, bernoulli=True, rule="one-per-step")
    beta = pricer.best_beta(8, {"a": (1e-2, 10.0), "b": (1e-2, 10.0)})
    assert best <= smooth.price(random).min() and best <= pricer.beta_nelbos(np.array([[beta.a, beta.b]]), 8)[0]
    assert order_kl(law.profile(), law.entropy(), [1, 1023]) == 0  # fixed counts need two steps


def test_the_best_beta_is_found_in_narrow_valleys_too() -> None:
    """Random falling curves, against a scan of 150 x 150 points: within 2 % of the excess in 7 cases of 8."""
    rng = np.random.default_rng(5)
    axis = np.geomspace(*BOX, 150)
    scan = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    missed = 0
    for _ in range(8):
        curve = np.sort(rng.exponential(1, 32) * rng.random(32) ** rng.integers(0, 4))[::-1].copy()
        pricer = Pricer(curve=curve, block_length=32, bernoulli=False, rule="one-per-step")
        beta = pricer.best_beta(8, RANGES)
        found = pricer.beta_nelbos(np.array([[beta.a, beta.b]]), 8)[0]
        least = pricer.beta_nelbos(scan, 8).min()
        missed += found - least > 0.02 * (least - pricer.floor)
    assert missed <= 1


def test_more_steps_than_tokens_are_one_token_a_step() -> None:
    pricer = Pricer(curve=MarkovChain.sticky(2, 0.1, 8).profile(), block_length=8, bernoulli=False, rule="one-per-step")
    assert pricer.beta_nelbos(np.array([[0.3, 4.0], [1.0, 1.0]]), 60_000).tolist() == [pricer.floor] * 2
    assert to_counts(parse_schedule("beta:0.3,4"), 60_000, 8) == (1,) * 8
