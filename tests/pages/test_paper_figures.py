"""The figures of the paper that scripts draw."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mdm_tune.pages.colours import DARK
from mdm_tune.schedules.curves import Beta
from mdm_tune.schedules.energy import beta_energy
from scripts import figure2, figure3, figure5, reveals
from scripts.pages import with_dark_colours
from tests.support.charts import SVG, outside, overlaps, parsed

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("a", "b", "c", "d"), [(1.3, 0.9, 1.0, 1.0), (0.4, 0.8, 0.4, 0.8)])
def test_the_energy_by_quadrature_is_that_of_the_closed_form(a: float, b: float, c: float, d: float) -> None:
    assert figure2.energy_by_quadrature(Beta(a, b), Beta(c, d)) == pytest.approx(beta_energy(a, b, c, d), rel=1e-9)


def test_the_figures_of_the_page_show_what_the_scripts_draw() -> None:
    minima = [figure2.Minimum(condition=each, found=each, energy=1.0) for each in figure2.CONDITIONS]
    for name, figure in (("figure2", figure2.drawn(minima)), ("figure3", figure3.drawn())):
        kept = parsed((DOCS / f"{name}.svg").read_text("utf-8"))
        shown = kept.findtext(f"{SVG}title"), kept.findtext(f"{SVG}desc")
        assert shown == (figure.title, figure.description), f"python scripts/{name}.py"
        assert overlaps(kept) == [] and outside(kept) == []


def test_figures_have_dark_colours_for_those_who_prefer_them() -> None:
    for path in DOCS.rglob("*.svg"):
        assert "prefers-color-scheme:dark" in path.read_text("utf-8"), path
    plot = '<?xml version="1.0"?><svg width="1" version="1.1"><g style="fill: #1f77b4; stroke: #000000"/></svg>'
    for source in (plot, '<svg role="img"><rect fill="#ffffff"/></svg>'):
        found = with_dark_colours(source)
        assert re.sub("<style>.*</style>", "", found) == source
        assert f'[style*="fill: #1f77b4"],[fill="#1f77b4"]{{fill:{DARK["tuned"]}!important}}' in found
        assert parsed(found[found.index("<svg") :])[0].tag.endswith("style")


def test_the_figures_of_quality_show_the_numbers_of_the_page() -> None:
    confidence, random = figure5.read((DOCS / "text.md").read_text("utf-8"))
    assert (confidence.order, random.order, confidence.steps) == ("confidence", "random", (4, 8, 16, 32))
    assert confidence.values["linear"][2] == (0.867, 0.858, 0.875)
    assert confidence.values["tuned"][0] == (0.624, 0.611, 0.637) and confidence.data == 0.925
    for table in (confidence, random):
        root = parsed((DOCS / f"figure5-{table.order}.svg").read_text("utf-8"))
        assert root.findtext(f"{SVG}desc") == figure5.drawn(table).description, "python scripts/figure5.py"
    page = (DOCS / "antibody.md").read_text("utf-8")
    for name, figure, first in (
        ("nelbo", figure5.antibody_nelbo(page), "tuned 179.8, 167.9, 160.8, 158.0, 157.1; linear 208.7, 178.3"),
        ("samples", figure5.antibody_samples(page), "tuned 0.728 at 8, 0.785 at 16; linear 0.577 at 8, 0.724 at 16"),
    ):
        root = parsed((DOCS / f"figure5-antibody-{name}.svg").read_text("utf-8"))
        assert first in figure.description and root.findtext(f"{SVG}desc") == figure.description
        assert overlaps(root) == [] and outside(root) == []


def test_the_figure_of_what_kinds_reveal_shows_the_numbers_of_the_page() -> None:
    page = (DOCS / "policies.md").read_text("utf-8")
    part = page.partition("<!-- reveals -->")[2].partition("<!-- /reveals -->")[0]
    rows = [
        [cell.strip("` ") for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("| `")
    ]
    root = parsed((DOCS / "reveals.svg").read_text("utf-8"))
    drawn = root.findtext(f"{SVG}desc") or ""
    assert len(rows) == 6 and overlaps(root) == [] and outside(root) == []
    for name, *cells in rows:
        means = [float(mean) for mean in drawn.partition(f"{name}: ")[2].split(";")[0].rstrip(".").split(", ")]
        assert [float(cell) for cell in cells[:-1]] == pytest.approx(means[: reveals.SHOWN], abs=0.0501)


def test_the_table_of_what_kinds_reveal_counts_the_examples_that_make_more_calls() -> None:
    few = {"mean": [6.25, 1.75], "low": [6, 1], "high": [7, 2], "examples": [8, 7]}
    many = {"mean": [4.0] * 7, "low": [4] * 7, "high": [4] * 7, "examples": [8, 8, 6, 4, 2, 2, 1]}
    record = {"budgets": [{"steps": 4, "reveals": {"threshold:0.5": few, "cap:linear@0.5": many}}]}
    assert reveals.table(record, 4).splitlines()[2:] == [
        "| `threshold:0.5` | 6.2 | 1.8 |  |  |  |  | 0 % |",
        "| `cap:linear@0.5` | 4.0 | 4.0 | 4.0 | 4.0 | 4.0 | 4.0 | 25 % |",
    ]
