"""The box of (a, b): the places of hand-made schedules, trials that share examples, and rounder places near one."""

from __future__ import annotations

import numpy as np
import pytest

from mdm_tune.schedules.box import (
    NAMED,
    USUAL,
    Tried,
    distance_to_named,
    rounded,
    rounder_pairs,
    surface_of,
    unit_square,
)
from mdm_tune.schedules.curves import Beta, parse_schedule


def test_rounder_pairs_are_the_neighbours_of_a_and_b() -> None:
    found = rounder_pairs((0.7348, 0.4113), USUAL, 1)
    assert found[0] == (0.7, 0.4) and {*found} == {(0.7, 0.4), (0.7, 0.5), (0.8, 0.4), (0.8, 0.5)}
    assert {*rounder_pairs((9.61, 0.998), USUAL, 1)} == {(9.0, 0.9), (9.0, 1.0), (10.0, 0.9), (10.0, 1.0)}
    assert rounder_pairs((1.0, 0.25), USUAL, 2) == [(1.0, 0.25)]
    assert rounder_pairs((1.04, 0.25), ((1.0, 1.05), (0.1, 1.0)), 2) == [(1.0, 0.25)]  # 1.1 is not in the box
    for value in np.random.default_rng(0).lognormal(size=200).tolist():
        low, high = (rounded(value, 2, up=up) for up in (False, True))
        assert low <= value <= high <= 1.11 * low and float(f"{low:.2g}") == low and float(f"{high:.2g}") == high


def test_the_places_of_hand_made_schedules_are_theirs_or_near() -> None:
    times = np.linspace(0, 1, 501)
    gaps = {
        name: np.abs(Beta(*place).alpha(times) - parse_schedule(name).alpha(times)).max()
        for name, place in NAMED.items()
    }
    assert gaps["linear"] < 1e-12 and gaps["squared-sine"] < 1e-12
    assert 0.005 < gaps["sine"] < 0.006 and 0.005 < gaps["maskgit-cosine"] < 0.006


def test_the_distance_to_a_hand_made_schedule_is_in_log_scale() -> None:
    assert distance_to_named((0.5, 0.5)) == 0 and distance_to_named((2.0, 2.0)) == pytest.approx(2**0.5 * np.log(2))


def test_a_trial_that_was_scored_before_has_the_noise_of_the_first_one() -> None:
    def tried(repeated: int | None) -> tuple[Tried, ...]:
        source = np.random.default_rng(0)
        pairs = np.exp(source.normal(size=(8, 2))).tolist()
        trials = [Tried(a, b, float(source.normal()), 16 if number else 64) for number, (a, b) in enumerate(pairs)]
        return (*trials, Tried(3.0, 0.3, trials[2].value, repeated))

    surface, same = surface_of(tried(None), USUAL, False), surface_of(tried(16), USUAL, False)
    assert surface is not None and same is not None
    assert surface.process.scales.tolist() == same.process.scales.tolist() == [1.0, *[4.0] * 8]
    assert surface_of(tried(None)[:3], USUAL, False) is None


def test_places_of_the_unit_square_are_even_in_log_scale() -> None:
    square = unit_square(np.array([[0.1, 0.1], [1.0, 1.0], [10.0, 0.1]]), ((0.1, 10.0), (0.1, 10.0)))
    assert square == pytest.approx(np.array([[0, 0], [0.5, 0.5], [1, 0]]))
