"""The parts of messages: values and lists cut to a bounded length, counted nouns, and the reasons of system errors."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence

from mdm_tune.core.redaction import one_line, without_password

__all__ = [
    "PATH_LENGTH",
    "SHOWN_LENGTH",
    "bounded",
    "cut",
    "listed",
    "quantity",
    "shown",
    "shown_path",
    "system_reason",
    "without_password",
]

SHOWN_LENGTH = 60  # characters of a value
DEPTH = 8  # levels of nested lists that are shown
PATH_LENGTH = 160  # characters of a path; its beginning and end are shown
ENTRIES = 20  # of a list
LINE_LENGTH = 1000  # characters of one line of a message; foreign messages may hold long values
LINES = 60  # of a message
REMEDIES = {
    errno.ENOSPC: "free space there, or use another disk",
    errno.EDQUOT: "free space within your quota, or use another disk",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or use another disk",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EACCES: "check the rights of the file and of its folders",
    errno.EPERM: "check the rights of the file and of its folders",
    errno.EROFS: "use a folder that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EISDIR: "give a file",
    errno.EEXIST: "give another path, or remove what is there",
    errno.ELOOP: "check the symbolic links of the path, which lead back to themselves",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close programs that hold many files open",
    errno.ENOMEM: "free memory",
    errno.ENXIO: "give a regular file",
}
PLACES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # the path is wrong; the caller has the better remedy


def shown(value: object, length: int = SHOWN_LENGTH) -> str:
    """A value in YAML's notation, on one line, cut, and without passwords.

    A huge value costs no time, because only the part that is shown is converted to text.

    Args:
        value: any value.
        length: characters at most.
    """
    if isinstance(value, dict):
        return "a mapping"
    text = without_password(_value_text(value, length))
    return text if len(text) <= length else text[: length - 3] + "..."


def _value_text(value: object, length: int, depth: int = 0) -> str:
    """The value as text, converted only far enough for the first ``length`` characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | bytes):
        if len(value) <= 10 * length:
            return repr(value)
        # The @ ends the password of an address that is cut, so that ``without_password`` recognises it.
        return repr(value[: 10 * length])[:-1] + "@"
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_entry_texts(value, length, depth))}]"
    try:
        return repr(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return "a number too long to show"
    except Exception:  # the repr of a foreign class may raise anything
        return f"a {type(value).__name__} that cannot be shown"


def _entry_texts(values: Sequence[object], length: int, depth: int) -> Iterator[str]:
    total = 0
    for value in values:
        text = "[...]" if depth > DEPTH else _value_text(value, length, depth + 1)
        yield text
        total += len(text)
        if total > length:
            return


def cut(text: object, length: int = SHOWN_LENGTH) -> str:
    """A text without quotes, on one line of at most ``length`` characters; the middle of a longer text is left out."""
    whole = str(text)
    # Only the ends of a huge text are converted, which takes no time.
    line = one_line(whole if len(whole) <= 10 * length else whole[: 5 * length] + whole[-5 * length :])
    if len(line) <= length and len(whole) <= 10 * length:
        return line
    tail = (length - 3) // 3
    return f"{line[: length - 3 - tail]}...{line[-tail:]}"


def shown_path(path: object) -> str:
    """A path for a message: the middle of a long path is left out, and bytes that are no text become escapes."""
    return cut(path, PATH_LENGTH)


def listed(entries: Iterable[object], most: int = ENTRIES, separator: str = ", ", length: int = SHOWN_LENGTH) -> str:
    """The first ``most`` entries, each cut to ``length`` characters, and the number of those that are left out."""
    all_entries = list(entries)
    parts = [cut(entry, length) for entry in all_entries[:most]]
    more = len(all_entries) - most
    return separator.join(parts) + (f"{separator}and {more:,} more" if more > 0 else "")


def quantity(number: int | str, noun: str) -> str:
    """A number with its noun: ``1 step`` or ``1,024 steps``. A number given as text is not formatted."""
    digits = number if isinstance(number, str) else f"{number:,}"  # NumPy's integers are no instances of int
    return f"{digits} {noun}" if digits == "1" else f"{digits} {noun}s"


def bounded(message: str) -> str:
    """A whole message of at most ``LINES`` lines, each of at most ``LINE_LENGTH`` characters."""
    lines = message.split("\n")
    shown_lines = [line if len(line) <= LINE_LENGTH else cut(line, LINE_LENGTH) for line in lines[:LINES]]
    return "\n".join([*shown_lines, *([f"... and {len(lines) - LINES:,} more lines"] if len(lines) > LINES else [])])


def system_reason(error: OSError, otherwise: str = "") -> str:
    """The reason that the system gives for a failure, and a remedy.

    Args:
        error: the failure; libraries also raise OSError for failures of their own, whose text is used as it is.
        otherwise: the remedy if the error number has none, or if it only says that the path is wrong.
    """
    reason = error.strerror or cut(_first_line(str(error)) or type(error).__name__, PATH_LENGTH)
    usual = REMEDIES.get(error.errno or 0, "")
    remedy = otherwise if otherwise and error.errno in PLACES else usual or otherwise
    return f"{reason}; {remedy}" if remedy else reason


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
