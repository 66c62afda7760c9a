"""What messages are made of: values cut to a line, lists cut to a few entries, and reasons of the system."""

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
DEPTH = 8  # of lists in lists that are shown
PATH_LENGTH = 160  # characters of a path, whose beginning and end are kept
ENTRIES = 20  # of a list
LINE_LENGTH = 1000  # of a message; a net under values that a library's own words hold
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
PLACES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # what is wrong with them only the caller knows


def shown(value: object, length: int = SHOWN_LENGTH) -> str:
    """``value`` as a reader of YAML knows it, on one line of bounded length and without a password.

    Only the part that is shown is written out, so that a value of any size costs nothing.
    """
    if isinstance(value, dict):
        return "a mapping"
    text = without_password(_written(value, length))
    return text if len(text) <= length else text[: length - 3] + "..."


def _written(value: object, length: int, depth: int = 0) -> str:
    """The value as text, of which the first ``length`` characters are right."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str | bytes):
        if len(value) <= 10 * length:
            return repr(value)
        # The sign at the end closes the password of an address that is longer than what is looked at.
        return repr(value[: 10 * length])[:-1] + "@"
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_entries(value, length, depth))}]"
    try:
        return repr(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return "a number too long to show"
    except Exception:  # the repr of somebody else's class
        return f"a {type(value).__name__} that cannot be shown"


def _entries(values: Sequence[object], length: int, depth: int) -> Iterator[str]:
    written = 0
    for value in values:
        text = "[...]" if depth > DEPTH else _written(value, length, depth + 1)
        yield text
        written += len(text)
        if written > length:
            return


def cut(text: object, length: int = SHOWN_LENGTH) -> str:
    """``text`` on one line of at most ``length`` characters, without quotes; what is left out is in the middle."""
    whole = str(text)
    # A huge one is cut before it is looked at.
    line = one_line(whole if len(whole) <= 10 * length else whole[: 5 * length] + whole[-5 * length :])
    if len(line) <= length and len(whole) <= 10 * length:
        return line
    tail = (length - 3) // 3
    return f"{line[: length - 3 - tail]}...{line[-tail:]}"


def shown_path(path: object) -> str:
    """A path for a message: long ones without their middle, and bytes that are no text as escapes."""
    return cut(path, PATH_LENGTH)


def listed(entries: Iterable[object], most: int = ENTRIES, separator: str = ", ") -> str:
    """The first ``most`` entries, each cut, and how many more there are."""
    every = list(entries)
    parts = [cut(entry) for entry in every[:most]]
    more = len(every) - most
    return separator.join(parts) + (f"{separator}and {more:,} more" if more > 0 else "")


def quantity(number: int | str, noun: str) -> str:
    """``1 step`` or ``1,024 steps``; a text is shown as it is."""
    many = number if isinstance(number, str) else f"{number:,}"  # integers of numpy are no int
    return f"{many} {noun}" if many == "1" else f"{many} {noun}s"


def bounded(message: str) -> str:
    """A whole message, of which no line is longer than a reader follows, and no more lines than a screen holds."""
    lines = message.split("\n")
    kept = [line if len(line) <= LINE_LENGTH else cut(line, LINE_LENGTH) for line in lines[:LINES]]
    return "\n".join([*kept, *([f"... and {len(lines) - LINES:,} more lines"] if len(lines) > LINES else [])])


def system_reason(error: OSError, otherwise: str = "") -> str:
    """What the system says of a failure, and what to do about it.

    otherwise: the remedy where the number of the error tells none, or no more than that the path is wrong. Some errors
    of this kind are no system's: a library that is missing, a picture that cannot be read. They keep their own words.
    """
    reason = error.strerror or cut(_first_line(str(error)) or type(error).__name__, PATH_LENGTH)
    usual = REMEDIES.get(error.errno or 0, "")
    remedy = otherwise if otherwise and error.errno in PLACES else usual or otherwise
    return f"{reason}; {remedy}" if remedy else reason


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
