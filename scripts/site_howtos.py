"""What the how-to pages of the site leave open: tables and instructions, made from the package's own tables.

A page has comments such as ``<!-- made: family llada -->`` and ``<!-- made: export linear --to llada --length 64
--steps 8 -->``. The second runs the export, so that a page shows the instructions that the command prints. Up to the
comment ``<!-- /made -->`` stands what a reader in the repository sees instead (``instead_of``).
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from mdm_tune.config.families import FAMILIES, PUBLISHED, Family
from mdm_tune.exports.base import ExportFormat
from mdm_tune.exports.policy import read_policy
from mdm_tune.exports.registry import FORMATS

__all__ = ["INSERTS", "PLACE", "export", "family", "instead_of"]

ROOT = Path(__file__).parent.parent
PLACE = re.compile(r"<!-- made: ([\w-]+) (.+?) -->\n(.*?)\n<!-- /made -->", flags=re.DOTALL)
NAMES = {"--length": "length", "--steps": "steps", "--block-length": "size"}
FIELD = re.compile(r"^ {4}([\w, ]+): (.*(?:\n {8}.*)*)", flags=re.MULTILINE)
HOLDS = {"counts": "counts", "alphas": "alphas", "threshold": "a threshold", "quota": "a quota"}
HOLDS |= {"entropy-bound": "an entropy bound", "cap": "a cap", "klass": "klass"}
BLOCKS = {"none": "one block", "equal": "the same counts in every block", "any": "any blocks"}


def family(name: str) -> str:
    """The table of a family of checkpoints: what differs from other models, and what it means."""
    found, plain = FAMILIES[name], Family(name)
    meanings = {key: re.sub(r"\s+", " ", text) for key, text in FIELD.findall(inspect.getdoc(Family) or "")}
    lines = [f"| setting of the family `{name}` | value | meaning |", "|---|---|---|"]
    hub = sorted(begin for begin, each in PUBLISHED.items() if each == name)
    if hub:
        lines.append(f"| names on the Hub | {', '.join(f'`{begin}...`' for begin in hub)} | seen without loading |")
    for each in fields(found):
        value = getattr(found, each.name)
        if each.name in ("name", "sampling", "transformers") or value == getattr(plain, each.name):
            continue
        meaning = meanings[each.name].replace("``", "`").replace("|", "\\|")
        lines.append(f"| `{each.name}` | {_value(value)} | {meaning} |")
    if found.sampling is not None:
        drawn = ", ".join(f"{each.name} {getattr(found.sampling, each.name)}" for each in fields(found.sampling))
        lines.append(f"| sampling of the authors | {drawn} | used where `sampler` leaves a setting out |")
    oldest, new = found.transformers
    if oldest or new:
        shown = f"from {oldest}" if not new else f"from {oldest}, below {new}"
        lines.append(f"| versions of transformers | {shown} | those that the published code supports |")
    if len(lines) == 2:
        lines.append("| none | | every setting is that of a plain masked language model |")
    return "\n".join(lines)


def instead_of(name: str, argument: str) -> str:
    """The sentence that stands in a page of the repository, where the site shows what is made."""
    if name == "family":
        table = "[mdm_tune/config/families.py](../../mdm_tune/config/families.py)"
        return f"The site shows a table here. In the repository, the settings of `{argument}` stand in\n{table}."
    return f"The site shows here what this command prints:\n\n    mdm-tune export {argument}"


def _value(value: Any) -> str:
    """A value of a field, in code."""
    entries = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"`{str(each).replace('|', chr(92) + '|')}`" for each in entries)


def export(words: str) -> str:
    """The table of a format, and what the command with these words prints."""
    found = shlex.split(words)
    policy, options = found[0], dict(zip(found[1::2], found[2::2], strict=True))
    target: ExportFormat = FORMATS[options.pop("--to")]
    numbers = {NAMES[flag]: int(value) for flag, value in options.items()}
    made = target.export(read_policy(policy, **numbers))
    lost = list(made.lost) or ["Nothing is lost with this schedule."]
    return "\n".join(
        [
            f"| format | `{target.name}` |",
            "|---|---|",
            f"| for | {target.target} |",
            f"| verified in | {target.verified or 'nothing: it is a plain format'} |",
            f"| exact | {'yes' if target.exact else 'no: the nearest that the target can express'} |",
            f"| holds | {', '.join(text for kind, text in HOLDS.items() if kind in target.kinds)}; "
            f"{BLOCKS[target.blocks]} |",
            f"| what is lost | {_lost(target.name)} |",
            "",
            f"`mdm-tune export {words}` writes `{'`, `'.join(made.files)}` and prints:",
            "",
            "```text",
            *made.where,
            "",
            *lost,
            "```",
        ]
    )


def _lost(name: str) -> str:
    """The last cell of a format's row in docs/export.md."""
    page = (ROOT / "docs" / "export.md").read_text("utf-8")
    (row,) = re.findall(rf"^\| `{re.escape(name)}` \|.*\|$", page, flags=re.MULTILINE)
    return str(row).strip("|").rpartition("|")[2].strip()


INSERTS: Mapping[str, Callable[[str], str]] = {"family": family, "export": export}
