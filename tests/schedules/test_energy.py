"""The energies against brute force over all states of small random laws, and against their own bounds."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad

from mdm_tune.core.errors import InputError
from mdm_tune.schedules.curves import Alphas, Beta, Counts, Linear, MaskgitCosine, Schedule, Sine, SquaredSine
from mdm_tune.schedules.energy import (
    LEAST_ENERGY,
    beta_energy,
    conditional_kinetic_energy,
    conditional_ratio,
    geodesic_energy,
    kinetic_energy,
    kinetic_ratio,
    landscape,
    log2_ratios,
    path_energy,
)

Array = NDArray[np.float64]
FREE = [Linear(), Sine(), SquaredSine(), MaskgitCosine()]


@dataclass(frozen=True)
class Law:
    """A data law on words of ``length`` symbols 0..vocab-1 in which every word has a positive probability."""

    vocab: int
    length: int
    weights: Array

    @property
    def words(self) -> list[tuple[int, ...]]:
        return list(itertools.product(range(self.vocab), repeat=self.length))

    @property
    def states(self) -> list[tuple[int, ...]]:
        """Words over vocab + 1 symbols, of which the last is the mask."""
        return list(itertools.product(range(self.vocab + 1), repeat=self.length))


def random_law(vocab: int, length: int, seed: int) -> Law:
    weights = np.random.default_rng(seed).gamma(0.7, size=vocab**length) + 0.01
    return Law(vocab, length, weights / weights.sum())


def given_word(law: Law, word: tuple[int, ...], alpha: float) -> dict[tuple[int, ...], float]:
    """p_t(. | word): each token is shown with probability alpha, on its own."""
    law_of_word = {}
    for shown in itertools.product([True, False], repeat=law.length):
        state = tuple(token if show else law.vocab for token, show in zip(word, shown, strict=True))
        law_of_word[state] = alpha ** sum(shown) * (1 - alpha) ** (law.length - sum(shown))
    return law_of_word


def marginal(law: Law, alpha: float) -> dict[tuple[int, ...], float]:
    mixed = dict.fromkeys(law.states, 0.0)
    for weight, word in zip(law.weights, law.words, strict=True):
        for state, chance in given_word(law, word, alpha).items():
            mixed[state] += weight * chance
    return mixed


def reveals(law: Law, state: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The states with one more token shown."""
    hidden = [i for i, token in enumerate(state) if token == law.vocab]
    return [(*state[:i], token, *state[i + 1 :]) for i in hidden for token in range(law.vocab)]


def rates(law: Law, alpha: float, d_alpha: float) -> dict[tuple[tuple[int, ...], tuple[int, ...]], float]:
    """Q_t(z, x): the mean over p(word | z) of the rate d_alpha/(1 - alpha) at which a word shows each of its tokens."""
    here = marginal(law, alpha)
    total: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for weight, word in zip(law.weights, law.words, strict=True):
        conditional = given_word(law, word, alpha)
        for z, chance in conditional.items():
            for x in reveals(law, z):
                if x in conditional:
                    total[z, x] = total.get((z, x), 0.0) + weight * chance / here[z] * d_alpha / (1 - alpha)
    return total


def kinetic_density(law: Law, alpha: float, d_alpha: float) -> float:
    here = marginal(law, alpha)
    return sum(here[z] / here[x] * rate**2 for (z, x), rate in rates(law, alpha, d_alpha).items()) / 4


def conditional_density(law: Law, alpha: float, d_alpha: float) -> float:
    total = 0.0
    for weight, word in zip(law.weights, law.words, strict=True):
        here = given_word(law, word, alpha)
        moves = ((z, x) for z in here for x in reveals(law, z) if x in here)
        total += weight * sum(here[z] / here[x] * (d_alpha / (1 - alpha)) ** 2 for z, x in moves) / 4
    return total


def geodesic_density(law: Law, alpha: float, d_alpha: float) -> float:
    """Each token is shown with probability alpha or masked, so sqrt(p_t(.|x1)) has two coordinates."""
    step = 1e-6 * min(alpha, 1 - alpha)
    shown = (math.sqrt(alpha + step) - math.sqrt(alpha - step)) / (2 * step)
    masked = (math.sqrt(1 - alpha - step) - math.sqrt(1 - alpha + step)) / (2 * step)
    return law.length * d_alpha**2 * (shown**2 + masked**2)


LAWS = [(2, 1, 0), (3, 1, 1), (2, 2, 2), (3, 2, 3), (4, 2, 4), (2, 3, 5), (3, 3, 6), (1, 3, 7), (2, 4, 8)]


@pytest.mark.parametrize(("vocab", "length", "seed"), LAWS)
def test_reveal_rates_make_the_marginals(vocab: int, length: int, seed: int) -> None:
    """The brute force below rests on these rates: d/dt p_t must be the flow in less the flow out."""
    law, alpha, step = random_law(vocab, length, seed), 0.37, 1e-6
    before, here, after = (marginal(law, alpha + shift) for shift in (-step, 0, step))
    flow = dict.fromkeys(law.states, 0.0)
    for (z, x), rate in rates(law, alpha, 1.0).items():
        flow[x] += here[z] * rate
        flow[z] -= here[z] * rate
    for state in law.states:
        assert flow[state] == pytest.approx((after[state] - before[state]) / (2 * step), abs=1e-9)
    assert sum(here.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("vocab", "length", "seed"), LAWS)
@pytest.mark.parametrize("alpha", [0.03, 0.4, 0.9])
def test_the_densities_differ_by_constant_factors(vocab: int, length: int, seed: int, alpha: float) -> None:
    """Source: arXiv:2509.13866, Theorems 3.1 and 3.2."""
    law = random_law(vocab, length, seed)
    kinetic, conditional, geodesic = (
        density(law, alpha, 1.7) for density in (kinetic_density, conditional_density, geodesic_density)
    )
    assert kinetic / conditional == pytest.approx(kinetic_ratio(vocab, length), rel=1e-9)
    assert conditional / geodesic == pytest.approx(conditional_ratio(length), rel=1e-6)
    assert geodesic == pytest.approx(length * 1.7**2 / (4 * alpha * (1 - alpha)), rel=1e-6)


CLOCK = np.linspace(-3.2, 3.2, 161)


def brute_force(law: Law, mask: Schedule, interpolation: Schedule) -> Array:
    """(E_k, E_c, E_g) by the trapezoidal rule in the double-exponential clock t = 1/(1 + exp(-pi sinh y))."""
    times = 1 / (1 + np.exp(-math.pi * np.sinh(CLOCK)))
    weights = math.pi * np.cosh(CLOCK) * times * (1 - times) * (CLOCK[1] - CLOCK[0])
    inside = times < 1
    times, weights = times[inside], weights[inside]
    point, clock = mask.at(times), interpolation.at(times).d_gamma
    densities = (kinetic_density, conditional_density, geodesic_density)
    total = np.zeros(3)
    for alpha, d_alpha, d_gamma, weight in zip(point.alpha, point.d_alpha, clock, weights, strict=True):
        if 0 < alpha < 1:
            total += [weight / d_gamma * density(law, alpha, d_alpha) for density in densities]
    return total


def three_energies(mask: Schedule, interpolation: Schedule, vocab: int, length: int) -> Array:
    energies = (kinetic_energy, conditional_kinetic_energy, geodesic_energy)
    return np.array([energy(mask, interpolation, vocab=vocab, length=length) for energy in energies])


@pytest.mark.parametrize(("vocab", "length", "seed"), [(3, 1, 1), (2, 2, 2), (3, 2, 3), (2, 3, 5)])
@pytest.mark.parametrize(
    ("mask", "interpolation"),
    [
        (SquaredSine(), SquaredSine()),
        (Beta(1.2, 0.9), Beta(1.0, 1.0)),
        (Sine(), Sine()),
        (Sine(), Linear()),
        (MaskgitCosine(), Beta(0.7, 0.4)),
    ],
    ids=lambda s: s.name,
)
def test_energies_agree_with_brute_force(
    mask: Schedule, interpolation: Schedule, vocab: int, length: int, seed: int
) -> None:
    """Source: arXiv:2509.13866, Definitions 2.1 to 2.3."""
    got = three_energies(mask, interpolation, vocab, length)
    np.testing.assert_allclose(got, brute_force(random_law(vocab, length, seed), mask, interpolation), rtol=2e-5)


def test_the_three_energies_share_their_minimiser() -> None:
    """Source: arXiv:2509.13866, Theorem 3.6. Brute force over a grid of schedules on a law of two tokens."""
    law, grid, interpolation = random_law(2, 2, 11), [0.7, 0.8, 0.9, 1.0, 1.1], Beta(0.9, 0.8)
    pairs = list(itertools.product(grid, grid))
    energies = np.array([brute_force(law, Beta(a, b), interpolation) for a, b in pairs])
    assert [pairs[i] for i in energies.argmin(axis=0)] == [(0.9, 0.8)] * 3
    np.testing.assert_allclose(energies.min(axis=0), three_energies(interpolation, interpolation, 2, 2), rtol=2e-5)


def distance(first: Schedule, second: Schedule) -> float:
    times = np.linspace(0, 1, 2001)
    return float(np.abs(first.at(times).gamma - second.at(times).gamma).max())


def random_masks(seed: int, number: int) -> list[Schedule]:
    rng = np.random.default_rng(seed)
    masks: list[Schedule] = []
    for i in range(number):
        if i % 4:
            a, b = np.exp(rng.uniform(math.log(0.27), math.log(10), 2))
            masks.append(Beta(a, b))
        else:
            masks.append(Counts(tuple(rng.integers(0, 9, rng.integers(1, 7)) + 1)))
    return masks


@pytest.mark.parametrize(
    ("interpolation", "number", "finite"),
    [
        (Beta(0.6, 0.9), 260, 210),
        (Linear(), 40, 30),
        (SquaredSine(), 40, 10),
        (Sine(), 40, 10),
        (Counts((2, 3, 1)), 40, 30),
    ],
    ids=lambda value: value.name if isinstance(value, Schedule) else "",
)
def test_no_schedule_beats_the_optimal_one(interpolation: Schedule, number: int, finite: int) -> None:
    """E >= pi^2/4 (1 + 4 max|u - gamma|^2), since chi-square >= 4 TV^2 >= 4 max|u - gamma|^2."""
    assert path_energy(interpolation, interpolation) == pytest.approx(LEAST_ENERGY, rel=1e-9)
    masks = random_masks(seed=1, number=number)
    energies = [path_energy(mask, interpolation) for mask in masks]
    assert np.isfinite(energies).sum() >= finite
    for mask, energy in zip(masks, energies, strict=True):
        assert energy >= LEAST_ENERGY * (1 + 4 * distance(mask, interpolation) ** 2) * (1 - 1e-9)


def test_only_the_optimal_schedule_attains_the_bound() -> None:
    """Around it the energy grows with the square of the distance, in every direction."""
    for direction in ((1, 0), (0, 1), (1, -2)):
        excess = [beta_energy(0.9 + h * direction[0], 0.8 + h * direction[1], 0.9, 0.8) - 1 for h in (1e-3, 2e-3, 4e-3)]
        assert min(excess) > 0
        assert excess[1] / excess[0] == pytest.approx(4, rel=0.05)
        assert excess[2] / excess[1] == pytest.approx(4, rel=0.05)


parameter = st.floats(0.05, 8)


@settings(deadline=None, max_examples=150)
@given(a=parameter, b=parameter, c=parameter, d=parameter)
def test_closed_form_is_finite_where_it_should_be_and_at_least_one(a: float, b: float, c: float, d: float) -> None:
    energy = beta_energy(a, b, c, d)
    assert math.isfinite(energy) == (2 * a > c and 2 * b > d)
    assert energy >= 1 - 1e-12
    assert beta_energy(b, a, d, c) == pytest.approx(energy, rel=1e-10)
    assert path_energy(Beta(a, b), Beta(c, d)) == pytest.approx(LEAST_ENERGY * energy, rel=1e-14)


@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [(1, 1, 0.5, 0.5), (0.9, 0.3, 0.5, 0.4), (0.5, 0.5, 0.9, 0.9), (3, 2, 1, 3.5), (0.3, 5, 0.5, 1)],
)
def test_closed_form_agrees_with_quadrature(a: float, b: float, c: float, d: float) -> None:
    """The two power laws are the weight of the quadrature, so that what is left to integrate is the constant."""
    norm = math.gamma(a) * math.gamma(b) / math.gamma(a + b)
    other = math.gamma(c) * math.gamma(d) / math.gamma(c + d)
    power = (2 * a - c - 1, 2 * b - d - 1)
    integral, _ = quad(lambda t: other / norm**2, 0, 1, weight="alg", wvar=power)
    assert beta_energy(a, b, c, d) == pytest.approx(integral, rel=1e-10)
    slow = quad(lambda t: float(Beta(a, b).at(t).d_gamma ** 2 / Beta(c, d).at(t).d_gamma), 0.2, 0.7)[0]
    fast = quad(lambda t: other / norm**2 * t ** power[0] * (1 - t) ** power[1], 0.2, 0.7)[0]
    assert slow == pytest.approx(fast, rel=1e-9)


def arcsine_pair(mask: Counts, c: float, d: float) -> float:
    """int u'^2/gamma' dt for a piecewise linear alpha and a Beta gamma, corner by corner and in u instead of t.

    With alpha = y + k (t - x) = sin^2(phi) on a piece: u'^2 dt = (2 k/pi^2) / (sin cos) dphi.
    """
    steps, length = len(mask.counts), sum(mask.counts)
    norm = math.gamma(c) * math.gamma(d) / math.gamma(c + d)
    total = 0.0
    for i, count in enumerate(mask.counts):
        x, y, slope = i / steps, sum(mask.counts[:i]) / length, count * steps / length

        def integrand(phi: float, x: float = x, y: float = y, slope: float = slope) -> float:
            t = x + (math.sin(phi) ** 2 - y) / slope
            weight = t ** (c - 1) * (1 - t) ** (d - 1) / norm
            return float(2 * slope / (math.pi**2 * math.sin(phi) * math.cos(phi) * weight))

        ends = (math.asin(math.sqrt(y)), math.asin(math.sqrt(y + count / length)) if i + 1 < steps else math.pi / 2)
        total += quad(integrand, *ends, limit=200)[0]
    return total


@pytest.mark.parametrize("counts", [(3, 5), (1, 1, 1), (2, 7, 1, 4)])
def test_quadrature_agrees_with_a_second_quadrature(counts: tuple[int, ...]) -> None:
    for c, d in ((0.5, 0.5), (0.2, 0.4), (0.3, 0.3)):
        want = LEAST_ENERGY * arcsine_pair(Counts(counts), c, d)
        assert path_energy(Counts(counts), Beta(c, d)) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("one_step", [Counts((1,)), Counts((1, 1)), Counts((4, 4, 4, 4, 4))])
def test_quadrature_agrees_with_the_closed_form_where_counts_are_linear(one_step: Counts) -> None:
    """Equal counts are the linear schedule, which the closed form knows: both sides of it, hard tails included."""
    betas = ((2.0, 3.0), (0.2505, 0.251), (0.9, 0.3), (1e3, 4.0), (1e5, 1e5), (10.0, 1e5))
    others = ((0.9, 0.2), (0.3, 0.999), (0.05, 0.6), (0.5, 0.5), (0.01, 0.01), (1e-3, 0.99))
    for (a, b), (c, d) in zip(betas, others, strict=True):
        assert path_energy(Beta(a, b), one_step) == pytest.approx(path_energy(Beta(a, b), Linear()), rel=1e-9)
        assert path_energy(one_step, Beta(c, d)) == pytest.approx(path_energy(Linear(), Beta(c, d)), rel=1e-9)


def test_known_energies() -> None:
    assert path_energy(SquaredSine(), Linear()) == pytest.approx(LEAST_ENERGY * math.pi**2 / 8, rel=1e-13)
    # u' = 1 and 1/gamma' = 2 sqrt(alpha/(1 + alpha)): (4/pi) int sqrt(alpha/(1 - alpha))/(1 + alpha) dalpha.
    assert path_energy(SquaredSine(), Sine()) == pytest.approx(LEAST_ENERGY * (4 - 2 * math.sqrt(2)), rel=1e-10)
    assert path_energy(SquaredSine(), MaskgitCosine()) == pytest.approx(
        LEAST_ENERGY * (4 - 2 * math.sqrt(2)), rel=1e-10
    )
    for mask, interpolation in itertools.product([Sine(), Beta(2, 0.6), Counts((1, 4))], [Linear(), Counts((2, 1))]):
        mirrored = path_energy(mask.dual(), interpolation.dual())
        assert path_energy(mask, interpolation) == pytest.approx(mirrored, rel=1e-8)


@pytest.mark.parametrize(
    ("mask", "interpolation", "finite"),
    [
        (Linear(), SquaredSine(), False),  # 2a = c: the boundary itself diverges, as a logarithm
        (Linear(), Beta(0.99, 0.99), True),
        (Linear(), Sine(), False),
        (Sine(), Linear(), True),
        (Sine(), MaskgitCosine(), False),
        (MaskgitCosine(), Linear(), True),
        (Beta(0.25, 1), Sine(), False),
        (Beta(0.2501, 1), Sine(), True),
        (Counts((1, 2)), SquaredSine(), False),
        (SquaredSine(), Counts((1, 2)), True),
        (Counts((1, 0, 2)), Linear(), True),  # a rest costs nothing in itself
        (Linear(), Counts((1, 0, 2)), False),  # but none may move while gamma rests
        (Counts((1, 0, 2)), Counts((2, 0, 1)), True),
        (Counts((2, 0, 0, 0, 3, 3)), Counts((2, 0, 1)), True),
        (Counts((2, 1, 1, 0, 3, 3)), Counts((2, 0, 1)), False),
        (Counts((0, 1)), Linear(), False),  # a late start with the slope of a square root
        (Counts((1, 0)), Linear(), False),
        (Linear(), Counts((0, 1)), False),
        (Counts((0, 3, 1)), Counts((0, 1, 1)), True),
        (Counts((0, 1, 1, 0)), Counts((0, 0, 5, 1, 2, 7, 0, 0)), True),
        (Counts((0, 1, 1, 1)), Counts((0, 0, 5, 1, 2, 7, 0, 0)), False),
    ],
    ids=lambda value: value.name if isinstance(value, Schedule) else str(value),
)
def test_infinite_where_infinite(mask: Schedule, interpolation: Schedule, finite: bool) -> None:
    assert math.isfinite(path_energy(mask, interpolation)) == finite


def test_common_rests_cost_nothing() -> None:
    bare = path_energy(Counts((3, 1)), Counts((1, 1)))
    assert path_energy(Counts((0, 3, 1)), Counts((0, 1, 1))) == pytest.approx(bare, rel=1e-9)
    assert path_energy(Counts((3, 0, 1)), Counts((1, 0, 1))) == pytest.approx(bare, rel=1e-9)
    assert path_energy(Counts((3, 1, 0)), Counts((2, 2, 0))) == pytest.approx(bare, rel=1e-9)


def test_alphas_have_the_energy_of_the_same_counts() -> None:
    assert pytest.approx(math.pi**2 / 4, rel=1e-15) == LEAST_ENERGY
    for counts in ((3, 1), (1, 2, 2, 3), (1, 0, 2), (0, 3, 1), (2, 1, 0)):
        for other in (Linear(), Counts((0, 1, 1)), Counts((1, 1, 1)), Beta(0.6, 0.9)):
            same = Alphas(tuple(np.cumsum([0, *counts]) / sum(counts)))
            for found, expected in (
                (path_energy(same, other), path_energy(Counts(counts), other)),
                (path_energy(other, same), path_energy(other, Counts(counts))),
            ):
                assert found == expected == math.inf or found == pytest.approx(expected, rel=1e-9)


def test_many_steps_come_to_the_curve_that_they_cut() -> None:
    """The energy of a polyline through 1024 points of a Beta schedule, against the closed form of the schedule."""
    beta = Beta(0.8, 0.7)
    cut = Alphas((0.0, *beta.alpha(np.arange(1, 1024) / 1024).tolist(), 1.0))
    assert path_energy(cut, Linear()) == pytest.approx(path_energy(beta, Linear()), rel=2e-3)


def test_ratios_are_told_as_logarithms_for_any_size() -> None:
    assert log2_ratios(3, 5) == (4.0, 4.0)  # (4 / 2)^4 and 2^4
    conditional, kinetic = log2_ratios(4, 3)
    assert (2**conditional, 2**kinetic) == pytest.approx((conditional_ratio(3), kinetic_ratio(4, 3)), rel=1e-15)
    assert log2_ratios(50_000, 65_536)[0] == 65_535
    with pytest.raises(InputError, match="vocab must be at least 1"):
        log2_ratios(0, 4)


def test_landscape_is_the_closed_form_on_a_grid() -> None:
    a_grid, b_grid = np.linspace(0.1, 1, 10), np.linspace(0.1, 1.3, 13)
    values = landscape(a_grid, b_grid, 0.9, 0.3)
    assert values.shape == (10, 13)
    for (i, a), (j, b) in itertools.product(enumerate(a_grid), enumerate(b_grid)):
        assert values[i, j] == pytest.approx(beta_energy(a, b, 0.9, 0.3), rel=1e-14)
    assert divmod(int(values.argmin()), 13) == (8, 2)
    assert values.min() == pytest.approx(1, rel=1e-13)
    assert np.isinf(values[:4]).all() and np.isinf(values[:, 0]).all() and np.isfinite(values[4:, 1:]).all()


def test_bad_input_is_refused() -> None:
    for a, b, c, d in ((0, 1, 1, 1), (1, math.nan, 1, 1), (1, 1, -1, 1), (1, 1, 1, math.inf), (math.inf, 1, 1, 1)):
        with pytest.raises(InputError, match="Beta needs"):
            beta_energy(a, b, c, d)
    with pytest.raises(InputError, match="length must be at least 1"):
        geodesic_energy(Linear(), Linear(), vocab=3, length=0)
    with pytest.raises(InputError, match="vocab must be at least 1"):
        kinetic_energy(Linear(), Linear(), vocab=0, length=4)
    with pytest.raises(InputError, match="path_energy"):
        kinetic_energy(Linear(), Linear(), vocab=50_000, length=1024)
    with pytest.raises(InputError, match="path_energy"):
        conditional_ratio(2000)


def test_arguments_of_other_types_are_refused() -> None:
    with pytest.raises(InputError, match=r"must be a mask schedule, not .linear.\. Use parse_schedule"):
        path_energy("linear", Linear())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="vocab must be at least 1, a whole number, not 'a'"):
        geodesic_energy(Linear(), Linear(), vocab="a", length=3)  # type: ignore[arg-type]
