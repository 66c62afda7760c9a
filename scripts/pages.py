"""Numbers that a script writes into a page of the documentation, between two comments, and their commit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from mdm_tune.pages.colours import DARK

PLOTTED = {  # colours of matplotlib, and of scripts/imports.py, by the role that they have
    "#1f77b4": "tuned",
    "#ff7f0e": "adaptive",
    "#2ca02c": "first",
    "#d62728": "loss",
    "#000000": "ink",
    "#222222": "ink",
    "#888888": "soft",
    "#b0b0b0": "grid",
    "#e6e6e6": "grid",
    "#cccccc": "axis",
    "#ffffff": "paper",
}


def write_part(page: Path, name: str, text: str) -> None:
    """Put the text between ``<!-- NAME -->`` and ``<!-- /NAME -->``; raises ValueError where they are missing."""
    before, begin, rest = page.read_text("utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise ValueError(f"{page} has no part called {name}")
    page.write_text(f"{before}{begin}{text.rstrip()}\n{end}{after}", "utf-8")


def show_part(page: Path | None, name: str, text: str) -> None:
    """As ``write_part``; printed where there is no page."""
    if page is None:
        print(text)
    else:
        write_part(page, name, text)


def with_dark_colours(svg: str, roles: Mapping[str, str] = PLOTTED) -> str:
    """A plot in light colours, with dark ones where its reader prefers them, as ``Figure.svg("system")`` has them.

    Args:
        svg: the file.
        roles: the role of each colour, a name of ``pages.colours``.
    """
    rules = [f"svg{{fill:{DARK['ink']}}}"]
    for colour, role in roles.items():
        for kind in ("fill", "stroke"):
            where = f'[style*="{kind}: {colour}"],[{kind}="{colour}"]'
            rules.append(f"{where}{{{kind}:{DARK[role]}!important}}")
    head, begin, rest = svg.partition(">" if svg.startswith("<svg") else '" version="1.1">')
    return f"{head}{begin}<style>@media(prefers-color-scheme:dark){{{''.join(rules)}}}</style>{rest}"


def commit() -> str:
    """The commit that is measured."""
    folder = Path(__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
