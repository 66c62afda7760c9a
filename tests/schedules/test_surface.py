"""The Gaussian process against closed forms, a brute-force conditional distribution and SciPy's normal density."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mdm_tune.schedules.surface import FEWEST, MOST, Parameters, Surface, fit, kernel

PARAMETERS = Parameters(lengths=(0.3, 0.7), variance=2.0, noise=0.1, mean=0.5)
POINTS = np.random.default_rng(1).random((6, 2))
VALUES = np.random.default_rng(2).normal(size=6)
SCALES = np.array([1.0, 1.0, 4.0, 1.0, 2.0, 8.0])
SURFACE = Surface(POINTS, VALUES, SCALES, PARAMETERS)
PLACES = np.array([[0.1, 0.9], [0.5, 0.5], [0.95, 0.2]])


def test_the_kernel_is_the_formula_of_matern() -> None:
    r = math.sqrt(5) * math.hypot(0.1 / 0.3, 0.2 / 0.7)
    wanted = 2.0 * (1 + r + r**2 / 3) * math.exp(-r)
    assert kernel(np.array([[0.2, 0.4]]), np.array([[0.3, 0.2]]), PARAMETERS) == pytest.approx(np.array([[wanted]]))
    assert kernel(POINTS, POINTS, PARAMETERS).diagonal() == pytest.approx(np.full(6, 2.0))


def test_one_trial_has_the_closed_form() -> None:
    one = Surface(np.array([[0.5, 0.5]]), np.array([1.7]), np.array([3.0]), PARAMETERS)
    mean, deviation = one.at([[0.5, 0.5], [0.5, 0.5 + 0.07]])
    r = math.sqrt(5) * 0.1
    covariance = 2.0 * (1 + r + r**2 / 3) * math.exp(-r)
    assert mean == pytest.approx([0.5 + c / 2.3 * 1.2 for c in (2.0, covariance)], rel=1e-6)
    assert deviation**2 == pytest.approx([2.0 - c**2 / 2.3 for c in (2.0, covariance)], rel=1e-6)


def joint() -> tuple[np.ndarray, np.ndarray]:
    """The distribution of the metric at the places given the trials, by blocks of the joint covariance."""
    everywhere = np.concatenate([POINTS, PLACES])
    covariance = np.array([[kernel(p[None], q[None], PARAMETERS)[0, 0] for q in everywhere] for p in everywhere])
    seen = covariance[:6, :6] + np.diag(0.1 * SCALES)
    across = covariance[6:, :6] @ np.linalg.inv(seen)
    return 0.5 + across @ (VALUES - 0.5), covariance[6:, 6:] - across @ covariance[:6, 6:]


def test_mean_and_deviation_are_those_of_the_conditional_distribution() -> None:
    mean, covariance = joint()
    found, deviation = SURFACE.at(PLACES)
    assert found == pytest.approx(mean, abs=1e-6) and deviation == pytest.approx(
        np.sqrt(covariance.diagonal()), abs=1e-6
    )


def test_the_likelihood_is_that_of_a_normal_distribution() -> None:
    covariance = kernel(POINTS, POINTS, PARAMETERS) + np.diag(0.1 * SCALES)
    wanted = multivariate_normal(np.full(6, 0.5), covariance).logpdf(VALUES)
    assert SURFACE.log_likelihood == pytest.approx(wanted, abs=1e-5)


def drawn(count: int, noise: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Values of a known function at random places."""
    source = np.random.default_rng(seed)
    points = source.random((count, 2))
    truth = 3 + np.sin(4 * points[:, 0]) - (points[:, 1] - 0.4) ** 2
    return points, truth + noise * source.normal(size=count)


def test_the_fit_finds_a_smooth_function_and_its_noise() -> None:
    points, values = drawn(60, 0.05)
    surface = fit(points, values)
    assert surface is not None
    places, truth = drawn(40, 0.0, seed=9)
    mean, deviation = surface.at(places)
    assert np.abs(mean - truth).max() < 0.15 and np.abs(mean - truth).mean() < 0.03
    assert 0.6 * 0.05 < math.sqrt(surface.parameters.noise) < 1.6 * 0.05
    assert np.mean(np.abs(mean - truth) < 2 * deviation) > 0.85
    assert surface.parameters.lengths[0] < surface.parameters.lengths[1]  # the sine bends more


def test_the_fit_follows_shift_and_scale_of_the_values() -> None:
    points, values = drawn(12, 0.1)
    one, other = fit(points, values), fit(points, 100 * values - 7)
    assert one is not None and other is not None
    assert other.at(PLACES)[0] == pytest.approx(100 * one.at(PLACES)[0] - 7, rel=1e-3)
    assert other.at(PLACES)[1] == pytest.approx(100 * one.at(PLACES)[1], rel=1e-2)


def test_exact_values_are_met() -> None:
    points, values = drawn(15, 0.0)
    surface = fit(points, values, exact=True)
    assert surface is not None
    assert surface.at(points)[0] == pytest.approx(values, abs=0.01) and surface.at(points)[1].max() < 0.01


def test_a_trial_on_few_examples_pulls_less() -> None:
    points, values = drawn(12, 0.02)
    wrong = values.copy()
    wrong[5] += 2.0
    trusted, doubted = (fit(points, wrong, np.where(np.arange(12) == 5, scale, 1.0)) for scale in (1.0, 400.0))
    assert trusted is not None and doubted is not None
    truth = values[5]
    assert abs(doubted.at(points[5:6])[0][0] - truth) < 0.2 < abs(trusted.at(points[5:6])[0][0] - truth)


def test_what_gives_no_surface() -> None:
    points, values = drawn(FEWEST, 0.1)
    assert fit(points, values) is not None
    assert fit(points[:-1], values[:-1]) is None
    assert fit(points, np.full(FEWEST, 0.25)) is None
    assert fit(points, np.where(np.arange(FEWEST) == 0, np.inf, values)) is None
    assert fit(np.repeat(points[:1], 9, axis=0), drawn(9, 1.0)[1]) is None
    assert fit([], []) is None


def test_values_that_are_not_finite_are_left_out_and_many_trials_are_thinned() -> None:
    points, values = drawn(MOST + 10, 0.1)
    values[3] = np.nan
    scales = np.where(np.arange(len(values)) < 20, 8.0, 1.0)
    surface = fit(points, values, scales)
    assert surface is not None and len(surface.values) == MOST
    assert (surface.scales == 8.0).sum() == MOST - (len(values) - 20)
