"""Files that are replaced whole or not at all, and what a killed process leaves of one that it was writing."""

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
    """Replace ``path`` by ``text`` in one step, so that a reader or a crash never meets half a file."""
    try:
        while True:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=path.parent, delete=False, prefix=PREFIX, suffix=SUFFIX
            ) as file:
                temporary = Path(file.name)
                if _ours(file):
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
    """Remove what processes that were killed had begun to write here; a file that is being written is locked."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError), path.open("r+") as file:
            _lock(file)
            path.unlink()


def _ours(file: IO[str]) -> bool:
    """Lock a new file, which ends with this process however it ends; False where it was taken for left behind."""
    try:
        _lock(file)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, on which nothing is ever removed
        return True
    return os.fstat(file.fileno()).st_nlink > 0


def _lock(file: IO[str]) -> None:
    """Raises BlockingIOError where another process has it; Windows removes no file that is open, and needs none."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def bundled(path: str) -> Path:
    """The folder that ``package:NAME`` names, or the path itself; raises InputError for an unknown NAME."""
    if not path.startswith("package:"):
        return Path(path)
    name = path.removeprefix("package:")
    root = Path(str(resources.files("mdm_tune"))) / "data"
    known = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    if name not in known:
        raise InputError(f"no bundled data called {name!r}; the package ships {', '.join(known)}")
    return root / name
