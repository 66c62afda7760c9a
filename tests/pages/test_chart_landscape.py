"""Maps over (a, b).

Covers: label_places.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from mdm_tune.pages.chart_landscape import Landscape, Place, Trial, landscape
from mdm_tune.pages.colours import colour_at, contrast
from mdm_tune.pages.contours import outlines
from tests.support.charts import SVG, centre, outside, overlaps, parsed, texts, tips

GRID = np.geomspace(0.1, 10, 21)
A, B = np.meshgrid(np.log(GRID), np.log(GRID), indexing="ij")
VALUES = 0.9 - 0.02 * ((A - np.log(0.4)) ** 2 + (B - np.log(0.8)) ** 2)
TRIALS = [Trial(0.5, 0.5, "trial 0: linear"), Trial(0.4, 0.8, "trial <b>", dropped=True), Trial(99, 1, "far away")]
FULL = Landscape(
    name="Search & <script>: 3 trials",
    a=GRID,
    b=GRID,
    values=VALUES,
    label="share of correctly spelt characters",
    trials=TRIALS,
    finalists=[(0.5, 0.5), (0.4, 0.8)],
    winner=Place(0.43, 0.76, "winner (0.43, 0.76)"),
    named=[Place(0.5, 0.5, "linear"), Place(1, 1, "squared-sine"), Place(50, 50, "outside")],
)
PRICE = Landscape(name="Profile", a=GRID, b=GRID, values=100 - 100 * VALUES, label="NELBO", unit="nats", better="lower")


def drawn(*panels: Landscape, theme: str = "page", compact: bool = False) -> str:
    figure = landscape(panels, title="Landscape", description="Seen.")
    return figure.svg(theme, compact=compact)  # type: ignore[arg-type]


def edges(root) -> tuple[float, float, float]:  # type: ignore[no-untyped-def]
    """The left and the upper edge of the first map, and its size."""
    plate = next(each for each in root.iter(f"{SVG}rect") if each.get("fill") == "var(--chart-panel)")
    return tuple(float(plate.get(key, 0)) for key in ("x", "y", "width"))  # type: ignore[return-value]


@pytest.mark.parametrize("compact", [False, True])
def test_trials_lie_at_the_logarithms_of_a_and_b(compact: bool) -> None:
    root = parsed(drawn(FULL, compact=compact))
    left, top, size = edges(root)
    found = tips(root)
    assert "trial 0: linear" in found and "far away" not in found
    for trial in TRIALS[:2]:
        x, y = centre(found[trial.tip])
        assert x == pytest.approx(left + size * np.log(trial.a / 0.1) / np.log(100), abs=0.11)
        assert y == pytest.approx(top + size * (1 - np.log(trial.b / 0.1) / np.log(100)), abs=0.11)
    assert "winner (0.43, 0.76): a 0.43, b 0.76" in found


def test_each_band_covers_what_is_at_least_as_good_and_gets_lighter() -> None:
    source = drawn(FULL)
    bands = re.findall(r'<path d="([^"]+)" fill="(#\w+)" fill-rule="evenodd"/>', source)
    assert 4 <= len(bands) <= 12
    lights = [contrast(colour, "#000000") for _, colour in bands]
    assert lights == sorted(lights) and bands[-1][1] == colour_at(1 - 0.5 / len(bands))
    left, top, size = edges(parsed(source))
    ticks = [
        float(each.text)
        for each in texts(parsed(source))
        if re.fullmatch(r"0\.\d\d+", each.text) and each.top > top + size + 30
    ]
    levels = sorted(ticks)
    pixels = left + size * np.log(GRID / 0.1) / np.log(100)
    down = top + size * (1 - np.log(GRID / 0.1) / np.log(100))
    (best,) = outlines(pixels, down, VALUES, levels[-1])
    corners = np.array([tuple(map(float, each.split(","))) for each in bands[-1][0][1:-1].split("L")])
    assert corners == pytest.approx(np.array(best), abs=0.11)


def test_a_price_has_its_lightest_colour_where_it_is_least() -> None:
    same = [
        re.findall(r'd="([^"]+)" fill="#\w+" fill-rule', drawn(replace(PRICE, values=each, better=better)))[-1]
        for each, better in ((VALUES, "higher"), (-VALUES, "lower"))
    ]
    assert same[0] == same[1]


@pytest.mark.parametrize(("compact", "theme"), [(False, "dark"), (True, "page")])
def test_no_text_touches_another_or_leaves_the_figure(compact: bool, theme: str) -> None:
    for panels in ((FULL,), (FULL, PRICE, FULL)):
        root = parsed(drawn(*panels, theme=theme, compact=compact))
        assert overlaps(root) == [] and outside(root) == []
        assert root.find(f".//{SVG}script") is None


def test_the_legend_names_what_there_is() -> None:
    words = {each.text for each in texts(parsed(drawn(FULL)))}
    assert {"trial", "trial that was dropped early", "finalist", "winner", "squared-sine"} <= words
    assert "outside" not in words
    least = replace(PRICE, winner=Place(1, 1, "(1, 1)"), winner_name="least")
    assert {"winner", "least"} <= {each.text for each in texts(parsed(drawn(FULL, least)))}
    plain = {each.text for each in texts(parsed(drawn(PRICE)))}
    assert not {"trial", "finalist", "winner"} & plain and "NELBO (nats); lighter is better" in plain


def test_values_that_are_missing_infinite_or_equal() -> None:
    holes = VALUES.copy()
    holes[:5], holes[-5:] = np.nan, -np.inf
    for values in (holes, np.full((21, 21), 0.5), np.full((21, 21), np.nan), None):
        source = drawn(replace(FULL, values=values))
        assert "nan" not in re.sub(r"<title>.*?</title>", "", source) and overlaps(parsed(source)) == []
    left, _, size = edges(parsed(drawn(replace(FULL, values=holes))))
    first = re.findall(r'd="([^"]+)" fill="#\w+" fill-rule', drawn(replace(FULL, values=holes)))[0]
    x = [float(each.split(",")[0]) for each in first[1:-1].split("L")]
    assert (min(x), max(x)) == pytest.approx(
        (left + size * 5 / 20, left + size), abs=0.06
    )  # no colour where no value is


def test_only_a_wide_map_tells_its_values() -> None:
    wide, narrow = (tips(parsed(drawn(PRICE, compact=each))) for each in (False, True))
    assert len(wide) == 64 and not narrow
    tip = next(iter(wide))
    a, b, value = (float(each) for each in re.findall(r"[\d.]+", tip))
    i, j = np.abs(GRID - a).argmin(), np.abs(GRID - b).argmin()
    assert value == pytest.approx(100 - 100 * VALUES[i, j], rel=1e-3)


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(21, 20\)"):
        drawn(replace(FULL, values=VALUES[:, :20]))
    for axis in (GRID[::-1], GRID - 0.1, GRID[:1]):
        with pytest.raises(ValueError, match="that increase from above 0"):
            drawn(replace(FULL, a=axis))
    with pytest.raises(ValueError, match="one panel or more"):
        drawn()


def test_a_figure_with_two_maps_is_small() -> None:
    assert len(drawn(FULL, PRICE)) < 60_000 and len(drawn(FULL, PRICE, compact=True)) < 40_000
