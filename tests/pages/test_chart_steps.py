from __future__ import annotations

import re
from itertools import pairwise

import pytest

from mdm_tune.pages.chart_steps import Counts, steps
from mdm_tune.pages.figure import Figure
from tests.support.charts import SVG, outside, overlaps, parsed, texts, tips

TUNED = Counts("tuned <i>", (8, 4, 2, 0, 1, 1), "tuned", "5 calls")
LINEAR = Counts("linear", (3, 3, 3, 3, 2, 2), "linear", "6 calls", blocks=(3, 3))


def chart(*rows: Counts) -> Figure:
    return steps(rows, title="Tokens per step", description="Seen.")


def bars(source: str) -> list[list[tuple[float, float, float, float]]]:
    """Left, top, right and bottom of the bars of each row."""
    rows = re.findall(r'<path d="(M[^"]+Z)" fill="[^"]+"/>', source)
    pattern = r"M([\d.]+),([\d.]+)V([\d.]+)H([\d.]+)V"
    return [[(float(a), float(c), float(d), float(b)) for a, b, c, d in re.findall(pattern, row)] for row in rows]


@pytest.mark.parametrize("compact", [False, True])
def test_heights_are_proportional_to_the_counts_of_all_rows(compact: bool) -> None:
    rows = bars(chart(TUNED, LINEAR).svg(compact=compact))
    heights = [[bottom - top for _, top, _, bottom in row] for row in rows]
    unit = heights[0][0] / 8
    assert heights[0] == pytest.approx([8 * unit, 4 * unit, 2 * unit, unit, unit], abs=0.11)  # none for no token
    assert heights[1] == pytest.approx([3 * unit] * 4 + [2 * unit] * 2, abs=0.11)
    lefts = [left for left, *_ in rows[1]]
    assert [second - first for first, second in pairwise(lefts)] == pytest.approx([lefts[1] - lefts[0]] * 5, abs=0.11)
    assert rows[0][3][0] == pytest.approx(rows[1][4][0], abs=0.11)  # the fifth step, after the one without a token


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("number", [1, 2, 8, 13, 64, 100, 256])
def test_any_number_of_steps_is_legible_and_small(number: int, compact: bool) -> None:
    counts = tuple(1 + (place * 7) % 12 for place in range(number))
    rows = (
        Counts("tuned", counts, "tuned", f"{number} calls"),
        Counts("a long name " * 5, counts[::-1], note="a note " * 12),
    )
    source = chart(*rows).svg("light", compact=compact)
    root = parsed(source)
    assert overlaps(root) == [] and outside(root) == []
    assert len(tips(root)) <= 64 and len(source) < 40_000


def test_tips_say_the_counts_and_what_is_revealed() -> None:
    found = list(tips(parsed(chart(TUNED).svg())))
    assert found[0] == "tuned <i>, step 1: 8 tokens; 8 of 16 revealed"
    assert found[4] == "tuned <i>, step 5: 1 token; 15 of 16 revealed"
    many = list(tips(parsed(chart(Counts("x", (2,) * 256)).svg())))
    assert len(many) == 32 and many[1] == "x, steps 9 to 16: 2, 2, 2, 2, 2, 2, 2, 2 tokens; 32 of 512 revealed"


def test_thin_bars_of_one_height_are_joined() -> None:
    (row,) = bars(chart(Counts("x", (2,) * 200 + (3,) * 56)).svg())
    assert len(row) == 2
    share = (row[0][2] - row[0][0]) / (row[1][2] - row[0][0])
    assert share == pytest.approx(200 / 256, abs=0.001)


def test_blocks_are_separated_and_counts_stand_above_their_bars() -> None:
    root = parsed(chart(LINEAR).svg())
    assert sum(each.get("stroke-dasharray") == "2 2" for each in root.iter(f"{SVG}path")) == 1
    assert [each.text for each in texts(root)].count("3") >= 4
    assert len(bars(chart(Counts("none", (0, 0))).svg())) == 0


def test_a_chart_needs_rows_with_steps() -> None:
    for wrong in ((), (Counts("x", ()),)):
        with pytest.raises(ValueError, match="needs rows"):
            chart(*wrong)


MEANS = Counts(
    "threshold", (5.5, 2.25, 0.04), "adaptive", spread=((4, 7), (0, 4), (0, 0)), made=("64 of 64", "48", "8")
)


def test_spreads_lie_where_their_ends_say_and_small_means_have_no_number() -> None:
    source = chart(MEANS, LINEAR).svg()
    (own, linear), root = bars(source), parsed(source)
    unit = (own[0][3] - own[0][1]) / 5.5
    lines = re.findall(r"M([\d.]+),([\d.]+)V([\d.]+)m-3,0h6", source)
    assert len(lines) == 2  # none where all examples are alike
    for (x, upper, lower), bar, (low, high) in zip(lines, own, MEANS.spread, strict=False):
        assert float(x) == pytest.approx((bar[0] + bar[2]) / 2, abs=0.11)
        assert [bar[3] - float(lower), bar[3] - float(upper)] == pytest.approx([low * unit, high * unit], abs=0.2)
    assert linear[0][3] - linear[0][1] == pytest.approx(3 * unit, abs=0.11)  # one scale
    shown = [each.text for each in texts(root)]
    assert {"5.5", "2.2"} <= {*shown} and "0.0" not in shown and "0.04" not in shown
    assert (
        list(tips(root))[1]
        == "threshold, step 2: 2.2 tokens in the mean, 0 to 4 in most examples, 48; 7.8 of 7.8 revealed"
    )


def test_means_near_zero_alone_are_drawn_with_the_largest_one() -> None:
    source = chart(Counts("klass", (0.05,) * 3 + (0.07,) + (0.05,) * 13)).svg()
    assert [each.text for each in texts(parsed(source)) if each.text.startswith("0.")] == ["0.07"]
    assert len(bars(source)[0]) == 17


def test_a_long_name_has_several_lines() -> None:
    long = Counts("tuned: quota:beta:1.093,8.678#8@0.99999886", (4, 4), "adaptive", "2 calls")
    for compact in (False, True):
        root = parsed(chart(long, LINEAR).svg(compact=compact))
        assert overlaps(root) == [] and outside(root) == []
        assert "\u2026" not in "".join(each.text for each in texts(root))
