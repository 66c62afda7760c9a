"""A page as tests read it: its elements, ids, numbers and text, and what is wrong with its form."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Page", "problems_of", "read_page"]

VOID = {"meta", "wbr", "br", "hr", "img", "input", "link"}
ADDRESS = re.compile(r"(?:https?:)?//[a-z0-9.-]+", re.IGNORECASE)
NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml")


@dataclass
class Page(HTMLParser):
    """The elements in order, each with its attributes and the text inside it."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    problems: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) < len(attrs):
            self.problems.append(f"an attribute of {tag} is given twice")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of one kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def numbers(self) -> set[float]:
        """The values of all ``data`` elements."""
        return {float(value) for each in self.named("data") if (value := each.get("value"))}


def read_page(text: str) -> Page:
    """Parse a page."""
    page = Page()
    page.feed(text)
    page.close()
    page.problems += [f"{tag} is never closed" for tag in page.open]
    return page


def problems_of(text: str) -> list[str]:
    """What is wrong with a page: its form, its size, ids, addresses of a network, figures without words."""
    page = read_page(text)
    ids = [each["id"] for _, each in page.elements if each.get("id")]
    found = list(page.problems)
    found += [f"id {name} is given twice" for name in sorted({str(name) for name in ids if ids.count(name) > 1})]
    if len(text.encode()) > 600_000:
        found.append(f"{len(text.encode())} bytes")
    bare = text
    for name in NAMESPACES:
        bare = bare.replace(name, "")
    found += [f"names {match[0]}" for match in ADDRESS.finditer(re.sub(r">[^<]*<", "><", bare))]
    found += [f"loads {each}" for tag in ("link", "img", "iframe", "object", "embed") for each in page.named(tag)]
    found += [f"a script from {each['src']}" for each in page.named("script") if each.get("src")]
    for number, (tag, attributes) in enumerate(page.elements):
        if tag == "svg" and attributes.get("role") == "img":
            inside = [name for name, _ in page.elements[number + 1 : number + 3]]
            named = all(name in ids for name in (attributes.get("aria-labelledby") or "none").split())
            if inside != ["title", "desc"] or not named:
                found.append("a figure without title and description")
        if tag == "button" and attributes.get("type") != "button":
            found.append("a button without type")
        for name in ("href", "aria-labelledby", "data-copy"):
            value = attributes.get(name)
            if value and (name != "href" or value.startswith("#")):
                found += [f"{name} {each} leads nowhere" for each in value.lstrip("#").split() if each not in ids]
    if [each.get("lang") for each in page.named("html")] != ["en"] or len(page.named("h1")) != 1:
        found.append("no language, or not one heading")
    return found
