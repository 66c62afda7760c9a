"""What may leave the tool as text: no password, and to a reader no character that a terminal would obey."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, TypeVar

__all__ = ["HIDDEN", "one_line", "printable", "redacted", "shown_as", "without_password"]

HIDDEN = "***"  # as SQLAlchemy writes it
TEMPLATE = "driver"  # the scheme of the example in our own message, which holds no password
# One / is left where a path was made of an address.
USER = rf"\b(?!{TEMPLATE}:)([a-z][a-z0-9+.-]*:/{{1,2}}[^\s:/@\[]*):"
PORT = r"\d{1,5}(?!\w)"
WHOLE = re.compile(r"(:/{1,2}[^:/@]*):.*@", re.DOTALL)
WITH_HOST = re.compile(USER + rf"(?:\S*|(?!{PORT})\S[^@\n]*)@", re.IGNORECASE)
WITHOUT_HOST = re.compile(USER + rf"(?!{PORT}|\*\*\*)[^\s@]*[^\s@:,;.)'\"\]}}]", re.IGNORECASE)
OPTION = re.compile(
    r"([?&][^=&\s]*(?:pass|secret|token)[^=&\s]*=)[^&\s]*?(?=[&\s]|['\")\],;.:]*(?:\s|$))", re.IGNORECASE
)
JOINERS = "\u200c\u200d"  # they shape letters and pictures, and move nothing
UNSAFE = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # control, format (those that turn the direction of text too), halves, ends of lines

Value = TypeVar("Value")


def redacted(value: Value) -> Value:
    """A text, or all texts in a record, with *** for the password of every address scheme://user:password@host.

    Passwords among an address's options (?password=..) too, and what is left of an address that was cut before its
    host. Every sink applies this: terminal, JSON, logs and files.
    """
    found: Any = value
    if isinstance(value, str):
        if ":/" in value or "=" in value:
            found = OPTION.sub(rf"\1{HIDDEN}", WITH_HOST.sub(rf"\1:{HIDDEN}@", value))
            found = WITHOUT_HOST.sub(rf"\1:{HIDDEN}", found)
    elif isinstance(value, dict):
        found = {redacted(key): redacted(each) for key, each in value.items()}
    elif isinstance(value, list | tuple):
        found = (list if isinstance(value, list) else tuple)(redacted(each) for each in value)
    return found  # type: ignore[no-any-return]


def without_password(value: str) -> str:
    """``redacted`` for a value that is one address as a whole, whose password may hold anything, spaces and @ too."""
    return redacted(WHOLE.sub(rf"\1:{HIDDEN}@", value))


def printable(text: str) -> str:
    """The text with what a terminal would obey as an escape (``\\x1b``, ``\\u202e``); line ends and tabs stay."""
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(text: str) -> str:
    """``printable`` for what has to stay on its line: names, paths, cells of a table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def shown_as(text: str, encoding: str | None) -> str:
    """The text with escapes for what the encoding of its reader lacks."""
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def _visible(character: str) -> str:
    if character in "\n\t" or character in JOINERS or unicodedata.category(character) not in UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")
