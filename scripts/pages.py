"""Numbers that a script writes into a page of the documentation, between two comments, and their commit."""

from __future__ import annotations

import subprocess
from pathlib import Path


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


def commit() -> str:
    """The commit that is measured."""
    folder = Path(__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
