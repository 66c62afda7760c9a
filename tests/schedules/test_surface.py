"""The surface against the function that trials are of, and what gives no surface."""

from __future__ import annotations

import numpy as np
import pytest

from mdm_tune.schedules.surface import FEWEST, MOST, fit

PLACES = np.array([[0.1, 0.9], [0.5, 0.5], [0.95, 0.2]])


def drawn(count: int, noise: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Values of a known function at random places."""
    source = np.random.default_rng(seed)
    points = source.random((count, 2))
    truth = 3 + np.sin(4 * points[:, 0]) - (points[:, 1] - 0.4) ** 2
    return points, truth + noise * source.normal(size=count)


def test_the_surface_is_the_smooth_function_that_values_with_noise_are_of() -> None:
    points, values = drawn(60, 0.05)
    surface = fit(points, values)
    assert surface is not None
    places, truth = drawn(40, 0.0, seed=9)
    found = surface.at(places)
    assert np.abs(found - truth).max() < 0.15 and np.abs(found - truth).mean() < 0.03


def test_the_fit_follows_shift_and_scale_of_the_values() -> None:
    points, values = drawn(12, 0.1)
    one, other = fit(points, values), fit(points, 100 * values - 7)
    assert one is not None and other is not None
    assert other.at(PLACES) == pytest.approx(100 * one.at(PLACES) - 7, rel=1e-3)


def test_exact_values_are_met() -> None:
    points, values = drawn(15, 0.0)
    surface = fit(points, values, exact=True)
    assert surface is not None
    assert surface.at(points) == pytest.approx(values, abs=0.01)


def test_a_trial_on_few_examples_pulls_less() -> None:
    points, values = drawn(12, 0.02)
    wrong = values.copy()
    wrong[5] += 2.0
    trusted, doubted = (fit(points, wrong, np.where(np.arange(12) == 5, scale, 1.0)) for scale in (1.0, 400.0))
    assert trusted is not None and doubted is not None
    truth = values[5]
    assert abs(doubted.at(points[5:6])[0] - truth) < 0.2 < abs(trusted.at(points[5:6])[0] - truth)


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
    assert surface is not None and len(surface.process.values) == MOST
    assert (surface.process.scales == 8.0).sum() == MOST - (len(values) - 20)
