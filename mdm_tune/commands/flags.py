"""The flag of the command line that has a value or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from mdm_tune.core.messages import shown
from mdm_tune.core.permissions import GeneratedCode

__all__ = ["Command", "generated", "generated_words"]

FLAG = "--run-generated-code"
WITHOUT = "safe"  # what the flag means where it has no value


class Command(TyperCommand):
    """A command whose --run-generated-code may stand alone; a word after it is never its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the library's own, which knows options with a value and options without one."""
        return super().parse_args(ctx, _with_value(args))


def generated(value: str | bool) -> GeneratedCode:
    """The parser of the flag, which gives what it allows."""
    if isinstance(value, bool):
        return value
    if value in (WITHOUT, "unsafe"):
        return "unsafe" if value == "unsafe" else True
    raise typer.BadParameter(f"has no value or the value unsafe, got {shown(value)}; write {FLAG} or {FLAG}=unsafe")


def generated_words(allowed: GeneratedCode) -> list[str]:
    """The words of a command that allow the same."""
    return [f"{FLAG}=unsafe" if allowed == "unsafe" else FLAG] if allowed else []


def _with_value(words: Sequence[str]) -> list[str]:
    end = list(words).index("--") if "--" in words else len(words)
    return [f"{FLAG}={WITHOUT}" if word == FLAG and place < end else word for place, word in enumerate(words)]
