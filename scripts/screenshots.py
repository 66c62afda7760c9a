"""Look at pages of runs in a browser: screenshots for wide and narrow screens, light and dark, and what is wrong there.

    python scripts/screenshots.py runs/text/report.html --output screenshots

It needs Chromium (on Debian: apt-get install chromium). For every page, width and theme it takes a screenshot of the
whole page and reports errors of scripts, messages on the console, elements that are wider than the screen, tables that
do not fit a wide one, and text that is cut off or stands outside its figure. It also sorts a table, shows a hint and
changes the theme. The exit code is 1 if anything is wrong. What is measured is written by a script that is added to a
copy of the page; the page itself does not change.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Theme = Literal["light", "dark"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (1280, 390)
THEMES: tuple[Theme, Theme] = ("light", "dark")
HEIGHT = 900  # of the window in which a page is measured
TALLEST = 16_000  # pixels of a screenshot
PATIENCE = 120.0  # seconds for one call of the browser
SCHEMES = {"dark": 0, "light": 1}  # as Chromium numbers them

EARLY = """<script>
window.faults = [];
addEventListener("error", function (event) { faults.push("script: " + event.message); });
addEventListener("unhandledrejection", function (event) { faults.push("script: " + event.reason); });
["error", "warn"].forEach(function (kind) {
  var before = console[kind];
  console[kind] = function () {
    faults.push("console: " + [].join.call(arguments, " "));
    before.apply(console, arguments);
  };
});
</script>"""
LATE = """<script>
addEventListener("load", function () { setTimeout(function () {
  var root = document.documentElement, wide = root.clientWidth, found = faults;
  function name(element) {
    var words = (element.textContent || "").trim().replace(/\\s+/g, " ").slice(0, 60);
    return element.tagName.toLowerCase() + (element.id ? "#" + element.id : "") + " '" + words + "'";
  }
  function scrolls(element) {
    for (var each = element; each && each !== document.body; each = each.parentElement) {
      if (/auto|scroll/.test(getComputedStyle(each).overflowX)) return true;
    }
    return false;
  }
  if (root.scrollWidth > wide) found.push("the page scrolls sideways: " + root.scrollWidth + " > " + wide);
  document.querySelectorAll("body *").forEach(function (element) {
    var style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (!box.width || !box.height || style.visibility === "hidden" || element.closest(".skip,#tip,script")) return;
    var figure = element.closest("svg");
    if (figure && element.tagName.toLowerCase() === "text") {
      var around = figure.getBoundingClientRect();
      var sides = box.left < around.left - 2 || box.right > around.right + 2;
      if (sides || box.top < around.top - 2 || box.bottom > around.bottom + 2)
        found.push("text outside its figure: " + name(element));
    }
    if (figure) return;
    if ((box.right > wide + 1 || box.left < -1) && !scrolls(element))
      found.push("wider than the screen: " + name(element));
    var hides = /hidden|clip/.test(style.overflowX) && element.textContent.trim();
    if (hides && element.scrollWidth > element.clientWidth + 1) found.push("cut off: " + name(element));
  });
  if (wide > 1000) document.querySelectorAll(".scroll").forEach(function (element) {
    if (element.scrollWidth > element.clientWidth + 1) found.push("a table is wider than its place: " + name(element));
  });
  var sort = document.querySelector("table.sortable th button"), sorted = null;
  if (sort) {
    sort.click();
    sorted = sort.closest("th").getAttribute("aria-sort");
    var first = [].map.call(sort.closest("table").tBodies[0].rows, function (row) {
      return row.cells[0].textContent.trim().toLowerCase();
    });
    if (sorted !== "ascending" || first.some(function (text, at) { return at && isNaN(text) && text < first[at - 1]; }))
      found.push("a table does not sort");
  }
  var hint = document.querySelector("[data-tip]"), tip = document.getElementById("tip");
  if (hint) {
    hint.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: 20, clientY: 20}));
    if (tip.textContent !== hint.dataset.tip || !tip.classList.contains("on")) found.push("a hint is not shown");
  }
  var paper = getComputedStyle(document.body).backgroundColor, theme = document.getElementById("theme");
  theme.click();
  if (getComputedStyle(document.body).backgroundColor === paper) found.push("the theme does not change");
  theme.click();
  console.log("MEASURED " + JSON.stringify({faults: found, height: root.scrollHeight, width: wide, paper: paper}));
}, 50); });
</script>"""


@dataclass(frozen=True)
class Seen:
    """What a page is like on one screen.

    Attributes:
        page: the page.
        width: of the screen, in pixels.
        theme: the theme that the system prefers.
        faults: what is wrong.
        screenshot: the picture; None if none was wanted.
        paper: the background.
    """

    page: Path
    width: int
    theme: Theme
    faults: tuple[str, ...]
    screenshot: Path | None
    paper: str


def browser() -> str | None:
    """The command of Chromium; None if it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def look(page: Path, width: int, theme: Theme, folder: Path | None = None) -> Seen:
    """Look at a page on one screen.

    Args:
        page: the page.
        width: of the screen, in pixels.
        theme: the theme that the system prefers.
        folder: where the screenshot is written; None for no screenshot.
    """
    text = page.read_text("utf-8")
    with tempfile.TemporaryDirectory(prefix="screenshots-") as name:
        copy = Path(name) / "page.html"
        still = re.sub(r'<meta http-equiv="refresh"[^>]*>', "", text)
        copy.write_text(still.replace("<head>", f"<head>{EARLY}", 1).replace("</body>", f"{LATE}</body>", 1), "utf-8")
        frame = Path(name) / "frame.html"  # a window cannot be as narrow as a phone, a frame in it can
        frame.write_text(
            f'<iframe src="page.html" width="{width}" height="{HEIGHT}" style="border:0"></iframe>', "utf-8"
        )
        log = _run(frame, (max(WIDTHS) + 100, HEIGHT + 100), theme, Path(name) / "first.png")
        measured = _measured(log)
        faults = [*measured["faults"], *_console(log)]
        if measured.get("width", width) != width:
            faults.append(f"the screen is {measured['width']} pixels wide, not {width}")
        picture = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            picture = folder / f"{page.parent.name}-{page.stem}-{width}-{theme}.png"
            copy.write_text(still, "utf-8")
            height = min(TALLEST, int(measured["height"]))
            _run(copy, (width, height), theme, picture)
    return Seen(
        page=page,
        width=width,
        theme=theme,
        faults=tuple(dict.fromkeys(faults)),
        screenshot=picture,
        paper=measured["paper"],
    )


def _run(page: Path, size: tuple[int, int], theme: Theme, picture: Path) -> str:
    """Take a screenshot; returns what the browser writes to stderr."""
    command = browser()
    if command is None:
        raise SystemExit("Chromium is not installed (on Debian: apt-get install chromium)")
    fixed = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
    settings = (f"--window-size={size[0]},{size[1]}", f"--blink-settings=preferredColorScheme={SCHEMES[theme]}")
    own = (f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=3000", f"--screenshot={picture}")
    done = subprocess.run(
        [command, *fixed, *settings, *own, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.stderr


def _measured(log: str) -> dict[str, Any]:
    """What the script that was added to the page measured."""
    match = re.search(r'"MEASURED (\{.*\})", source:', log)
    if match is None:
        return {"faults": ["the page was not measured: its scripts did not end"], "height": HEIGHT, "paper": ""}
    measured: dict[str, Any] = json.loads(match[1])
    return measured


def _console(log: str) -> Iterator[str]:
    """Messages on the console of the page."""
    for line in log.splitlines():
        if ":CONSOLE" in line and "MEASURED" not in line:
            yield f"console: {line.split('] ', 1)[-1][:300]}"


def looked(pages: Iterable[Path], folder: Path | None = None) -> Iterator[Seen]:
    """Look at all pages on all screens."""
    for page, width, theme in itertools.product(pages, WIDTHS, THEMES):
        yield look(page, width, theme, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, help="the folder for the screenshots; none are taken without it")
    arguments = parser.parse_args()
    wrong = 0
    for seen in looked(arguments.pages, arguments.output):
        print(f"{seen.page} {seen.width} {seen.theme}: {len(seen.faults) or 'no'} faults", seen.screenshot or "")
        for fault in seen.faults:
            print(f"  {fault}")
        wrong += len(seen.faults)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
