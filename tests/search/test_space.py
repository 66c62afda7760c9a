"""The points that a search begins with, and those that no sampler proposes."""

from __future__ import annotations

import numpy as np
import pytest

from mdm_tune.config.file import SpaceConfig
from mdm_tune.schedules.curves import Beta
from mdm_tune.search.space import START, given_points
from tests.search.test_proposals import settings

WARM = (Beta(0.736, 0.430), Beta(20.0, 0.3))  # the second lies outside the box


@pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc", "grid"])
def test_linear_and_squared_sine_come_first_then_the_points_of_a_guide(strategy: str) -> None:
    found = given_points(settings(strategy), 0, 8, WARM)
    assert found[:2] == [Beta(0.5, 0.5), Beta(1.0, 1.0)]
    assert (tuple(found[2:4]) == WARM) == (strategy != "grid")
    assert (WARM[0] in found) == (strategy != "grid")
    assert len(found) == {"gp": 6, "tpe": 6, "qmc": 12, "grid": 100}[strategy]


@pytest.mark.parametrize("strategy", ["gp", "tpe", "qmc"])
def test_the_rest_of_the_given_points_is_a_sobol_sequence_in_log_scale(strategy: str) -> None:
    """Of its first 4 points, and of its first 8, each box of this share of the area and binary sides has one."""
    chosen = settings(strategy, space=SpaceConfig(a=(0.5, 4.0), b=(0.1, 10.0)))
    found = given_points(chosen, 0, 8)[2:]
    unit = np.log([[beta.a / 0.5, beta.b / 0.1] for beta in found]) / np.log([8.0, 100.0])
    bits = 3 if strategy == "qmc" else 2
    for halvings in range(bits + 1):
        boxes = np.floor(unit[: 2**bits] * [2**halvings, 2 ** (bits - halvings)])
        assert len({*map(tuple, boxes.tolist())}) == 2**bits
    assert given_points(chosen, 0, 9)[2:] != found != given_points(chosen, 1, 8)[2:]


def test_more_trials_go_on_with_the_sequence() -> None:
    """A search that is resumed with more trials proposes what it would have proposed from the beginning."""
    longest = given_points(settings("qmc", 300), 0, 8, WARM)
    for trials in (1, 4, 5, 7, 8, 33, 299):
        found = given_points(settings("qmc", trials), 0, 8, WARM)
        assert found[: max(trials, 4)] == longest[: max(trials, 4)] and len(found) == max(trials, 4)


def test_a_warm_start_takes_the_place_of_points_that_fill_the_box() -> None:
    many = tuple(Beta(1.0 + i, 1.0) for i in range(1, 8))
    assert given_points(settings("gp"), 0, 8, many) == [*START, *many]
    assert given_points(settings("gp"), 0, 8, many[:3]) == [*START, *many[:3], given_points(settings("gp"), 0, 8)[2]]


def test_a_grid_is_the_papers_in_an_order_of_its_own() -> None:
    found = given_points(settings("grid"), 0, 8)
    tenths = [i / 10 for i in range(1, 11)]
    assert sorted((beta.a, beta.b) for beta in found) == [(a, b) for a in tenths for b in tenths]
    assert found[2:] != sorted(found[2:], key=lambda beta: (beta.a, beta.b))
    assert given_points(settings("grid"), 0, 9) != found
    inside = given_points(settings("grid", space=SpaceConfig(a=(0.65, 2.0), b=(0.1, 0.3))), 0, 8)
    assert {(beta.a, beta.b) for beta in inside[2:]} == {(a, b) for a in tenths[6:] for b in tenths[:3]}
