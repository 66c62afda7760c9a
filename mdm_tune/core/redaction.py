"""Text that is safe to show: without passwords, and without characters that control a terminal."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, TypeVar

__all__ = ["HIDDEN", "one_line", "printable", "redacted", "shown_as", "without_password"]

HIDDEN = "***"  # as SQLAlchemy writes it
TEMPLATE = "driver"  # the scheme in the example of our own message, which has no password
# A path that was made from an address has one / left.
USER = rf"\b(?!{TEMPLATE}:)([a-z][a-z0-9+.-]*:/{{1,2}}[^\s:/@\[]*):"
PORT = r"\d{1,5}(?!\w)"
WHOLE = re.compile(r"(:/{1,2}[^:/@]*):.*@", re.DOTALL)
WITH_HOST = re.compile(USER + rf"(?:\S*|(?!{PORT})\S[^@\n]*)@", re.IGNORECASE)
WITHOUT_HOST = re.compile(USER + rf"(?!{PORT}|\*\*\*)[^\s@]*[^\s@:,;.)'\"\]}}]", re.IGNORECASE)
OPTION = re.compile(
    r"([?&][^=&\s]*(?:pass|secret|token)[^=&\s]*=)[^&\s]*?(?=[&\s]|['\")\],;.:]*(?:\s|$))", re.IGNORECASE
)
JOINERS = "\u200c\u200d"  # format characters that only shape letters and emoji
UNSAFE = {  # Unicode categories
    "Cc",  # control characters
    "Cf",  # format characters, among them those that change the direction of text
    "Cs",  # halves of surrogate pairs
    "Zl",  # line separators
    "Zp",  # paragraph separators
}

Value = TypeVar("Value")


def redacted(value: Value) -> Value:
    """A text, or a record with all its texts, with ``***`` in place of every password.

    It hides the password in scheme://user:password@host, in the options of an address (?password=..), and in an
    address that was cut before its host. All output passes through here: terminal, JSON, logs and files.
    """
    clean: Any = value
    if isinstance(value, str):
        if ":/" in value or "=" in value:
            clean = OPTION.sub(rf"\1{HIDDEN}", WITH_HOST.sub(rf"\1:{HIDDEN}@", value))
            clean = WITHOUT_HOST.sub(rf"\1:{HIDDEN}", clean)
    elif isinstance(value, dict):
        clean = {redacted(key): redacted(inner) for key, inner in value.items()}
    elif isinstance(value, list | tuple):
        clean = (list if isinstance(value, list) else tuple)(redacted(inner) for inner in value)
    return clean  # type: ignore[no-any-return]


def without_password(value: str) -> str:
    """``redacted`` for a value that is a single address; its password may also hold spaces and @."""
    return redacted(WHOLE.sub(rf"\1:{HIDDEN}@", value))


def printable(text: str) -> str:
    """The text with escapes (``\\x1b``) for characters that control a terminal; line ends and tabs stay."""
    return text if text.isprintable() else "".join(map(_escaped_if_unsafe, text))


def one_line(text: str) -> str:
    """``printable`` for text that must stay on one line: names, paths, cells of a table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def shown_as(text: str, encoding: str | None) -> str:
    """The text with escapes for characters that the encoding cannot represent; None stands for UTF-8."""
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def _escaped_if_unsafe(character: str) -> str:
    if character in "\n\t" or character in JOINERS or unicodedata.category(character) not in UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")
