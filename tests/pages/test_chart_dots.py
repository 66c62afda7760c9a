from __future__ import annotations

import math
import re

import pytest

from mdm_tune.pages.chart_dots import Gain, dots, verdict_of
from mdm_tune.pages.charts import Axis
from mdm_tune.pages.figure import Figure
from tests.support.charts import SVG, outside, overlaps, parsed, tips

ROWS = [
    Gain("tuned against linear", 0.061, 0.044, 0.078, group="8 steps"),
    Gain("tuned against linear", 0.016, -0.001, 0.033, group="16 steps"),
    Gain("tuned against threshold <b>", -0.019, -0.033, -0.004, group="16 steps", tip="More words."),
    Gain("exact", 0.01, group="32 steps"),
]


def chart(rows: list[Gain], axis: Axis | None = None) -> Figure:
    return dots(rows, x=axis or Axis("difference"), title="Gains", description="Seen.")


@pytest.mark.parametrize(
    ("low", "value", "high", "better", "verdict"),
    [
        (0.01, 0.02, 0.03, "higher", "gain"),
        (-0.01, 0.02, 0.05, "higher", "not shown"),
        (-0.03, -0.02, -0.01, "higher", "loss"),
        (-0.03, -0.02, -0.01, "lower", "gain"),
        (0.01, 0.02, 0.03, "lower", "loss"),
        (None, -0.02, None, "lower", "gain"),
        (None, 0.0, None, "higher", "no gain"),
        (0.0, 0.02, 0.03, "higher", "not shown"),
    ],
)
def test_a_verdict_needs_a_whole_interval_on_one_side(low, value, high, better, verdict) -> None:  # type: ignore[no-untyped-def]
    assert verdict_of(Gain("x", value, low, high), better) == verdict
    assert verdict_of(Gain("x", value, low, high, verdict="no gain"), better) == "no gain"


@pytest.mark.parametrize("compact", [False, True])
def test_dots_and_intervals_lie_where_their_values_say(compact: bool) -> None:
    """The ends of the first interval fix the scale."""
    found = [node for _, node in tips(parsed(chart(ROWS).svg(compact=compact))).items()]
    lines = [re.match(r"M([\d.]+),[\d.]+H([\d.]+)", each.find(f"{SVG}path").get("d")) for each in found[:3]]  # type: ignore[union-attr]
    (low, high), *others = [(float(each[1]), float(each[2])) for each in lines if each]

    def place(value: float) -> float:
        return low + (value - 0.044) / (0.078 - 0.044) * (high - low)

    for gain, ends in zip(ROWS[1:3], others, strict=True):
        assert ends == pytest.approx((place(gain.low or 0), place(gain.high or 0)), abs=0.25)
    circles = [each.find(f"{SVG}circle") for each in (found[0], found[1], found[3])]
    for gain, circle in zip((ROWS[0], ROWS[1], ROWS[3]), circles, strict=True):
        assert float(circle.get("cx")) == pytest.approx(place(gain.value), abs=0.25)  # type: ignore[union-attr, arg-type]
    assert circles[1].get("fill") == "var(--chart-paper)" != circles[0].get("fill")  # type: ignore[union-attr]


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("theme", ["page", "light"])
def test_no_text_touches_another_or_leaves_the_figure(compact: bool, theme: str) -> None:
    long = [Gain("a comparison with a name that has no end " * 3, 1234.5, -1e5, 1e5), Gain("b", 1e-9, -1e-9, 3e-9)]
    short = [Gain("x", 0.5, 0.4, 0.6), Gain("y", 0.1)]
    far = [Gain("all far from zero", 100.0, 99.0, 101.0)]
    for rows in (ROWS, long, short, far, [Gain("nothing", 0.0)]):
        root = parsed(chart(rows).svg(theme, compact=compact))  # type: ignore[arg-type]
        assert overlaps(root) == [] and outside(root) == []


def test_tips_and_words_tell_the_numbers_and_the_verdict() -> None:
    assert list(tips(parsed(chart(ROWS).svg()))) == [
        "tuned against linear, 8 steps: +0.061 [0.044, 0.078] gain",
        "tuned against linear, 16 steps: +0.016 [\u22120.001, 0.033] not shown",
        "tuned against threshold <b>, 16 steps: \u22120.019 [\u22120.033, \u22120.004] loss. More words.",
        "exact, 32 steps: +0.01 gain",
    ]


def test_where_lower_is_better_the_sides_change() -> None:
    for better, left in (("higher", "\u2190 worse"), ("lower", "\u2190 better")):
        source = chart([Gain("x", -1.0, -2.0, 1.0)], Axis("NELBO", better=better)).svg()  # type: ignore[arg-type]
        assert f">{left}<" in source


def test_differences_must_be_finite() -> None:
    for wrong in ([], [Gain("x", math.nan)]):
        with pytest.raises(ValueError, match="finite"):
            chart(wrong)


@pytest.mark.parametrize("ends", [(-math.inf, 0.05), (0.01, math.inf), (None, None), (math.nan, 0.05)])
def test_an_interval_with_an_end_that_is_not_known_is_not_drawn(ends: tuple[float | None, float | None]) -> None:
    figure = chart([Gain("a", 0.02, *ends, verdict="no gain")])
    for compact in (False, True):
        ((tip, row),) = tips(parsed(figure.svg(compact=compact))).items()
        assert tip == "a: +0.02 no gain" and row.find(f"{SVG}path") is None and row.find(f"{SVG}circle") is not None
