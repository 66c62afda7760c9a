"""Notebooks as pages of the site: their texts, their code, what it printed and the figures that it drew."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["as_page"]


def as_page(path: Path) -> tuple[str, Mapping[str, bytes]]:
    """The Markdown of a notebook, and its figures as PNG by file name."""
    lines: list[str] = []
    figures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            lines += [source, ""]
        elif cell["cell_type"] == "code":
            lines += [*fenced("python", source), *shown(cell.get("outputs", ()), path.stem, figures)]
    return "\n".join(lines), figures


def fenced(language: str, text: str) -> list[str]:
    """A block of text."""
    return [f"```{language}", text.rstrip(), "```", ""]


def shown(outputs: Sequence[Mapping[str, Any]], name: str, figures: dict[str, bytes]) -> list[str]:
    """The lines of the outputs of a cell; figures are added to ``figures``."""
    lines = []
    for output in outputs:
        data = output.get("data", {})
        text = "".join(output.get("text", data.get("text/plain", "")))
        if "image/png" in data:
            file = f"{name}-{len(figures) + 1}.png"
            figures[file] = base64.b64decode(data["image/png"])
            lines += [f"![Figure {len(figures)}, drawn by the code above]({file})", ""]
        elif text.strip():
            lines += fenced("text", text)
    return lines
