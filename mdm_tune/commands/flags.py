"""The flags ``--run-generated-code`` and ``--watch``, whose values may be left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from mdm_tune.core.messages import shown
from mdm_tune.core.permissions import GeneratedCode

__all__ = ["Command", "generated", "generated_words"]

FLAG = "--run-generated-code"
WITHOUT = "safe"  # the value of the flag when none is written
WATCH = "--watch"


class Command(TyperCommand):
    """A command whose --run-generated-code and --watch may have no value.

    A word after --run-generated-code is never its value. A word after --watch is its value, unless the command would
    then lack its argument.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after adding the values that flags lack, since the library requires them."""
        single = {
            flag for option in self.params for flag in option.opts if getattr(option, "is_flag", False) or flag == FLAG
        }
        return super().parse_args(ctx, _with_value(_watch_with_value(args, single)))


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


def _watch_with_value(words: Sequence[str], single: Collection[str]) -> list[str]:
    """The words with --watch and its value, which may be empty, in one word. single: flags without values."""
    if WATCH not in words:
        return list(words)
    place = words.index(WATCH)
    rest = [*words[:place], *words[place + 2 :]]
    follows = words[place + 1 : place + 2]
    if follows and not follows[0].startswith("-") and _has_argument(rest, single):
        return [*words[:place], f"{WATCH}={follows[0]}", *words[place + 2 :]]
    return [*words[:place], f"{WATCH}=", *words[place + 1 :]]


def _has_argument(words: Sequence[str], single: Collection[str]) -> bool:
    """Whether any word is neither a flag nor the value of one."""
    taken = False
    for word in words:
        if not taken and (word == "--" or not word.startswith("-")):
            return True
        taken = not taken and word not in single and "=" not in word
    return False
