"""The hook of mkdocs that makes the site from docs/ and from the package itself.

It adds the pages that are made from code, leads links to files outside docs/ to their pages, fills in what pages leave
open (``<!-- made: NAME ARGUMENT -->`` to ``<!-- /made -->``), and writes formulas as MathML, which needs no script and
no fonts.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import latex2mathml.converter
import site_howtos
import site_notebooks
import site_reference
import site_results
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
COPIED = {  # files of the project that are pages of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "mdm_tune/data/text/README.md": "project/text-model.md",
    "configs/antibody/README.md": "project/antibody-data.md",
}
PLACES = {  # other files that pages link to, by the beginning of their path
    "configs": "reference/configurations.md",
    "CITATION.cff": "project/cite.md",
}
MADE: Mapping[str, Callable[[], str]] = {
    "reference/configuration.md": site_reference.configuration,
    "reference/command-line.md": site_reference.command_line,
    "reference/python-api.md": site_reference.python_api,
    "reference/results.md": site_results.results,
    "reference/configurations.md": site_reference.ready_configurations,
    "project/cite.md": site_reference.citation,
}
INSERTS: Mapping[str, Callable[[str], str]] = site_howtos.INSERTS
SECTIONS = {  # first paragraphs of the pages that list a section
    "Guides": "One part of the tool after the other, with all its settings.",
    "Reference": "Made from the code, so that it is always that of this version.",
    "Measurements": "What was measured, on what, how often and with which interval. A script in `scripts/` makes each "
    "page.",
    "Project": "Limits, decisions, how to cite, and how to contribute.",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"(^```.*?^```$)", flags=re.DOTALL | re.MULTILINE)


def place_of(path: str) -> str | None:
    """The page of a path of the project; None if the site does not hold it."""
    path = posixpath.normpath(path)
    if path.endswith(".ipynb"):
        path = path.removesuffix(".ipynb") + ".md"
    if path in COPIED:
        return COPIED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return next((page for start, page in PLACES.items() if path == start or path.startswith(f"{start}/")), None)


def with_links(text: str, source: str, page: str) -> str:
    """The text of a page with its links to files of the project leading to pages.

    Args:
        text: Markdown.
        source: the path of the file in the project.
        page: the path of the page in the site.
    """

    def one(match: re.Match[str]) -> str:
        image, label, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return match[0]
        place = place_of(posixpath.join(posixpath.dirname(source), path))
        if place is None:
            return label  # a file that the site does not hold
        where = posixpath.relpath(place, posixpath.dirname(page) or ".")
        return f"{image}[{label}]({where}{'#' * bool(anchor)}{anchor})"

    parts = FENCED.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(one, part) for part in parts)


def summary_of(text: str) -> tuple[str, str]:
    """The title of a page and the first sentence of its first paragraph."""
    title = next((line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")), "")
    blocks = [block.strip() for block in text.partition(f"# {title}")[2].split("\n\n") if block.strip()]
    plain = (block for block in blocks if block[0].isalpha() or block[0] in '`*["')
    first = re.sub(r"\s+", " ", LINK.sub(r"\2", next(plain, "")))
    found = re.match(r"(.+?[.:?])(?: (?=[A-Z`])|$)", first)
    return title, (found[1] if found else first).rstrip(":")


def entries(nav: Sequence[Any]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """The sections of the navigation as (title, groups of (title, pages)); the group of loose pages has no title."""
    found = []
    for section in nav:
        ((title, items),) = section.items()
        groups: list[tuple[str, list[str]]] = [("", [])]
        for item in items:
            ((name, value),) = item.items() if isinstance(item, dict) else (("", item),)
            if isinstance(value, list):
                groups.append((name, [page for each in value for page in pages_of(each)]))
            else:
                groups[0][1].append(value)
        found.append((title, groups))
    return found


def pages_of(item: Any) -> list[str]:
    """The pages of one entry of the navigation."""
    if isinstance(item, str):
        return [item]
    ((_, value),) = item.items()
    return [value] if isinstance(value, str) else [page for each in value for page in pages_of(each)]


def section_page(title: str, groups: Sequence[tuple[str, Sequence[str]]], page: str, texts: Mapping[str, str]) -> str:
    """The page that lists the pages of a section with their first sentences."""
    lines = [f"# {title}", "", SECTIONS[title], ""]
    for name, pages in groups:
        lines += [f"## {name}", ""] * bool(name)
        for each in pages:
            if each != page:
                heading, sentence = summary_of(texts.get(each, ""))
                where = posixpath.relpath(each, posixpath.dirname(page))
                lines.append(f"- [{heading}]({where}): {sentence}")
        lines.append("")
    return "\n".join(lines)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the version of the package."""
    from mdm_tune.version import __version__

    config.extra["version_of_package"] = __version__
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    texts = {page: make() for page, make in MADE.items()}
    for source, page in COPIED.items():
        texts[page] = with_links((ROOT / source).read_text("utf-8"), source, page)
    for notebook in sorted((ROOT / "docs").rglob("*.ipynb")):
        source = notebook.relative_to(ROOT).as_posix()
        page = source.removeprefix("docs/").removesuffix(".ipynb") + ".md"
        text, figures = site_notebooks.as_page(notebook)
        texts[page] = with_links(text, source, page)
        for name, content in figures.items():
            files.append(File.generated(config, posixpath.join(posixpath.dirname(page), name), content=content))
    known = dict(texts)
    for file in files.documentation_pages():
        known[file.src_uri] = file.content_string
    for title, groups in entries(config.nav or []):
        first = groups[0][1][0]
        if title in SECTIONS and first not in known:
            texts[first] = section_page(title, groups, first, known)
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to pages, and fill in what is made."""
    source = page.file.src_uri
    markdown = site_howtos.PLACE.sub(lambda match: INSERTS[match[1]](match[2]), markdown)
    if page.file.generated_by is None:
        markdown = with_links(markdown, f"docs/{source}", source)
    return markdown


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write formulas as MathML."""

    def inline(match: re.Match[str]) -> str:
        return latex2mathml.converter.convert(html.unescape(match[1]), display="inline")

    def block(match: re.Match[str]) -> str:
        return latex2mathml.converter.convert(html.unescape(match[1]), display="block")

    content = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', inline, content, flags=re.DOTALL)
    return re.sub(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', block, content, flags=re.DOTALL)


def navigation() -> list[Any]:
    """The navigation of mkdocs.yml."""
    nav: list[Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    return nav
