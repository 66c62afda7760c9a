"""The documentation builds as a site without a warning, loads nothing from the network, and shows what the code has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from typer.main import get_group

import mdm_tune
from mdm_tune.cli import app
from mdm_tune.config.file import legal_keys
from scripts import concept_figures, site_reference, site_results, site_rules
from tests.support.charts import SVG, parsed
from tests.support.page_runs import PageRun

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}


class Links(HTMLParser):
    """What a page loads, and what it links to: from its own text, and from the tabs at the top."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.tabs: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in LOADED and given.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(given.get(LOADED[tag], ""))
        if tag in ("article", "nav"):
            self.inside.append(f"{tag} {given.get('class', '')}")
        if tag == "a" and "href" in given:
            where = " ".join(self.inside)
            if "article" in where:
                self.text.append(given["href"])
            elif "md-tabs" in where:
                self.tabs.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("article", "nav"):
            self.inside.pop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def chain() -> mdm_tune.ProfileResult:
    """The profile of the Markov chain of configs, with prices at 8 steps."""
    return concept_figures.priced()


def links_of(page: Path) -> Links:
    found = Links()
    found.feed(page.read_text("utf-8"))
    return found


def targets(page: Path, hrefs: list[str]) -> set[Path]:
    """The pages that links lead to."""
    plain = {unquote(href.partition("#")[0]) for href in hrefs if "://" not in href}
    return {(page.parent / href).resolve() for href in plain if href.endswith(".html")}


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        for address in links_of(page).loaded:
            assert "//" not in address.removeprefix("data:"), f"{page.name} loads {address}"
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", text), style.name


def test_every_page_is_two_clicks_away(site: Path) -> None:
    """A tab at the top, then a link in the text of its first page; of the first tab, one click."""
    home = site / "index.html"
    first = targets(home, links_of(home).tabs)
    assert 1 < len(first) <= 7
    reached = {home.resolve(), *first, *targets(home, links_of(home).text)}
    for section in first:
        reached |= targets(section, links_of(section).text)
    nav: list[dict[str, Any]] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    start = re.findall(r"[\w/-]+\.md", str(nav[0]))  # the menu of the home page shows them
    reached |= {(site / page).with_suffix(".html").resolve() for page in start}
    pages = {page.resolve() for page in site.rglob("*.html")} - {(site / "404.html").resolve()}
    assert {page.relative_to(site.resolve()).as_posix() for page in pages - reached} == set()


def test_every_public_name_has_its_docstring_on_the_page(site: Path) -> None:
    text = (site / "reference" / "python-api.html").read_text("utf-8")
    shown = {name.rpartition(".")[2] for name in re.findall(r'id="mdm_tune\.([\w.]+)"', text)}
    assert set(mdm_tune.__all__) - {"__version__"} <= shown


def test_notebooks_are_pages_with_their_figures(site: Path) -> None:
    for notebook in (ROOT / "docs").rglob("*.ipynb"):
        page = (site / notebook.relative_to(ROOT / "docs")).with_suffix(".html")
        drawn = notebook.read_text("utf-8").count('"image/png"')
        figures = [each for each in links_of(page).loaded if each.startswith(notebook.stem)]
        assert len(figures) == drawn > 0
        assert all((page.parent / each).stat().st_size > 1000 for each in figures)


def test_every_formula_is_written_without_a_script(site: Path) -> None:
    assert not [page.name for page in site.rglob("*.html") if "arithmatex" in page.read_text("utf-8")]


def test_the_page_of_the_configuration_has_every_setting_with_a_meaning() -> None:
    page = site_reference.configuration()
    rows = [[each.strip() for each in line.split(" | ")] for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if len(row) != 5 or row[4] == "|"] == []
    named = {row[0].removeprefix("| ").strip("`") for row in rows}
    assert {key for keys in legal_keys().values() for key in keys} <= named


def test_every_validator_of_a_setting_has_a_rule_in_words() -> None:
    """The schema, which the rest of the rules come from, does not know them."""
    sections = site_rules.sections_by_name().values()
    used = {
        name for each in sections for field in each.model_fields.values() for name in site_rules.validators_of(field)
    }
    assert used == set(site_rules.ASKED)
    page = site_reference.configuration()
    for rule in (
        "| `trials` | whole number | `25` | from 1 to 10,000 |",
        "| `diversity_loss` | number | `0.05` | above 0 and below 1 |",
        "| `margin` | number | `0.01` | at least 0 and below 1 |",
        "| from 1 to 100 entries; each a name of a schedule; no schedule twice; `linear` among them |",
    ):
        assert rule in page


def test_the_page_of_the_command_line_has_every_flag() -> None:
    page = site_reference.command_line()
    for name, command in get_group(app).commands.items():
        part = page.partition(f"## mdm-tune {name}\n")[2].partition("\n## ")[0]
        assert command.help and command.help in part
        for flag in (flag for each in command.params if each.param_type_name == "option" for flag in each.opts):
            assert f"`{flag}`" in part or f"{flag}, " in part or f", {flag}" in part, flag


def test_the_page_of_the_json_has_the_keys_that_commands_write(
    text_run: PageRun, chain: mdm_tune.ProfileResult
) -> None:
    """Against the files of a search and of an evaluation, and the profile of a chain."""
    known = site_results.classes()

    def check(name: str, record: dict[str, Any]) -> None:
        keys = site_results.json_keys(name, known)
        assert "(names)" in keys or set(record) - set(keys) == set(), name
        for key, (kind, _) in keys.items():
            inner = site_results.records_in(kind, known)
            values = record.get(key) if isinstance(record.get(key), list) else [record.get(key)]
            for value in values if len(inner) == 1 and not kind.startswith("dict") else []:
                if isinstance(value, dict):
                    check(inner[0], value)

    check("SearchResult", text_run.search)
    check("EvaluateResult", text_run.evaluate)
    check("ProfileResult", chain.to_json())
    page = site_results.results()
    assert all(f"| `{key}` |" in page for key in (*text_run.search, *text_run.evaluate))


def test_the_figures_of_concepts_show_what_the_script_draws(chain: mdm_tune.ProfileResult) -> None:
    drawn = {"counts": concept_figures.counts(chain), "profile": concept_figures.profile(chain)}
    for name, figure in {**drawn, "schedules": concept_figures.named()}.items():
        kept = parsed((ROOT / "docs" / "concepts" / f"{name}.svg").read_text("utf-8"))
        shown = kept.findtext(f"{SVG}title"), kept.findtext(f"{SVG}desc")
        assert shown == (figure.title, figure.description), "python scripts/concept_figures.py"


def test_the_citation_is_that_of_the_file() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    page = site_reference.citation()
    assert cited["title"] in page and cited["references"][0]["title"] in page
    assert all(author["family-names"] in page for author in cited["references"][0]["authors"])
    assert mdm_tune.__version__ in page
