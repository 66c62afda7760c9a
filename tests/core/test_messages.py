"""Messages of bounded length, and the reason and remedy of what the system refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mdm_tune.core.messages import bounded, cut, listed, shown, shown_path, system_reason


class Untouchable:
    """A value that nobody may write out."""

    def __repr__(self) -> str:
        raise AssertionError("an entry that is not shown was written out")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        ({"a": 1}, "a mapping"),
        ((1, 2.5), "[1, 2.5]"),
        ([True, None, "x"], "[true, null, 'x']"),
        ([{"a": 1}, {}], "[{...}, {}]"),
        ("a\nb", r"'a\nb'"),
        ([10**5000], "[a number too long to show]"),
        ("x" * 58, repr("x" * 58)),
        ("x" * 59, "'" + "x" * 56 + "..."),
        ("postgresql://me:secret@host/db", "'postgresql://me:***@host/db'"),
        ("postgresql://me:" + "s" * 5000 + "@host/db", "'postgresql://me:***@"),
    ],
)
def test_a_value_is_shown_as_yaml_has_it_on_one_line(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_only_what_is_shown_of_a_value_is_written_out() -> None:
    assert shown(10**5000) == "a number too long to show"
    assert shown([1] * 100 + [Untouchable()]) == "[" + "1, " * 18 + "1,..."
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "[" * 10 + "[...]" + "]" * 10


@pytest.mark.parametrize("size", [61, 1000, 10**7])
def test_a_long_text_loses_its_middle(size: int) -> None:
    text = "a" + "\n" * (size - 2) + "z"
    assert len(cut(text)) == 60
    assert cut(text).startswith("a\\n") and cut(text).endswith("z") and "..." in cut(text)
    assert cut("x" * 60) == "x" * 60


def test_a_path_of_the_usual_length_is_shown_whole_and_a_long_one_with_its_end() -> None:
    assert shown_path(Path("/home/me") / ("run" * 40)) == "/home/me/" + "run" * 40
    found = shown_path("/home/me/" + "run/" * 1000 + "schedule.yaml")
    assert len(found) == 160 and found.startswith("/home/me/run/") and found.endswith("/schedule.yaml")
    assert shown_path("a\udcffb") == "a\\udcffb"


def test_a_long_list_says_how_many_more_there_are() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(range(20_000)) == ", ".join(map(str, range(20))) + ", and 19,980 more"
    assert len(listed(["x" * 500_000] * 3)) < 200


def test_no_message_is_longer_than_a_screen() -> None:
    message = bounded("\n".join(["y" * 10**6] * 1000))
    assert max(map(len, message.split("\n"))) == 1000
    assert message.endswith("\n... and 940 more lines")
    assert bounded("short\nlines") == "short\nlines"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device; free space there, or use another"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "quota"),
        (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)), "File name too long; give a shorter name"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied; check the rights"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; use a folder that can be written"),
        (OSError(errno.ENOENT, "No such file or directory"), "No such file or directory; check the path"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files; raise the limit of open files"),
    ],
)
def test_the_remedy_follows_from_the_number_of_the_error(error: OSError, expected: str) -> None:
    assert expected in system_reason(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError("libcudart.so.12: cannot open shared object file: No such file or directory"),  # a missing library
        type("UnidentifiedImageError", (OSError,), {})("cannot identify image file 'x.png'"),
    ],
)
def test_no_remedy_is_invented_for_any_other_error(error: OSError) -> None:
    assert system_reason(error) == (error.strerror or str(error))
    assert system_reason(error, "give another file").endswith("; give another file")
