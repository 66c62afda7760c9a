"""Pages in Chromium and in Firefox: nothing on the console or wider than the screen, no text cut off, in both themes.

They are no part of the suite; scripts/browser.sh installs the browsers and runs them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from screenshots import BROWSERS, THEMES, WIDTHS, Browser, Theme, installed, look

from mdm_tune.pages.comparison import comparison_page
from mdm_tune.pages.run_page import run_page
from mdm_tune.pages.run_reading import RunRecords, read_run
from tests.pages.test_comparison import NONE, OTHER, WAITING, WON
from tests.pages.test_run_page import HOSTILE, SCRIPTS, made, many_budgets, pair, progress
from tests.support.page_runs import PageRun
from tests.support.search_results import BUDGET, two_budgets

PAPER = 690  # pixels of A4 between its margins


@pytest.fixture(params=BROWSERS)
def browser(request: pytest.FixtureRequest) -> Browser:
    if not installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param  # type: ignore[no-any-return]


class Faults(Protocol):
    def __call__(self, text: str, width: int, theme: Theme) -> tuple[str, ...]: ...


@pytest.fixture
def faults(browser: Browser, tmp_path: Path) -> Faults:
    """What is wrong with a page."""
    page = tmp_path / "page.html"

    def seen(text: str, width: int, theme: Theme) -> tuple[str, ...]:
        page.write_text(text, encoding="utf-8")
        return look(page, width, theme, browser=browser).faults

    return seen


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_the_page_of_a_run(text_run: PageRun, width: int, theme: Theme, browser: Browser, tmp_path: Path) -> None:
    seen = look(text_run.folder / "report.html", width, theme, tmp_path, browser=browser)
    assert seen.faults == ()
    assert seen.paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[theme]  # as the system prefers
    assert seen.screenshot is not None and seen.screenshot.stat().st_size > 50_000


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison(width: int, faults: Faults) -> None:
    assert faults(comparison_page([WON, NONE, OTHER, WAITING]), width, "light") == ()


def test_a_page_on_paper(text_run: PageRun, faults: Faults) -> None:
    """Nothing is cut off at the width of the paper, tables keep their heads, and the theme does not matter."""
    text = (text_run.folder / "report.html").read_text("utf-8")
    assert "@media print{" in text
    heads = """<script>document.querySelectorAll("thead button").forEach(function (head) {
      if (!head.offsetWidth) console.error("a head of a table is not printed");
    });
    document.querySelectorAll(".scroll").forEach(function (each) {
      if (each.scrollWidth > each.clientWidth + 1) console.error("a table is wider than the paper");
    });</script></body>"""
    printed = text.replace("@media print{", "@media all{").replace("</body>", heads)
    assert faults(printed, PAPER, "light") == ()


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_and_long_data(width: int, faults: Faults) -> None:
    long = "w" * 300
    record = two_budgets() | {"sample_pairs": [pair(HOSTILE), pair("x" * 5000), pair(SCRIPTS * 20)]}
    record["warnings"] = [{"code": long, "text": HOSTILE, "advice": long}]
    view = replace(made(record), name=long, path=f"/{long}/{long}")
    assert faults(run_page(view), width, "dark") == ()


@pytest.mark.parametrize("width", [*WIDTHS, PAPER])
def test_kinds_of_policies(width: int, faults: Faults) -> None:
    """Rows with the longest names, and with all marks, fit beside the intervals."""
    rows = []
    for kind, policy in (("counts", "beta:0.525,0.755"), ("quota", "quota:beta:0.525,0.755#32@0.2015")):
        gain = {"value": 0.0125, "ci": [-0.0125, 0.0385]}
        row = {"kind": kind, "policy": policy, "value": {"value": 0.8735, "ci": [0.8545, 0.8905]}}
        row |= {"calls": {"nfe": 16.475, "nfe_ci": [16.045, 16.905]}, "gain_over_linear": gain, "trials": 4}
        rows.append(row | {"more_calls": True, "losses": [{"figure": "token_entropy", "blocks": True}]})
    text = run_page(made(two_budgets() | {"budgets": [{**BUDGET, "policies": rows}]}))
    assert all(f'flag">{word}<' in text for word in ("more calls", "less diverse"))
    assert faults(text.replace("@media print{", "@media all{") if width == PAPER else text, width, "light") == ()


def test_eight_budgets_on_a_phone(faults: Faults) -> None:
    assert faults(run_page(made(many_budgets(8, 12))), min(WIDTHS), "light") == ()


def test_a_running_search_on_a_phone(faults: Faults) -> None:
    view = read_run(RunRecords(name="text", path="runs/text", progress=progress()))
    assert faults(run_page(view), min(WIDTHS), "dark") == ()


def test_what_is_wrong_is_seen(faults: Faults) -> None:
    text = comparison_page([WON])
    wrong = {
        "<h1>": '<h1 style="width:3000px">',
        "</footer>": "</footer><script>console.error('odd')</script>",
        "<dl class=": '<p style="width:30px;overflow:hidden;white-space:nowrap">A long text is cut.</p><dl class=',
        "</main>": "</main><script>missing()</script>",
        "</title>": "</title><style>h1 b{box-shadow:inset 0 -2px red}</style>",
        "</h1>": "<br><b>one line<br>another</b></h1>",
        '<table class="sortable">': '<table class="sortable" style="width:2000px">',
        "<text ": '<text transform="translate(900 0)" ',
    }
    for good, bad in wrong.items():
        assert good in text
        text = text.replace(good, bad, -1 if good == "<text " else 1)
    assert "a table is wider than its place" in " ".join(faults(text, 1280, "light"))
    found = " ".join(faults(text, 390, "light"))
    for words in (
        "scrolls sideways",
        "wider than the screen: h1",
        "odd",
        "cut off: p",
        "missing is not defined",
        "lines: b",
    ):
        assert words in found
    assert "text outside its figure" in found
