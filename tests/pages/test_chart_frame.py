from __future__ import annotations

import math

import pytest

from mdm_tune.pages.chart_frame import SHAPES, Axis, Frame, fitting_ticks, key_rows, looks, marker, range_of, x_axis
from mdm_tune.pages.figure import COMPACT, WIDE
from mdm_tune.pages.scales import Scale
from tests.support.charts import overlaps, parsed, texts


def test_an_axis_names_its_unit_and_the_better_direction() -> None:
    assert Axis("energy").full_name == "energy"
    assert Axis("NELBO", "nats", better="lower").full_name == "NELBO (nats), lower is better \u2193"


def test_the_ends_of_an_axis() -> None:
    assert range_of([1, 3, math.nan, math.inf], Axis("")) == pytest.approx((0.9, 3.1))
    assert range_of([1, 100, -5, 0], Axis("", log=True)) == pytest.approx((10**-0.1, 10**2.1))
    assert range_of([2], Axis("")) == pytest.approx((1.9, 2.1))
    assert range_of([0], Axis("")) == (-1, 1)
    assert range_of([], Axis("")) == pytest.approx((-0.05, 1.05))
    assert range_of([8], Axis("", log=True)) == (4, 16)
    assert range_of([1, 3], Axis("", low=0, high=5)) == (0, 5)
    low, high = range_of([1], Axis("", low=7))
    assert low == 7 < high


def test_the_looks_of_a_role_differ_in_shape_and_dashes() -> None:
    found = looks(["tuned", "linear", *["other"] * 5, "adaptive", "adaptive"], [False] * 9, map(str, range(9)))
    assert len({(each.shape, each.dash) for each in found}) == 9
    assert len({each.shape for each in looks(["adaptive"] * 5, [False] * 5, "abcde")}) == 5
    assert found[0].dash is None and looks(["tuned"], [True], ["x"])[0].dash


def test_hand_made_schedules_look_the_same_in_every_figure() -> None:
    first = looks(["other"] * 4, [False] * 4, ["sine", "x", "squared-sine", "y"])
    second = looks(["other"] * 2, [False] * 2, ["squared-sine", "sine"])
    assert (first[2], first[0]) == second and len(set(first)) == 4
    many = looks(["other"] * 9, [False] * 9, ["sine", *map(str, range(8))])
    assert many[0] not in many[1:] and len(set(many)) == 8


def test_each_kind_of_adaptive_policy_has_its_colour_in_every_figure_and_its_policies_differ() -> None:
    kinds = ["threshold", "entropy-bound", "quota", "cap", "klass"]
    names = [*(f"{kind}:0.9" for kind in kinds), "threshold:0.7", "threshold:0.5@x"]
    found = looks(["adaptive"] * 7, [False] * 7, names)
    assert len({each.colour for each in found[:5]}) == 5 and {found[0].colour} == {each.colour for each in found[5:]}
    assert len({(each.shape, each.dash) for each in (found[0], *found[5:])}) == 3
    assert looks(["adaptive"] * 2, [False] * 2, ["klass", "quota:beta:1,1@0.9"]) == (found[4], found[2])
    many = looks(["adaptive"] * 40, [False] * 40, [f"threshold:0.{number}" for number in range(40)])
    assert {each.colour for each in many} == {found[0].colour} and len({*many}) > 15


def test_given_ticks_go_on_with_their_ratio() -> None:
    scale = Scale(low=3.5, high=140, start=0, end=600, log=True)
    assert [value for value, _ in fitting_ticks(Axis("", log=True, ticks=(4, 8, 16)), scale, 7, 12)] == [
        4,
        8,
        16,
        32,
        64,
        128,
    ]
    assert [value for value, _ in fitting_ticks(Axis("", ticks=(4, 8, 16)), scale, 7, 12)] == [4, 8, 16]


def test_markers_have_about_their_size() -> None:
    for corners in SHAPES.values():
        assert 0.8 <= max(math.hypot(x, y) for x, y in corners) <= 2
    assert marker("circle", (1, 2), 3) == '<circle cx="1" cy="2" r="3"/>'
    assert marker("plus", (0, 0), 5, fill="@ink").startswith('<path d="M-6,0L6,0M0,-6L0,6" stroke="@ink"')


def test_fewer_ticks_are_taken_where_their_labels_would_touch() -> None:
    wide, narrow = (Scale(low=-0.034, high=0.081, start=0, end=end) for end in (400.0, 150.0))
    many, few = (fitting_ticks(Axis(""), scale, 8, 12) for scale in (wide, narrow))
    assert [value for value, _ in many] == pytest.approx([-0.02, 0, 0.02, 0.04, 0.06, 0.08])
    assert [label for _, label in few] == ["0.00", "0.05"]


def test_labels_that_would_touch_are_left_out() -> None:
    scale = Scale(low=1, high=100, start=40, end=200)
    frame = Frame(scale, Scale(low=0, high=1, start=100, end=0))
    body, _ = x_axis(Axis("calls", ticks=tuple(range(1, 101))), frame, WIDE)
    assert body.count("v4") == 100
    assert 3 <= len(texts(parsed(body))) < 20 and overlaps(parsed(body)) == []


@pytest.mark.parametrize("layout", [WIDE, COMPACT])
def test_a_legend_fills_rows_and_cuts_what_is_too_wide(layout) -> None:  # type: ignore[no-untyped-def]
    names = [f"schedule {number}" for number in range(9)] + ["a name without an end " * 9]
    body, height = key_rows(names, lambda number, at: marker("circle", (at[0] + 13, at[1]), 4), layout)
    root = parsed(body)
    assert overlaps(root) == []
    assert all(each.left >= 0 and each.right <= layout.width and each.bottom <= height for each in texts(root))
    assert key_rows([], lambda number, at: "", layout) == ("", 0)
