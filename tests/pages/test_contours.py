from __future__ import annotations

import numpy as np
import pytest

from mdm_tune.pages.contours import outlines
from mdm_tune.pages.svg import Point

AXIS = np.linspace(-2, 2, 81)
PIXELS = 100 * AXIS
X, Y = np.meshgrid(AXIS, AXIS, indexing="ij")


def area(outline: list[Point]) -> float:
    """By the shoelace formula, with a sign that tells an outline from a hole."""
    x, y = np.array(outline).T / 100
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_a_disc_has_one_outline_at_its_radius() -> None:
    (found,) = outlines(PIXELS, PIXELS, 1.5**2 - X**2 - Y**2, 0.0)
    assert np.hypot(*np.array(found).T) == pytest.approx(150, abs=0.1)
    assert area(found) == pytest.approx(np.pi * 1.5**2, rel=1e-3)


def test_a_ring_has_a_hole() -> None:
    radius = np.hypot(X, Y)
    areas = sorted(map(area, outlines(PIXELS, PIXELS, 0.4 - np.abs(radius - 1.2), 0.0)))
    assert areas == pytest.approx([-np.pi * 0.8**2, np.pi * 1.6**2], rel=1e-3)


def test_along_the_border_the_outline_follows_it() -> None:
    (whole,) = outlines(PIXELS, PIXELS, np.ones((81, 81)), 0.0)
    assert sorted(whole) == [(-200, -200), (-200, 200), (200, -200), (200, 200)]
    (half,) = outlines(PIXELS, PIXELS, X - 0.51, 0.0)
    assert area(half) == pytest.approx(4 * 1.49) and len(half) == 4


def test_what_has_no_value_and_what_is_too_low_is_left_out() -> None:
    values = np.where(X < 0, np.nan, 1.0)
    (found,) = outlines(PIXELS, PIXELS, values, 0.0)
    assert area(found) == pytest.approx(8) and min(found)[0] == 0
    assert outlines(PIXELS, PIXELS, values, 2.0) == []
    (finite,) = outlines(PIXELS, PIXELS, np.where(X < 0, -np.inf, np.where(X > 1, np.inf, 1.0)), 0.0)
    assert area(finite) == pytest.approx(8)


@pytest.mark.parametrize(("middle", "parts"), [(-1.0, 2), (1.0, 1)])
def test_a_saddle_is_joined_if_its_middle_belongs_to_the_part(middle: float, parts: int) -> None:
    values = [[1.0, -1.0 + middle / 2], [-1.0 + middle / 2, 1.0]]
    assert len(outlines([0, 100], [0, 100], values, -0.25 if parts == 1 else 0.0)) == parts


def test_areas_of_all_levels_are_those_of_a_count_of_fine_points() -> None:
    """Between the nodes the values are nearly linear, so the share of fine points above a level is the area."""
    draw = np.random.default_rng(3)
    values = np.zeros_like(X)
    for height, across, up, shift in draw.normal(size=(6, 4)):
        values += height * np.sin(across * X + up * Y + shift)
    for level in np.quantile(values, [0.1, 0.3, 0.5, 0.7, 0.9]):
        found = sum(map(area, outlines(PIXELS, PIXELS, values, float(level))))
        assert found / 16 == pytest.approx((values >= level).mean(), abs=0.015)
