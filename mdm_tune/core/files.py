"""Atomic writing of files, removal of files that a killed process left unfinished, and paths of bundled data."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import IO

from mdm_tune.core.errors import InputError, RunError
from mdm_tune.core.messages import shown_path, system_reason

__all__ = ["bundled", "remove_unfinished", "write_text"]

PREFIX, SUFFIX = ".mdm-tune-", ".unfinished"


def write_text(path: Path, text: str) -> Path:
    """Replace the content of a file in one step, so that no reader sees half a file, even after a crash.

    Args:
        path: the file; its folder must exist.
        text: the new content, written in UTF-8.

    Returns:
        ``path``.

    Raises:
        RunError: the system cannot write the file.
    """
    try:
        while True:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=path.parent, delete=False, prefix=PREFIX, suffix=SUFFIX
            ) as file:
                temporary = Path(file.name)
                if _lock_new_file(file):
                    try:
                        file.write(text)
                        file.flush()
                        os.fsync(file.fileno())
                        temporary.chmod(0o644)
                        temporary.replace(path)
                        return path
                    except BaseException:
                        temporary.unlink(missing_ok=True)
                        raise
    except OSError as error:
        raise RunError(f"cannot write {shown_path(path)}: {system_reason(error)}") from None


def remove_unfinished(folder: Path) -> None:
    """Remove the files that killed processes left unfinished in ``folder``; files in use are locked and stay."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError), path.open("r+") as file:
            _lock(file)
            path.unlink()


def _lock_new_file(file: IO[str]) -> bool:
    """Lock a new file; False if ``remove_unfinished`` of another process is removing it."""
    try:
        _lock(file)
    except BlockingIOError:
        return False
    except OSError:  # this file system has no locks, so no process removes files from it
        return True
    return os.fstat(file.fileno()).st_nlink > 0


def _lock(file: IO[str]) -> None:
    """Lock a file until it is closed or this process ends; raises BlockingIOError if another process holds the lock."""
    if sys.platform != "win32":  # Windows never removes an open file
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def bundled(path: str) -> Path:
    """The folder of the bundled data ``package:NAME``; any other path is returned as it is.

    Raises:
        InputError: the package has no data of this name.
    """
    if not path.startswith("package:"):
        return Path(path)
    name = path.removeprefix("package:")
    root = Path(str(resources.files("mdm_tune"))) / "data"
    names = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    if name not in names:
        raise InputError(f"no bundled data called {name!r}; the package ships {', '.join(names)}")
    return root / name
