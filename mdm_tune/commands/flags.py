"""The flag ``--run-generated-code``, whose value may be left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from mdm_tune.core.messages import shown
from mdm_tune.core.permissions import GeneratedCode

__all__ = ["Command", "generated", "generated_words"]

FLAG = "--run-generated-code"
WITHOUT = "safe"  # the value of the flag when none is written


class Command(TyperCommand):
    """A command whose --run-generated-code may have no value. A word after the flag is never its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after adding the value that the flag lacks, since the library requires one."""
        return super().parse_args(ctx, _with_value(args))


def generated(value: str | bool) -> GeneratedCode:
    """Parse the value of the flag.

    Returns:
        What the flag allows: False, True, or ``"unsafe"``.

    Raises:
        typer.BadParameter: If the value is neither left out nor ``unsafe``.
    """
    if isinstance(value, bool):
        return value
    if value in (WITHOUT, "unsafe"):
        return "unsafe" if value == "unsafe" else True
    raise typer.BadParameter(f"has no value or the value unsafe, got {shown(value)}; write {FLAG} or {FLAG}=unsafe")


def generated_words(allowed: GeneratedCode) -> list[str]:
    """The words on a command line that allow the same."""
    return [f"{FLAG}=unsafe" if allowed == "unsafe" else FLAG] if allowed else []


def _with_value(words: Sequence[str]) -> list[str]:
    """The words with a value added to a flag that has none. Words after ``--`` stay as they are."""
    end = list(words).index("--") if "--" in words else len(words)
    return [f"{FLAG}={WITHOUT}" if word == FLAG and place < end else word for place, word in enumerate(words)]
