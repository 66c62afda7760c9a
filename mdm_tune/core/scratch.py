"""The temporary folder of a process. It is removed when the process ends, or by a later process after a kill."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ["locked_folder", "remove_stale_folders", "scratch_folder", "use_scratch_for_compiler"]

PREFIX = "mdm-tune-scratch-"
LOCK = "in-use"  # a file in the folder, which is locked while its process lives
_folders: dict[int, tuple[Path, IO[str]]] = {}  # by process id: a fork inherits this table


def scratch_folder() -> Path:
    """This process's folder for temporary files. The first call removes the folders of processes that have ended."""
    process = os.getpid()
    if process not in _folders:
        remove_stale_folders()
        _folders[process] = locked_folder(PREFIX)
        atexit.register(_remove_at_exit, process)
    return _folders[process][0]


def locked_folder(prefix: str, parent: Path | None = None) -> tuple[Path, IO[str]]:
    """Make a folder that ``remove_stale_folders`` skips while its lock file is open in a living process.

    Args:
        prefix: the beginning of its name.
        parent: where it is made; None for the system's temporary folder.

    Returns:
        The folder and its lock file.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        lock = (folder / LOCK).open("w")
    except OSError:  # the disk is full
        shutil.rmtree(folder, ignore_errors=True)
        raise
    with suppress(OSError):  # this file system has no locks, so no process removes folders from it
        _lock(lock)
    return folder, lock


def use_scratch_for_compiler() -> None:
    """Let PyTorch's compiler, which transformers uses, write into ``scratch_folder`` unless the user chose a folder.

    Otherwise every process would leave a folder in the system's temporary folder.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch_folder() / "compiled")


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale_folders(
    parent: Path | None = None, prefix: str = PREFIX, remove: Callable[[Path], None] = _remove_folder
) -> list[Path]:
    """Remove this user's folders whose processes have ended.

    A folder without a lock file is skipped: it belongs to another program, or it is just being made.

    Args:
        parent: where the folders are; None for the system's temporary folder.
        prefix: the beginning of their names.
        remove: removes one folder, which is locked meanwhile.

    Returns:
        The folders that were removed.
    """
    removed = []
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        with suppress(OSError):
            if folder.is_symlink() or not _is_own(folder):  # a link could lead to any folder
                continue
            with (folder / LOCK).open("r+") as lock:
                _lock(lock)
                remove(folder)
                removed.append(folder)
    return removed


def _is_own(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _remove_at_exit(process: int) -> None:
    if process != os.getpid():  # a fork inherits the exit handlers of its parent
        return
    folder, lock = _folders.pop(process)
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def _lock(file: IO[str]) -> None:
    """Lock a file; raises OSError if another process holds the lock, or if the system has no locks."""
    if sys.platform == "win32":
        raise OSError("no lock")
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
