"""Files that are read: regular ones up to a stated size, as text or as JSON of a stated depth."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import shown, shown_path, system_reason

__all__ = [
    "CONFIG_BYTES",
    "DATA_BYTES",
    "DEEPEST",
    "LINE_CHARACTERS",
    "RECORD_BYTES",
    "WRITTEN_BYTES",
    "check_file",
    "depth_problem",
    "expanded",
    "json_line",
    "json_value",
    "read_bytes",
    "read_json",
    "read_text",
]

MIB = 2**20
WRITTEN_BYTES = 4 * MIB  # of YAML, which people write and look at
CONFIG_BYTES = 64 * MIB  # of a checkpoint's config.json, which may name every label of a model
RECORD_BYTES = 256 * MIB  # of JSON that a run writes: answers of each example, values of a profile
DATA_BYTES = 2048 * MIB  # of a file of examples, which is held in memory as a whole
LINE_CHARACTERS = 16 * MIB  # of one record in JSON lines
DEEPEST = 64  # levels of mappings and lists; what people write has fewer than ten
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def read_bytes(path: Path, largest: int = DATA_BYTES, remedy: str = "check the path", *, whole: bool = True) -> bytes:
    """The bytes of a regular file; whole: False for no more than the first ``largest``, whatever its size.

    Raises InputError for one of more than ``largest`` bytes, for a folder, a pipe, a device and a socket, whose reading
    may never end, and where the system refuses; remedy: what to do where the system's reason does not say it.
    """
    try:
        # Without waiting: to open a pipe is to wait for who writes into it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                kind = next((name for is_kind, name in KINDS if is_kind(mode)), "no regular file")
                raise InputError(f"{shown_path(path)} is {kind}, not a file that can be read to its end; {remedy}")
            content = file.read(largest + 1)
    except IsADirectoryError:
        raise InputError(f"{shown_path(path)} is a folder, not a file that can be read; {remedy}") from None
    except OSError as error:
        raise InputError(f"cannot read {shown_path(path)}: {system_reason(error, remedy)}") from None
    except ValueError:  # a null character in the path
        raise InputError(f"cannot read {shown_path(path)}: no path holds a null character; {remedy}") from None
    if whole and len(content) > largest:
        raise InputError(f"{shown_path(path)} must have at most {_size(largest)}, got more; {remedy}")
    return content


def check_file(path: Path, remedy: str = "check the path") -> None:
    """Raise InputError as ``read_bytes`` does, for a file that somebody else's code is going to read."""
    read_bytes(path, 0, remedy, whole=False)


def read_text(path: Path, largest: int = DATA_BYTES, remedy: str = "check the path") -> str:
    """The text of a regular file in UTF-8, without a byte order mark; raises InputError as ``read_bytes``."""
    content = read_bytes(path, largest, remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{shown_path(path)} must be UTF-8 text, got byte 0x{content[error.start]:02x} at offset {error.start}; "
            "save the file as UTF-8"
        ) from None


def read_json(path: Path, largest: int = RECORD_BYTES, remedy: str = "check the path") -> Any:
    """The value in a file of JSON; raises InputError as ``read_text`` and where it is none."""
    text = read_text(path, largest, remedy)
    try:
        return json_value(text)
    except ValueError as error:
        raise InputError(f"{shown_path(path)} is not JSON: {error}; {remedy}") from None


def json_value(text: str, number: Callable[[str], Any] | None = None) -> Any:
    """The value that a text writes in JSON; raises ValueError with one line that says what is wrong.

    number: what is made of one with a point or an exponent, a float without it.

    Refused are also what Python takes beside JSON (NaN, Infinity), numbers too large for it, a key given twice, half a
    character, and more than ``DEEPEST`` levels.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=number or _finite)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ValueError(f"{error.msg} at {where}") from None
    except RecursionError:
        raise ValueError(_too_deep()) from None
    except ValueError as error:  # Python reads no whole number of more than 4300 digits
        raise ValueError("a number has too many digits" if "digits" in str(error) else str(error)) from None
    if text.count("{") + text.count("[") > DEEPEST and (problem := depth_problem(value)):
        raise ValueError(problem)
    if "\\ud" in text.lower() and HALF_CHARACTER.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("a text holds half of a character, a \\ud800 to \\udfff without its partner")
    return value


def json_line(
    line: str, place: str, remedy: str = "write one object a line", number: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """The object that one line of JSON lines holds; number: as for ``json_value``.

    Raises InputError that names its place and its beginning.
    """
    if len(line) > LINE_CHARACTERS:
        raise InputError(
            f"{place}: a line has at most {LINE_CHARACTERS:,} characters, got {len(line):,}; {remedy}, or leave it out"
        )
    try:
        record = json_value(line, number)
    except ValueError as error:
        raise InputError(f"{place}: not JSON: {error}, got {shown(line)}; {remedy}") from None
    if not isinstance(record, dict):
        raise InputError(f"{place}: must be an object {{...}} with named fields, got {shown(line)}; {remedy}")
    return record


def depth_problem(value: object) -> str | None:
    """What to say of a value of more than ``DEEPEST`` levels; None where it has fewer."""
    level: list[object] = [value]
    for _ in range(DEEPEST):
        level = [each for above in level for each in _inside(above)]
        if not level:
            return None
    return _too_deep()


def expanded(text: str) -> str:
    """A path with the user's home in place of a ``~`` at its beginning, as shells read it.

    Raises ValueError for the home of a user that there is not.
    """
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError(f"begins with the home of a user that there is not, got {shown(text)}; write it out") from None


def _inside(value: object) -> list[object]:
    """The mappings and lists in a mapping or list."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in inside if isinstance(each, dict | list)]


def _too_deep() -> str:
    return f"it is nested in more than {DEEPEST} levels"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"key {shown(twice)} is given twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number {shown(text)} is too large")
    return value


def _size(count: int) -> str:
    return f"{count // MIB:,} MiB" if count >= MIB else f"{count:,} bytes"
