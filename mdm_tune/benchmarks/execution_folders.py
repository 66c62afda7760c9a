"""Temporary folders for generated programs. They are removed after the program, or at the next start after a kill."""

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
YOUNG = 60.0  # seconds that a new folder may exist before its owner locks it


@contextmanager
def folder_of_its_own() -> Iterator[Path]:
    """Make an empty folder and remove it afterwards. A lock on it shows that its owner still runs."""
    folder = tempfile.mkdtemp(prefix=PREFIX)
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    import fcntl  # only Unix has it, and other systems import this module too

    try:
        with suppress(OSError):  # on a file system without locks, the folders of killed runs stay
            fcntl.flock(number, fcntl.LOCK_EX)
        yield Path(folder)
    finally:
        remove_tree(folder)
        os.close(number)


def remove_abandoned() -> list[str]:
    """Remove the folders of this user's killed runs, and return their paths."""
    import fcntl

    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                status = os.fstat(number)
                if status.st_uid != os.geteuid() or time.time() - status.st_mtime < YOUNG:
                    continue
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(str(path))
                removed.append(str(path))
            finally:
                os.close(number)
    return removed


def remove_tree(folder: str) -> None:
    """Remove a folder of any depth. Files that cannot be removed stay. Nothing outside the folder changes.

    Inner folders are moved up before they are emptied, so that no path becomes too long and no call recurses.
    """
    with suppress(OSError):
        top = _opened(folder)
        try:
            os.fchmod(top, 0o700)
            prefix, moved, before = secrets.token_hex(8), 0, None
            while (names := os.listdir(top)) and names != before:
                before = names
                for name in names:
                    moved = _remove_or_move_up(top, name, prefix, moved)
        finally:
            os.close(top)
        os.rmdir(folder)


def _opened(name: str, parent: int | None = None) -> int:
    """Open a folder, which is no link: its name in the open folder ``parent``, or its path."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except PermissionError:
        _take_rights(name, parent)
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def _take_rights(name: str, parent: int | None) -> None:
    """Give the owner of a folder the rights to it that a program has taken away. Only Linux can."""
    number = os.open(name, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{number}", 0o700)  # by its number, so that no link is followed
    finally:
        os.close(number)


def _remove_or_move_up(top: int, name: str, prefix: str, moved: int) -> int:
    """Remove one file of the folder ``top``, or one folder in it after its entries are moved up into ``top``.

    Args:
        top: Number of the open folder.
        name: Name of the entry.
        prefix: Beginning of the new names of moved entries.
        moved: Entries that were moved before.

    Returns:
        Entries that have been moved so far.
    """
    try:
        os.unlink(name, dir_fd=top)
        return moved
    except OSError:
        pass  # a folder
    with suppress(OSError):
        inner = _opened(name, top)
        try:
            os.fchmod(inner, 0o700)
            for child in os.listdir(inner):
                moved += 1
                try:
                    os.rename(child, f"{prefix}-{moved}", src_dir_fd=inner, dst_dir_fd=top)
                except PermissionError:  # who moves a folder needs the right to write to it
                    _take_rights(child, inner)
                    os.rename(child, f"{prefix}-{moved}", src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
    return moved
