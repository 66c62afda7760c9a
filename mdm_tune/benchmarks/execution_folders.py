"""Temporary folders for generated programs, which are gone after them whatever they hold, if not now then at the next
start.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["folder_of_its_own", "remove_abandoned", "remove_tree"]

PREFIX = "mdm-tune-program-"
YOUNG = 60.0  # seconds in which a folder may be there without a lock on it, since its owner is about to take it


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """A new empty folder, removed afterwards; a lock on it says that its owner still runs."""
    folder = tempfile.mkdtemp(prefix=PREFIX)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    import fcntl  # which only Unix has; so here

    try:
        with suppress(OSError):  # a file system without locks, where folders of killed runs stay
            fcntl.flock(held, fcntl.LOCK_EX)
        yield Path(folder)
    finally:
        remove_tree(folder)
        os.close(held)


def remove_abandoned() -> list[str]:
    """Remove what this user's killed runs have left behind, and return its paths."""
    import fcntl

    gone = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                found = os.fstat(held)
                if found.st_uid != os.geteuid() or time.time() - found.st_mtime < YOUNG:
                    continue
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(str(path))
                gone.append(str(path))
            finally:
                os.close(held)
    return gone


def remove_tree(folder: str) -> None:
    """Remove a folder of any depth; what cannot be removed stays, and nothing outside is touched.

    Folders inside folders are moved up before they are emptied, so that no path becomes long and no call deep.
    """
    with suppress(OSError):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchmod(top, 0o700)
            mark, number, before = secrets.token_hex(8), 0, None
            while (names := os.listdir(top)) and names != before:
                before = names
                for name in names:
                    number = _emptied(top, name, mark, number)
        finally:
            os.close(top)
        os.rmdir(folder)


def _emptied(top: int, name: str, mark: str, number: int) -> int:
    """Remove one entry of the folder, or move what it holds up into it; returns how many were moved so far."""
    try:
        os.unlink(name, dir_fd=top)
        return number
    except OSError:
        pass  # a folder
    with suppress(OSError):
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            os.fchmod(inner, 0o700)
            for child in os.listdir(inner):
                number += 1
                os.rename(child, f"{mark}-{number}", src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
    return number
