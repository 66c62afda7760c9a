"""Reading of files: regular files up to a limit, as text or as JSON of limited depth."""

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
WRITTEN_BYTES = 4 * MIB  # of a YAML file, which people write
CONFIG_BYTES = 64 * MIB  # of a checkpoint's config.json, which may name every label of a model
RECORD_BYTES = 256 * MIB  # of JSON that a run writes: the answers to examples, the values of a profile
DATA_BYTES = 2048 * MIB  # of a file of examples, which is read into memory as a whole
LINE_CHARACTERS = 16 * MIB  # of one record in JSON lines
DEEPEST = 64  # levels of mappings and lists; files that people write have fewer than ten
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def read_bytes(path: Path, largest: int = DATA_BYTES, remedy: str = "check the path", *, whole: bool = True) -> bytes:
    """The bytes of a regular file.

    Args:
        path: the file.
        largest: bytes at most.
        remedy: what to do, as a clause, if the error of the system has no remedy of its own.
        whole: False to read only the first bytes of a file that may be larger than ``largest``.

    Raises:
        InputError: the file is too large or cannot be read, or the path is a folder, a pipe, a device or a socket,
            whose reading may never end.
    """
    try:
        # O_NONBLOCK: opening a pipe would otherwise wait for a writer.
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
    except InputError:
        raise
    except ValueError:  # the path holds a null character
        raise InputError(f"cannot read {shown_path(path)}: no path holds a null character; {remedy}") from None
    if whole and len(content) > largest:
        raise InputError(f"{shown_path(path)} must have at most {_size_text(largest)}, got more; {remedy}")
    return content


def check_file(path: Path, remedy: str = "check the path") -> None:
    """Raise InputError as ``read_bytes`` does, for a file that foreign code will read."""
    read_bytes(path, 0, remedy, whole=False)


def read_text(path: Path, largest: int = DATA_BYTES, remedy: str = "check the path") -> str:
    """The text of a regular file in UTF-8, without a byte order mark.

    Args:
        path: the file.
        largest: bytes at most.
        remedy: what to do, as a clause, if the error of the system has no remedy of its own.

    Raises:
        InputError: the file cannot be read (see ``read_bytes``) or is not UTF-8.
    """
    content = read_bytes(path, largest, remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{shown_path(path)} must be UTF-8 text, got byte 0x{content[error.start]:02x} at offset {error.start}; "
            "save the file as UTF-8"
        ) from None


def read_json(path: Path, largest: int = RECORD_BYTES, remedy: str = "check the path") -> Any:
    """The value in a JSON file.

    Args:
        path: the file.
        largest: bytes at most.
        remedy: what to do, as a clause.

    Raises:
        InputError: the file cannot be read (see ``read_text``) or is not JSON.
    """
    text = read_text(path, largest, remedy)
    try:
        return json_value(text)
    except ValueError as error:
        raise InputError(f"{shown_path(path)} is not JSON: {error}; {remedy}") from None


def json_value(text: str, number: Callable[[str], Any] | None = None) -> Any:
    """The value of a JSON text.

    Unlike Python's ``json``, this function refuses NaN, Infinity, numbers that are too large for a float, duplicate
    keys, halves of surrogate pairs, and more than ``DEEPEST`` levels.

    Args:
        text: the JSON.
        number: converts the text of a number with a point or an exponent; None for a float.

    Raises:
        ValueError: the text is not such JSON; the message is one line.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=number or _finite_number,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise ValueError(f"{error.msg} at {where}") from None
    except RecursionError:
        raise ValueError(_too_deep_text()) from None
    except ValueError as error:  # Python refuses to read integers of more than 4300 digits
        raise ValueError("a number has too many digits" if "digits" in str(error) else str(error)) from None
    if text.count("{") + text.count("[") > DEEPEST and (problem := depth_problem(value)):
        raise ValueError(problem)
    if "\\ud" in text.lower() and HALF_CHARACTER.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("a text holds half of a character, a \\ud800 to \\udfff without its partner")
    return value


def json_line(
    line: str, place: str, remedy: str = "write one object a line", number: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """The object in one line of a JSON lines file.

    Args:
        line: the line.
        place: the file and the number of the line, for messages.
        remedy: what to do, as a clause.
        number: as in ``json_value``.

    Raises:
        InputError: the line is too long, is not JSON, or holds no object.
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
    """The problem of a value of more than ``DEEPEST`` levels; None if it has fewer."""
    level: list[object] = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _collections_in(outer)]
        if not level:
            return None
    return _too_deep_text()


def expanded(text: str) -> str:
    """A path with ``~`` or ``~user`` at its beginning replaced by the home folder, as in a shell.

    Raises:
        ValueError: there is no such user.
    """
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError(
            f"begins with the home of a user who does not exist, got {shown(text)}; write the whole path"
        ) from None


def _collections_in(value: object) -> list[object]:
    """The mappings and lists directly inside a mapping or list."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in inside if isinstance(inner, dict | list)]


def _too_deep_text() -> str:
    return f"it is nested in more than {DEEPEST} levels"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        (duplicate, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"key {shown(duplicate)} is given twice")
    return mapping


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite_number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number {shown(text)} is too large")
    return value


def _size_text(count: int) -> str:
    return f"{count // MIB:,} MiB" if count >= MIB else f"{count:,} bytes"
