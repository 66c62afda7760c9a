from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest

from mdm_tune.pages.chart_lines import Mark, Series, lines
from mdm_tune.pages.charts import Axis
from mdm_tune.pages.figure import Figure
from tests.support.charts import SVG, centre, outside, overlaps, parsed, placed, texts, tips

CALLS = (8, 16, 32, 64)
NAN = math.nan


def series(name: str, values: list[float], role: str, calls: tuple[float, ...] = CALLS) -> Series:
    low, high = [each - 0.01 for each in values], [each + 0.01 for each in values]
    return Series(name=name, x=calls, y=values, low=low, high=high, role=role)  # type: ignore[arg-type]


QUALITY = [
    series("tuned", [0.861, 0.904, 0.931, 0.942], "tuned"),
    series("linear", [0.80, 0.864, 0.915, 0.938], "linear"),
    series("<script>alert(1)</script> & co", [0.845, 0.885, 0.921, 0.937], "other"),
    series("entropy-bound", [0.82, 0.89], "adaptive", (10.3, 19.8)),
]


def chart(made: list[Series], **changes: object) -> Figure:
    given: dict[str, object] = {"x": Axis("calls", log=True, ticks=CALLS), "y": Axis("spelling", better="higher")}
    return lines(made, title="Quality", description="Seen.", **(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("compact", [False, True])
def test_points_and_intervals_lie_where_their_values_say(compact: bool) -> None:
    """The places of the ticks 0.8, 0.9 and 16 fix those of all others."""
    source = _source(compact)
    root = parsed(source)
    points = sorted((*centre(each), each) for each in tips(root).values())
    sixteen = next(each for each in texts(root) if each.text == "16")
    bottom, top = (
        float(each) for each in re.findall(r'd="M[\d.]+,([\d.]+)H[\d.]+" stroke="var\(--chart-grid\)', source)
    )
    for (_, y, node), value in zip(points, (0.82, 0.89), strict=True):
        assert y == pytest.approx(bottom + (value - 0.8) / 0.1 * (top - bottom), abs=0.11)
        bar = next(each.get("d", "") for each in node if each.tag == f"{SVG}path" and "V" in each.get("d", ""))
        upper, lower = (float(each) for each in re.findall(r"[,V]([\d.]+)", bar)[:2])
        assert lower - upper == pytest.approx(0.02 / 0.1 * (bottom - top), abs=0.2)
    first, last = points[0][0], points[1][0]
    unit = (last - first) / math.log(19.8 / 10.3)
    assert (sixteen.left + sixteen.right) / 2 == pytest.approx(first + unit * math.log(16 / 10.3), abs=0.2)


def _source(compact: bool) -> str:
    return chart(QUALITY[3:], y=Axis("spelling", low=0.8, high=0.9, ticks=(0.8, 0.9))).svg(compact=compact)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("theme", ["page", "light", "dark"])
def test_no_text_touches_another_or_leaves_the_figure(compact: bool, theme: str) -> None:
    close = [
        series(f"schedule {number}", [0.8 + number / 50, 0.9 + number / 1000], "other", (8, 64)) for number in range(5)
    ]
    for made in (QUALITY, close, QUALITY[:1], [series("a name that has no end " * 4, [1.0], "other", (8,))] * 2):
        figure = chart(made, marks=[Mark(0.9, "floor"), Mark(0.95, "a name that has no end " * 9)])
        root = parsed(figure.svg(theme, compact=compact))  # type: ignore[arg-type]
        assert overlaps(root) == [] and outside(root) == []
        assert root.find(f".//{SVG}script") is None


def test_names_stand_at_the_ends_of_lines_or_above_the_chart() -> None:
    apart = [series("high", [0.8, 0.9], "tuned", (8, 16)), series("low", [0.7, 0.6], "linear", (8, 16))]
    root = parsed(chart(apart).svg())
    ends = [node for node, *_ in placed(root) if node.tag == f"{SVG}text" and node.get("font-weight") == "600"]
    assert [each.text for each in ends] == ["high", "low"]
    assert all(float(each.get("x", 0)) > 500 for each in ends)
    for case, compact in ((apart, True), (QUALITY, False)):  # the last ends early
        names = [each for each in texts(parsed(chart(case).svg(compact=compact))) if each.text in {"high", "tuned"}]
        assert [each.bottom < 60 for each in names] == [True]


def test_names_of_single_points_stand_beside_them() -> None:
    places = ((3.8, 0.26), (4.0, 0.19), (4.0, 0.05), (4.2, 0.9), (4.21, 0.79))
    made = [series(f"kind {number}", [y], "adaptive", (x,)) for number, (x, y) in enumerate(places)]
    root = parsed(chart(made, x=Axis("calls")).svg())
    assert overlaps(root) == [] and outside(root) == []
    names = {each.text: each for each in texts(root) if each.text.startswith("kind")}
    for (x, y), name in zip(map(centre, tips(root).values()), sorted(names, reverse=True), strict=True):
        box = names[name]
        assert max(box.left - x, x - box.right, 0) < 20 and max(box.top - y, y - box.bottom, 0) < 30
    crowded = [series(f"kind {number}", [0.5], "adaptive", (4.0 + number / 100,)) for number in range(30)]
    assert overlaps(parsed(chart(crowded, x=Axis("calls")).svg())) == []  # names above the chart


def test_missing_points_leave_gaps_and_have_no_place() -> None:
    made = Series(
        "tuned", (1, 2, 3, 4, 5), (0.1, 0.2, NAN, 0.4, math.inf), low=(None, 0.1, 0.1, NAN, 0.1), role="tuned"
    )
    root = parsed(chart([made], x=Axis("x")).svg())
    assert len(tips(root)) == 3
    line = next(each.get("d", "") for each in root.iter() if each.get("stroke-linejoin"))
    assert line.count("M") == 1 and line.count("L") == 1  # from 1 to 2; the point at 4 stands alone
    zero = Series("x", (0, 10), (1, 2))
    assert len(tips(parsed(chart([zero]).svg()))) == 1  # a logarithmic axis has no zero
    assert parsed(chart([Series("nothing", (), ())]).svg()) is not None


def test_long_series_have_a_band_and_few_hints() -> None:
    x = [each / 100 for each in range(101)]
    y = [each**2 for each in x]
    made = Series("alpha", x, y, low=[each - 0.1 for each in y], high=[each + 0.1 for each in y], role="tuned")
    source = chart([made], x=Axis("t", low=0, high=1), y=Axis("alpha", low=0, high=1)).svg()
    root = parsed(source)
    assert 12 <= len(tips(root)) <= 18 and len(source) < 20_000
    band = next(each.get("d", "") for each in root.iter() if each.get("fill-opacity"))
    assert band.count("L") == 201 and band.endswith("Z")
    line = next(each.get("d", "") for each in root.iter() if each.get("stroke-linejoin"))
    places = [tuple(map(float, each.split(","))) for each in line[1:].split("L")]
    (left, bottom), (right, top) = places[0], places[-1]
    for (across, down), share in zip(places, x, strict=True):
        assert across == pytest.approx(left + share * (right - left), abs=0.11)
        assert down == pytest.approx(bottom + share**2 * (top - bottom), abs=0.11)


def test_points_stand_at_their_numbers_and_error_bars_at_one_place_have_ends_of_different_widths() -> None:
    svg = chart(QUALITY).svg()
    points = [centre(each) for each in tips(parsed(svg)).values()]
    eights = sorted(x for x, _ in points)[:3]
    assert eights[0] == eights[1] == eights[2]
    assert {6.0, 11.0, 16.0} == {float(width) for width in re.findall(r"h([0-9.]+)M[0-9.]+,[0-9.]+h\1", svg)}


def test_points_that_all_share_one_place_stand_side_by_side() -> None:
    made = [series(name, [value], "other", (8,)) for name, value in (("a", 0.5), ("b", 0.5), ("c", 0.5))]
    places = sorted(centre(each)[0] for each in tips(parsed(chart(made).svg())).values())
    assert [second - first for first, second in pairwise(places)] == pytest.approx([4, 4], abs=0.11)


def test_an_interval_of_calls_is_drawn_across() -> None:
    one = Series("a", [4.0, 8.0], [0.5, 0.6], left=[3.0, None], right=[5.0, None])
    svg = chart([one], x=Axis("calls")).svg()
    (found,) = re.findall(r"M([0-9.]+),([0-9.]+)H([0-9.]+)M\1,[0-9.]+v6M\3,[0-9.]+v6", svg)
    place, _ = min(centre(each) for each in tips(parsed(svg)).values())
    assert float(found[2]) - place == pytest.approx(place - float(found[0]), abs=0.11) and float(found[2]) > place
    with pytest.raises(ValueError, match="differ in length"):
        chart([Series("a", [4.0, 8.0], [0.5, 0.6], left=[3.0])])


def test_the_name_of_a_line_across_stands_where_it_covers_no_point() -> None:
    for values, at_left in (((0.9, 0.8), False), ((0.8, 0.9), True)):
        made = [series("one", list(values), "tuned", (8, 64))]
        root = parsed(chart(made, marks=[Mark(0.9, "floor")]).svg())
        (name,) = [each for each in texts(root) if each.text == "floor"]
        middle = sum(x for x, _ in map(centre, tips(root).values())) / 2
        assert (name.right < middle) == at_left


@pytest.mark.parametrize(("value", "drawn"), [(0.9, True), (1.1, False), (math.nan, False)])
def test_a_line_across_outside_the_axis_is_not_drawn(value: float, drawn: bool) -> None:
    figure = chart(QUALITY[:1], y=Axis("spelling", low=0.8, high=1.0), marks=[Mark(value, "floor")])
    assert ("floor" in [each.text for each in texts(parsed(figure.svg()))]) == drawn


def test_tips_say_the_numbers() -> None:
    found = list(tips(parsed(chart(QUALITY[:1]).svg())))
    assert found[0] == "tuned: 0.861 [0.851, 0.871] at calls 8"
    unit = chart([Series("c", (1,), (2.0,))], y=Axis("c", "nats"))
    assert list(tips(parsed(unit.svg()))) == ["c: 2 nats at calls 1"]
    own = Series("c", (1,), (2.0,), tips=("words",))
    assert list(tips(parsed(chart([own]).svg()))) == ["words"]


def test_fields_of_different_lengths_are_refused() -> None:
    for wrong in (Series("c", (1, 2), (1,)), Series("c", (1,), (1,), low=(1, 2)), Series("c", (1,), (1,), tips=())):
        with pytest.raises(ValueError, match=r"differ in length|shorter|longer"):
            chart([wrong])


def test_names_of_lines_that_end_at_one_place_stand_in_a_key_above_the_chart() -> None:
    """Beside one end several names do not say which line each is of."""
    rising = [series("tuned", [0.1, 0.2, 0.5, 1.0], "tuned"), series("linear", [0.4, 0.6, 0.8, 1.0], "linear")]
    apart = [rising[0], series("linear", [0.4, 0.6, 0.8, 0.9], "linear")]
    for made, above in ((rising, True), (apart, False)):
        root = parsed(chart(made).svg())
        names = [each for each in texts(root) if each.text in ("tuned", "linear")]
        ticks = [each for each in texts(root) if each.text == "64"]
        assert len(names) == 2 and (max(each.left for each in names) < ticks[0].left) == above
        assert not overlaps(root)
