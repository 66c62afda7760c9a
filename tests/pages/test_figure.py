from __future__ import annotations

import re
from html import unescape
from xml.etree import ElementTree

import pytest

from mdm_tune.pages.colours import DARK
from mdm_tune.pages.figure import COMPACT, WIDE, Drawing, Figure, Layout
from mdm_tune.pages.svg import element, text

SVG = "{http://www.w3.org/2000/svg}"


def drawn(layout: Layout) -> Drawing:
    return Drawing(50, element("rect", width=layout.width, height=5, fill="@tuned") + text((0, 20), "a", fill="@ink"))


FIGURE = Figure("A title & more", "What <is> seen.", drawn)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("theme", ["page", "light", "dark"])
def test_a_figure_is_one_picture_with_a_title_and_a_description(theme: str, compact: bool) -> None:
    source = FIGURE.svg(theme, compact=compact)  # type: ignore[arg-type]
    assert source == FIGURE.svg(theme, compact=compact)  # type: ignore[arg-type]
    root = ElementTree.fromstring(source)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and description is not None
    assert (title.text, description.text) == ("A title & more", "What <is> seen.")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert '"@' not in source
    ids = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(set(ids)) == len(ids) == 2
    width = (COMPACT if compact else WIDE).width
    assert root.get("viewBox", "").split()[2] == f"{width + (0 if theme == 'page' else 32):g}"


def test_a_file_has_a_background_a_heading_and_resolved_colours() -> None:
    page, dark = FIGURE.svg(), FIGURE.svg("dark")
    assert "var(--chart-tuned)" in page and "@paper" not in page and ">A title &amp; more</text>" not in page
    assert (
        DARK["paper"] in dark and DARK["tuned"] in dark and ">A title &amp; more</text>" in dark and "var(" not in dark
    )
    assert 'width="712"' in dark and "height=" in dark


def test_a_file_for_both_themes_has_the_colours_of_each() -> None:
    found, light, dark = (FIGURE.svg(theme) for theme in ("system", "light", "dark"))  # type: ignore[arg-type]
    style = re.search("<style>(.*)</style>", found)
    assert style is not None and found.replace(style[0], "") == light
    for kind, colour, other in re.findall(r'\[(fill|stroke)="(#\w+)"\]\{\1:(#\w+)\}', unescape(style[1])):
        light = light.replace(f'{kind}="{colour}"', f'{kind}="{other}"')
    assert light == dark


def test_both_forms_of_one_figure_fit_into_one_page() -> None:
    wide, compact = (ElementTree.fromstring(FIGURE.svg(compact=each)) for each in (False, True))
    assert not {each.get("id") for each in wide.iter() if each.get("id")} & {each.get("id") for each in compact.iter()}
