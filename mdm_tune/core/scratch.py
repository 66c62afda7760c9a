"""The one temporary folder of a process: removed at its end, and after a kill at the next start of another."""

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
LOCK = "in-use"  # locked while the process lives, however it ends
_kept: dict[int, tuple[Path, IO[str]]] = {}  # by the id of the process, since a fork has none of its own


def scratch_folder() -> Path:
    """This process's folder for temporary files; what dead processes left of theirs is removed first."""
    mine = os.getpid()
    if mine not in _kept:
        remove_stale_folders()
        _kept[mine] = locked_folder(PREFIX)
        atexit.register(_remove, mine)
    return _kept[mine][0]


def locked_folder(prefix: str, parent: Path | None = None) -> tuple[Path, IO[str]]:
    """A new folder and its lock file."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        lock = (folder / LOCK).open("w")
    except OSError:  # no room
        shutil.rmtree(folder, ignore_errors=True)
        raise
    with suppress(OSError):  # a file system without locks, on which nothing is ever removed
        _lock(lock)
    return folder, lock


def use_scratch_for_compiler() -> None:
    """Let PyTorch's compiler, which transformers calls on, write into ``scratch_folder`` where the user says nothing.

    It would leave a folder of its own in the temporary folder of the system otherwise, empty ones too.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch_folder() / "compiled")


def _without_more(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale_folders(
    parent: Path | None = None, prefix: str = PREFIX, remove: Callable[[Path], None] = _without_more
) -> list[Path]:
    """Remove the folders of processes that have ended, of this user only; returns them.

    One without a lock file is another program's or is just being made, and is left alone.
    """
    found = []
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        with suppress(OSError):
            if folder.is_symlink() or not _own(folder):
                continue
            with (folder / LOCK).open("r+") as lock:
                _lock(lock)
                remove(folder)
                found.append(folder)
    return found


def _own(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _remove(process: int) -> None:
    if process != os.getpid():  # a fork inherits what its parent had registered
        return
    folder, lock = _kept.pop(process)
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def _lock(file: IO[str]) -> None:
    """Raises OSError where another process has it, and where there are no locks, so that nothing is removed."""
    if sys.platform == "win32":
        raise OSError("no lock")
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
