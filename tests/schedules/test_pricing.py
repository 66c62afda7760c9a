"""The price of a schedule against brute force over all orders, published values and all compositions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import differential_evolution
from scipy.stats import binom

from mdm_tune.core.errors import InputError
from mdm_tune.denoisers.analytic import Law, MarkovChain, Parity, RepeatedBit, Table
from mdm_tune.schedules import pricing as module
from mdm_tune.schedules.counts import alpha_grid, beta_grids, to_counts
from mdm_tune.schedules.curves import Beta, Linear, Sine, SquaredSine
from mdm_tune.schedules.pricing import (
    AncestralCurve,
    ancestral_nelbo,
    ancestral_order_kl,
    ancestral_weights,
    count_weights,
    nelbo,
    optima,
    order_kl,
    price_counts,
)

LN2 = math.log(2)
CHAIN = MarkovChain.sticky(2, 0.05, 32)
GRIDS = ([0, 1], [0, 0.3, 1], [0, 0.2, 0.2, 0.7, 1], [0, 1 / 3, 2 / 3, 1])


def random_table(seed: int, length: int, symbols: str = "abc") -> Table:
    rng = np.random.default_rng(seed)
    names = ["".join(x) for x in itertools.product(symbols, repeat=length)]
    chosen = rng.choice(len(names), size=rng.integers(3, len(names)), replace=False)
    return Table(tuple(names[i] for i in chosen), tuple(rng.dirichlet(np.ones(len(chosen))).tolist()))


def compositions(length: int, block_length: int | None = None) -> list[list[int]]:
    """All counts of at least 1 that sum to length; none crosses the end of a block."""
    forced = set(range(block_length or length, length, block_length or length))
    cuts = itertools.chain.from_iterable(itertools.combinations(range(1, length), n) for n in range(length))
    return [np.diff([0, *cut, length]).tolist() for cut in cuts if forced <= set(cut)]


def random_curve(seed: int, length: int) -> np.ndarray:
    """Rising and falling, so that greedy or convex shortcuts of an optimum would fail."""
    return np.random.default_rng(seed).uniform(0, 3, length)


def kl_of_order(law: Table, sets: list[list[int]]) -> float:
    """KL(p || q) when the positions of each set are drawn at once, independently given all earlier sets."""
    total = sum(law.weights)
    p = {x: w / total for x, w in zip(law.sequences, law.weights, strict=True)}
    value = 0.0
    for x, px in p.items():
        log_q = 0.0
        seen: list[int] = []
        for positions in sets:
            fits = {y: py for y, py in p.items() if all(y[at] == x[at] for at in seen)}
            for at in positions:
                log_q += math.log(sum(py for y, py in fits.items() if y[at] == x[at]) / sum(fits.values()))
            seen += positions
        value += px * (math.log(px) - log_q)
    return value


def in_sets(order: tuple[int, ...], counts: list[int]) -> tuple[frozenset[int], ...]:
    ends = np.cumsum(counts).tolist()
    return tuple(frozenset(order[end - count : end]) for count, end in zip(counts, ends, strict=True))


@pytest.mark.parametrize(
    ("law", "block_length"),
    [
        (random_table(0, 3), None),
        (random_table(1, 4), None),
        (random_table(2, 4, "ab"), None),
        (random_table(5, 4), 2),
        (random_table(6, 4), 1),
        (random_table(7, 6, "ab"), 2),
        (random_table(8, 6, "ab"), 3),
    ],
)
def test_order_kl_is_the_mean_over_all_orders(law: Table, block_length: int | None) -> None:
    """Every composition; with blocks every order that goes through them from left to right."""
    length, size = law.length, block_length or law.length
    inside = [itertools.permutations(range(start, start + size)) for start in range(0, length, size)]
    orders = [tuple(itertools.chain.from_iterable(parts)) for parts in itertools.product(*inside)]
    kl: dict[tuple[frozenset[int], ...], float] = {}
    every = compositions(length, block_length)
    assert len(every) == 2 ** (length - length // size)
    for counts in [*every, [1, 0, *([1] * (length - 1)), 0]]:
        chains = [in_sets(order, counts) for order in orders]
        for chain in set(chains) - set(kl):
            kl[chain] = kl_of_order(law, [sorted(positions) for positions in chain])
        expected = sum(kl[chain] for chain in chains) / len(chains)
        assert order_kl(law.profile(block_length), law.entropy(), counts) == pytest.approx(expected, abs=1e-10)
        assert nelbo(law.profile(block_length), counts) == pytest.approx(expected + law.entropy(), abs=1e-10)


@pytest.mark.parametrize("law", [random_table(3, 3), random_table(4, 4), random_table(9, 4, "ab")])
def test_ancestral_order_kl_is_the_mean_over_all_reveals(law: Table) -> None:
    """Every position is revealed at step i with probability alpha_{i+1} - alpha_i, independently."""
    kl: dict[tuple[frozenset[int], ...], float] = {}
    by_counts = [(np.cumsum([0, *counts]) / law.length).tolist() for counts in compositions(law.length)]
    for alphas in [*GRIDS, *by_counts]:
        expected, total, last = 0.0, 0.0, len(alphas) - 1
        for steps in itertools.product(range(last), repeat=law.length):
            weight = math.prod(alphas[i + 1] - alphas[i] for i in steps)
            sets = (frozenset(at for at, i in enumerate(steps) if i == step) for step in range(last))
            chain = tuple(positions for positions in sets if positions)
            if chain not in kl:
                kl[chain] = kl_of_order(law, [sorted(positions) for positions in chain])
            expected, total = expected + weight * kl[chain], total + weight
        assert total == pytest.approx(1)
        assert ancestral_order_kl(law.profile(), law.entropy(), alphas) == pytest.approx(expected, abs=1e-10)
        assert ancestral_nelbo(law.profile(), alphas) == pytest.approx(expected + law.entropy(), abs=1e-10)


@pytest.mark.parametrize(
    ("law", "steps", "linear", "squared_sine", "best"),
    [
        (RepeatedBit(32), 4, 7 * LN2, 4 * LN2, 0.0),
        (Parity(32), 4, LN2, LN2, 0.0),
        (CHAIN, 4, 2.7861, 2.3934, 1.7164),
        (CHAIN, 8, 1.0884, 1.0244, 0.6218),
    ],
)
def test_values_of_the_laws(law: Law, steps: int, linear: float, squared_sine: float, best: float) -> None:
    profile, entropy = law.profile(), law.entropy()
    assert order_kl(profile, entropy, to_counts(Linear(), steps, 32)) == pytest.approx(linear, abs=1e-4)
    for schedule in (Beta(1, 1), SquaredSine()):
        assert order_kl(profile, entropy, to_counts(schedule, steps, 32)) == pytest.approx(squared_sine, abs=1e-4)
    assert order_kl(profile, entropy, optima(profile, steps).counts(steps)) == pytest.approx(best, abs=1e-4)


def test_optimal_counts_of_the_chain() -> None:
    assert optima(CHAIN.profile(), 4).counts(4) == (3, 5, 9, 15)
    assert optima(CHAIN.profile(), 8).counts(8) == (1, 2, 2, 3, 4, 5, 6, 9) == to_counts(Beta(0.736, 0.430), 8, 32)


def test_closed_forms_of_the_repeated_bit_and_parity() -> None:
    """KL = (s_1 - 1) ln 2 and KL = ln 2 if s_K >= 2 else 0."""
    bit, parity = RepeatedBit(6), Parity(6)
    for counts in ((1, 5), (3, 3), (5, 1), (2, 2, 2), (6,), (1, 4, 1)):
        assert order_kl(bit.profile(), bit.entropy(), counts) == pytest.approx((counts[0] - 1) * LN2, abs=1e-12)
        expected = LN2 if counts[-1] >= 2 else 0.0
        assert order_kl(parity.profile(), parity.entropy(), counts) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60)
@given(curve=st.lists(st.floats(0, 5), min_size=1, max_size=8), most=st.integers(1, 9), data=st.data())
def test_optima_are_the_best_of_all_compositions(curve: list[float], most: int, data: st.DataObject) -> None:
    """Every number of steps of one sweep, without blocks and with every block length that divides."""
    length = len(curve)
    block_length = data.draw(st.sampled_from([None, *(size for size in range(1, length + 1) if length % size == 0)]))
    found = optima(curve, most, block_length)
    assert len(found.nelbo) == min(most, length)
    every = compositions(length, block_length)
    for steps in range(1, min(most, length) + 1):
        prices = [nelbo(curve, counts) for counts in every if len(counts) == steps]
        if not prices:
            assert found.nelbo[steps - 1] == math.inf
            with pytest.raises(InputError, match=f"got {steps}"):
                found.counts(steps)
            continue
        assert list(found.counts(steps)) in every and len(found.counts(steps)) == steps
        assert found.nelbo[steps - 1] == pytest.approx(min(prices), abs=1e-12)
        assert nelbo(curve, found.counts(steps)) == pytest.approx(min(prices), abs=1e-12)
    if most > length:
        assert found.counts(most) == (1,) * length


def test_blocks_share_the_steps_as_is_best() -> None:
    """Block 0 is a repeated bit, which needs one token alone; block 1 is a parity, which needs one alone at its end."""
    curve = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    found = optima(curve, 8, 4)
    assert found.nelbo[:4].tolist() == [math.inf, 8.0, 5.0, 4.0]
    assert found.counts(3) == (1, 3, 4) and found.counts(4) == (1, 3, 3, 1)
    with pytest.raises(InputError, match="needs at least 2 steps and was computed for at most 8, got 1"):
        found.counts(1)
    for steps in (0, -1):
        with pytest.raises(InputError, match="needs at least 2 steps"):
            found.counts(steps)
    with pytest.raises(InputError, match="needs at least 1 step and was computed for at most 3, got 4"):
        optima(curve, 3).counts(4)


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_weights_sum_to_the_length_and_price_what_the_nelbo_prices(length: int) -> None:
    rng = np.random.default_rng(length)
    curve = random_curve(length, length)
    for steps in (1, 2, 5):
        counts = rng.multinomial(length, rng.dirichlet(np.ones(steps)))
        weights = count_weights(counts, length)
        assert weights.shape == (length,) and weights.sum() == length
        assert weights @ curve == pytest.approx(sum(s * curve[n] for s, n in by_hand(counts)), abs=1e-12)
        assert nelbo(curve, counts) == pytest.approx(weights @ curve, abs=1e-12)
        alphas = np.concatenate([[0.0], np.sort(rng.random(steps - 1)), [1.0]])
        weights = ancestral_weights(alphas, length)
        assert weights.shape == (length,) and weights.sum() == pytest.approx(length, abs=1e-11)
        seen = [sum(curve[m] * binom.pmf(m, length - 1, a) for m in range(length)) for a in alphas[:-1]]
        assert weights @ curve == pytest.approx(length * float(np.diff(alphas) @ seen), abs=1e-10)
        assert ancestral_nelbo(curve, alphas) == pytest.approx(weights @ curve, abs=1e-12)


def by_hand(counts: np.ndarray) -> list[tuple[int, int]]:
    """Each count that is not 0 with the tokens revealed before it."""
    totals = itertools.accumulate(counts.tolist(), initial=0)
    return [(count, total) for count, total in zip(counts.tolist(), totals, strict=False) if count]


def test_many_counts_are_priced_as_one_by_one() -> None:
    curve = random_curve(1, 9)
    counts = np.random.default_rng(2).multinomial(9, np.full(5, 0.2), size=200)
    counts = np.concatenate([counts, [[9, 0, 0, 0, 0], [0, 0, 0, 0, 9], [4, 0, 0, 5, 0], [0, 3, 6, 0, 0]]])
    assert (counts[:, -1] == 0).sum() > 10
    np.testing.assert_allclose(price_counts(curve, counts), [nelbo(curve, row) for row in counts], atol=1e-12)


CURVES = {
    "bit": lambda length: np.eye(1, length)[0],
    "parity": lambda length: 1 - np.eye(1, length, length - 1)[0],
    "cliff": lambda length: (np.arange(length) < length // 3) + 0.1,
    "smooth": lambda length: 2 / (1 + np.arange(length)) + 0.3,
    "rough": lambda length: random_curve(length, length),
}


@pytest.mark.parametrize("length", [1, 2, 3, 17, 64, 256])
@pytest.mark.parametrize("kind", CURVES)
def test_the_spline_of_the_binomial_mean_is_close(kind: str, length: int) -> None:
    """Against sums over the binomial distribution, everywhere and most densely at the ends, where the mean bends."""
    curve = CURVES[kind](length)
    found = AncestralCurve(curve)
    rng = np.random.default_rng(0)
    near = 10 ** rng.uniform(-6, 0, 300)
    alphas = np.concatenate([[0, 1, 0.5], near, 1 - near, rng.random(300)])
    exact = binom.pmf(np.arange(length), length - 1, alphas[:, None]) @ curve
    np.testing.assert_allclose(found(alphas), exact, atol=1e-6 * curve.max(), rtol=0)
    assert found(alphas.reshape(3, -1)).shape == (3, len(alphas) // 3)
    for steps in (1, 4, 16):
        grids = beta_grids([0.1, 0.5, 1, 7, 0.3], [10, 0.5, 1, 0.2, 0.3], steps)
        expected = [ancestral_nelbo(curve, row) for row in grids]
        np.testing.assert_allclose(found.price(grids), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", CURVES)
def test_the_slope_of_the_ancestral_price_is_its_derivative(kind: str) -> None:
    """By central differences of the price itself; two grid points coincide in the last case."""
    found, step = AncestralCurve(CURVES[kind](24)), 1e-5
    for inner in (np.array([0.4]), np.array([0.1, 0.35, 0.36, 0.9]), np.array([0.2, 0.6, 0.6, 0.95])):
        price, slope = found.price_and_slope(inner)
        units = step * np.eye(len(inner))
        moved = [[found.price_and_slope(inner + sign * unit)[0] for sign in (1, -1)] for unit in units]
        alphas = np.sin(np.pi / 2 * np.array([0.0, *inner, 1.0])) ** 2
        assert price == pytest.approx(found.price(alphas[None])[0], rel=1e-12)
        np.testing.assert_allclose(slope, -np.diff(moved)[:, 0] / (2 * step), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_best_ancestral_grid_is_the_best_that_a_global_search_finds(kind: str, steps: int) -> None:
    curve = np.sort(CURVES[kind](12))[::-1]  # as a law's own profile and a fit that never rises are
    alphas = AncestralCurve(curve).optimal_alphas(steps)
    assert alphas.shape == (steps + 1,)
    price = ancestral_nelbo(curve, alphas)  # and so it is a valid grid
    every = 10 ** np.array(list(itertools.product(np.linspace(-1, 1, 21), repeat=2)))
    grids = beta_grids(*every.T, steps)
    assert price <= min(ancestral_nelbo(curve, row) for row in grids) + 1e-9
    if steps == 1:
        assert alphas.tolist() == [0, 1]
        return
    means = np.arange(12)

    def closed(u: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.sin(np.pi / 2 * np.sort(u)) ** 2, [1.0]])

    def cost(u: np.ndarray) -> float:
        row = closed(u)
        return float(12 * np.diff(row) @ (binom_table(row[:-1], means) @ curve))

    rival = differential_evolution(cost, [(0, 1)] * (steps - 1), rng=np.random.default_rng(0), popsize=8, maxiter=60)
    assert price <= rival.fun + 1e-6 * 12 * curve.max()
    assert price == pytest.approx(rival.fun, rel=1e-3)  # the rival is no straw man


def binom_table(p: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Binomial probabilities (len(p), len(m)) of m of len(m) - 1 by their formula, faster than scipy's."""
    number = len(m) - 1
    choose = np.array([math.comb(number, k) for k in m.tolist()])
    return choose * p[:, None] ** m * (1 - p[:, None]) ** (number - m)


def test_zero_counts_cost_nothing_and_change_nothing() -> None:
    profile = CHAIN.profile()
    assert nelbo(profile, (0, 10, 0, 22, 0)) == nelbo(profile, (10, 22))


def test_ancestral_price_tends_to_the_entropy_and_starts_at_one_step() -> None:
    profile, entropy = CHAIN.profile(), CHAIN.entropy()
    assert ancestral_nelbo(profile, [0, 1]) == pytest.approx(32 * profile[0], abs=1e-12)
    prices = [ancestral_order_kl(profile, entropy, alpha_grid(Sine(), steps)) for steps in (1, 4, 16, 64, 1024)]
    assert prices == sorted(prices, reverse=True)
    assert 0 < prices[-1] < 0.03
    assert ancestral_nelbo([0.7], [0, 0.5, 1]) == pytest.approx(0.7)


def test_only_round_off_is_clipped() -> None:
    assert order_kl([1.0, 1.0], 2.0 + 1e-13, [1, 1]) == 0.0
    assert order_kl([1.0, 1.0], 2.1, [1, 1]) == pytest.approx(-0.1)
    assert ancestral_order_kl([1.0, 1.0], 2.0 + 1e-13, [0, 0.5, 1]) == 0.0
    assert ancestral_order_kl([1.0, 1.0], 2.1, [0, 0.5, 1]) == pytest.approx(-0.1)


@pytest.mark.parametrize("counts", [[2, 1], [5, -1], [1.5, 2.5], [[4]], [], [math.nan, 4]])
def test_bad_counts_are_refused(counts: list[float]) -> None:
    with pytest.raises(InputError, match="sum to the 4 masked positions"):
        nelbo([1.0] * 4, counts)


@pytest.mark.parametrize("alphas", [[0], [0, 0.5], [0.1, 1], [0, 0.6, 0.5, 1], [0, math.nan, 1], [[0, 1]]])
def test_bad_grids_are_refused(alphas: list[float]) -> None:
    with pytest.raises(InputError, match="increase from 0 to 1"):
        ancestral_nelbo([1.0] * 4, alphas)


@pytest.mark.parametrize("profile", [[], [[1.0]], [1.0, math.nan], [math.inf]])
def test_bad_profiles_are_refused(profile: list[float]) -> None:
    for call in (
        lambda: nelbo(profile, [2]),
        lambda: ancestral_nelbo(profile, [0, 1]),
        lambda: optima(profile, 1),
        lambda: AncestralCurve(profile),
    ):
        with pytest.raises(InputError, match="finite number per revealed position"):
            call()


def test_bad_optima_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1 step"):
        optima([1.0, 0.5], 0)
    for size in (0, -2, 4, 12):
        with pytest.raises(InputError, match="block length that divides 6"):
            optima([1.0] * 6, 2, size)


def test_everything_exported_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
