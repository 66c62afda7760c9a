"""The price of a schedule against brute force over all orders, published values and all compositions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm_tune import pricing as module
from mdm_tune.counts import grid, to_counts
from mdm_tune.denoisers.analytic import Law, MarkovChain, Parity, RepeatedBit, Table
from mdm_tune.errors import InputError
from mdm_tune.pricing import ancestral_nelbo, ancestral_order_kl, nelbo, optima, order_kl
from mdm_tune.schedules import Beta, Linear, Sine, SquaredSine

LN2 = math.log(2)
CHAIN = MarkovChain.sticky(2, 0.05, 32)
GRIDS = ([0, 1], [0, 0.3, 1], [0, 0.2, 0.2, 0.7, 1], [0, 1 / 3, 2 / 3, 1])


def random_table(seed: int, length: int) -> Table:
    rng = np.random.default_rng(seed)
    names = ["".join(x) for x in itertools.product("abc", repeat=length)]
    chosen = rng.choice(len(names), size=rng.integers(3, len(names)), replace=False)
    return Table(tuple(names[i] for i in chosen), tuple(rng.dirichlet(np.ones(len(chosen))).tolist()))


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


@pytest.mark.parametrize(("seed", "length"), [(0, 3), (1, 4), (2, 4)])
def test_order_kl_is_the_mean_over_all_orders(seed: int, length: int) -> None:
    law = random_table(seed, length)
    for counts in [[length], [1] * length, [1, length - 1], [length - 1, 1], [1, 0, length - 2, 0, 1]]:
        values = []
        for order in itertools.permutations(range(length)):
            ends = np.cumsum(counts).tolist()
            values.append(kl_of_order(law, [list(order[b - s : b]) for s, b in zip(counts, ends, strict=True)]))
        expected = sum(values) / len(values)
        assert order_kl(law.profile(), law.entropy(), counts) == pytest.approx(expected, abs=1e-10)
        assert nelbo(law.profile(), counts) == pytest.approx(expected + law.entropy(), abs=1e-10)


@pytest.mark.parametrize(("seed", "length"), [(3, 3), (4, 4)])
def test_ancestral_order_kl_is_the_mean_over_all_reveals(seed: int, length: int) -> None:
    """Every position is revealed at step i with probability alpha_{i+1} - alpha_i, independently."""
    law = random_table(seed, length)
    for alphas in GRIDS:
        expected, total = 0.0, 0.0
        for steps in itertools.product(range(len(alphas) - 1), repeat=length):
            weight = math.prod(alphas[i + 1] - alphas[i] for i in steps)
            sets = [[at for at, i in enumerate(steps) if i == step] for step in range(len(alphas) - 1)]
            expected += weight * kl_of_order(law, sets) if weight else 0.0
            total += weight
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


@settings(max_examples=60, deadline=None)
@given(
    profile=st.lists(st.floats(0, 5), min_size=1, max_size=9),
    steps=st.integers(1, 9),
)
def test_optimum_is_the_best_of_all_compositions(profile: list[float], steps: int) -> None:
    length = len(profile)
    counts = optima(profile, steps).counts(steps)
    assert len(counts) == min(steps, length)
    assert min(counts) >= 1
    cuts = itertools.combinations(range(1, length), len(counts) - 1)
    best = min(nelbo(profile, np.diff([0, *cut, length])) for cut in cuts)
    assert nelbo(profile, counts) == pytest.approx(best, abs=1e-12)


def test_zero_counts_cost_nothing_and_change_nothing() -> None:
    profile = CHAIN.profile()
    assert nelbo(profile, (0, 10, 0, 22, 0)) == nelbo(profile, (10, 22))


def test_ancestral_price_tends_to_the_entropy_and_starts_at_one_step() -> None:
    profile, entropy = CHAIN.profile(), CHAIN.entropy()
    assert ancestral_nelbo(profile, [0, 1]) == pytest.approx(32 * profile[0], abs=1e-12)
    prices = [ancestral_order_kl(profile, entropy, grid(Sine(), steps)) for steps in (1, 4, 16, 64, 1024)]
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
    for call in (lambda: nelbo(profile, [2]), lambda: ancestral_nelbo(profile, [0, 1]), lambda: optima(profile, 1)):
        with pytest.raises(InputError, match="finite number per revealed position"):
            call()


def test_a_budget_without_steps_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        optima([1.0, 0.5], 0)


def test_everything_exported_exists() -> None:
    assert all(hasattr(module, name) for name in module.__all__)
