"""Look at pages of runs in a browser: screenshots for wide and narrow screens, light and dark, and what is wrong there.

    python scripts/screenshots.py runs/text/report.html --output screenshots
    python scripts/screenshots.py runs/text/report.html --output screenshots --browser firefox

It needs Chromium or Firefox (on Debian: apt-get install chromium firefox-esr). For every page, width and theme it takes
a screenshot of the whole page and reports errors of scripts, messages on the console, elements that are wider than the
screen, tables that do not fit, shadows of broken lines, and text that is cut off or stands outside its figure. It also
sorts a table, shows a hint and changes the theme. The exit code is 1 if anything is wrong. What is measured is written
by a script that is added to a copy of the page; the page itself does not change.
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

import firefox

Browser = Literal["chromium", "firefox"]
Theme = Literal["light", "dark"]
BROWSERS: tuple[Browser, Browser] = ("chromium", "firefox")
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
var measured = new Promise(function (done) { addEventListener("load", done); }).then(function () {
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
    if (style.boxShadow !== "none" && element.getClientRects().length > 1)  // Firefox draws it beyond the text
      found.push("a shadow broken into lines: " + name(element));
    if ((box.right > wide + 1 || box.left < -1) && !scrolls(element))
      found.push("wider than the screen: " + name(element));
    var hides = /hidden|clip/.test(style.overflowX) && element.textContent.trim();
    if (hides && element.scrollWidth > element.clientWidth + 1) found.push("cut off: " + name(element));
  });
  document.querySelectorAll(".scroll").forEach(function (element) {
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
  return JSON.stringify({faults: found, height: root.scrollHeight, width: wide, paper: paper});
});
</script>"""
TELL = '<script>measured.then(function (text) { console.log("MEASURED " + text); });</script>'


@dataclass(frozen=True)
class Seen:
    """What a page is like on one screen.

    Attributes:
        page: the page.
        browser: in which it was seen.
        width: of the screen, in pixels.
        theme: the theme that the system prefers.
        faults: what is wrong.
        screenshot: the picture; None if none was wanted.
        paper: the background.
    """

    page: Path
    browser: Browser
    width: int
    theme: Theme
    faults: tuple[str, ...]
    screenshot: Path | None
    paper: str


def installed(browser: Browser) -> bool:
    """Whether this machine has a browser."""
    return (_chromium() if browser == "chromium" else firefox.command()) is not None


def look(page: Path, width: int, theme: Theme, folder: Path | None = None, *, browser: Browser = "chromium") -> Seen:
    """Look at a page on one screen.

    Args:
        page: the page.
        width: of the screen, in pixels.
        theme: the theme that the system prefers.
        folder: where the screenshot is written; None for no screenshot.
        browser: in which.
    """
    text = page.read_text("utf-8")
    picture = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        end = "" if browser == "chromium" else f"-{browser}"
        picture = folder / f"{page.parent.name}-{page.stem}-{width}-{theme}{end}.png"
    with tempfile.TemporaryDirectory(prefix="screenshots-") as name:
        still = re.sub(r'<meta http-equiv="refresh"[^>]*>', "", text)
        plain, copy = Path(name) / "plain.html", Path(name) / "page.html"
        plain.write_text(still, "utf-8")
        late = LATE + TELL if browser == "chromium" else LATE
        copy.write_text(still.replace("<head>", f"<head>{EARLY}", 1).replace("</body>", f"{late}</body>", 1), "utf-8")
        see = _in_chromium if browser == "chromium" else _in_firefox
        measured, console = see((copy, plain), width, theme, picture)
    if measured is None:
        measured = {"faults": ["the page was not measured: its scripts did not end"], "width": width, "paper": ""}
    faults = [*measured["faults"], *(f"console: {line}" for line in console)]
    if measured["width"] != width:
        faults.append(f"the screen is {measured['width']} pixels wide, not {width}")
    return Seen(
        page=page,
        browser=browser,
        width=width,
        theme=theme,
        faults=tuple(dict.fromkeys(faults)),
        screenshot=picture,
        paper=measured["paper"],
    )


def _in_firefox(
    pages: tuple[Path, Path], width: int, theme: Theme, picture: Path | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """What a page measures of itself, None if it does not, and its console; a picture of the same page as it is."""
    with firefox.firefox(theme) as window:
        window.show(pages[0], width, HEIGHT)
        text = window.text_of("measured")
        measured, console = json.loads(text) if text else None, list(window.console)
        if picture is not None:
            window.show(pages[1], width, HEIGHT)
            window.photograph(picture, width, _height(measured))
    return measured, console


def _in_chromium(
    pages: tuple[Path, Path], width: int, theme: Theme, picture: Path | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """The same as in Firefox."""
    frame = pages[0].parent / "frame.html"  # a window cannot be as narrow as a phone, a frame in it can
    sizes = f'width="{width}" height="{HEIGHT}" style="border:0"'
    frame.write_text(f'<iframe src="{pages[0].name}" {sizes}></iframe>', "utf-8")
    log = _run(frame, (max(WIDTHS) + 100, HEIGHT + 100), theme, frame.parent / "first.png")
    match = re.search(r'"MEASURED (\{.*\})", source:', log)
    measured = None if match is None else json.loads(match[1])
    if picture is not None:
        _run(pages[1], (width, _height(measured)), theme, picture)
    lines = (line for line in log.splitlines() if ":CONSOLE" in line and "MEASURED" not in line)
    return measured, [line.split("] ", 1)[-1][:300] for line in lines]


def _height(measured: dict[str, Any] | None) -> int:
    """The pixels of a screenshot."""
    return HEIGHT if measured is None else min(TALLEST, int(measured["height"]))


def _chromium() -> str | None:
    """The command of Chromium; None if it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def _run(page: Path, size: tuple[int, int], theme: Theme, picture: Path) -> str:
    """Take a screenshot; returns what the browser writes to stderr."""
    command = _chromium()
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


def looked(pages: Iterable[Path], folder: Path | None = None, *, browser: Browser = "chromium") -> Iterator[Seen]:
    """Look at all pages on all screens."""
    for page, width, theme in itertools.product(pages, WIDTHS, THEMES):
        yield look(page, width, theme, folder, browser=browser)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, help="the folder for the screenshots; none are taken without it")
    parser.add_argument("--browser", choices=BROWSERS, default="chromium", help="in which; the default is chromium")
    arguments = parser.parse_args()
    wrong = 0
    for seen in looked(arguments.pages, arguments.output, browser=arguments.browser):
        print(f"{seen.page} {seen.width} {seen.theme}: {len(seen.faults) or 'no'} faults", seen.screenshot or "")
        for fault in seen.faults:
            print(f"  {fault}")
        wrong += len(seen.faults)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
