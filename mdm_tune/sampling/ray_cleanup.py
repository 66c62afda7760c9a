"""A program that waits for its parent to end, then ends the Ray that the parent had started. It imports little.

    python ray_cleanup.py FOLDER PARENT

Its standard input ends when the parent ends in any way, or earlier, when Ray is no longer needed. The program then
kills every process that uses the folder, except PARENT, and removes the folder. All processes of Ray write logs to the
folder, or have its name as an argument. Without /proc, as on macOS, only Ray's own shutdown remains.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

__all__ = ["end"]

PATIENCE = 10.0  # seconds for killed processes to end


def end(folder: Path, spared: Collection[int] = ()) -> None:
    """Kill the processes that use the folder, and remove it, repeatedly until both are gone.

    spared: processes that are not killed.
    """
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        users = _users(folder) - {os.getpid(), *spared}
        for process in users:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if not users:
            shutil.rmtree(folder, ignore_errors=True)  # a process that was just starting may write there again
            if not folder.exists():
                return
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _users(folder: Path) -> set[int]:
    """The processes of this user that have a file of the folder open, or its name as an argument."""
    return {int(process.name) for process in Path("/proc").glob("[0-9]*") if _uses(process, folder)}


def _uses(process: Path, folder: Path) -> bool:
    """Whether a process uses the folder; process: its own folder in /proc."""
    with suppress(OSError):  # it has ended, or belongs to another user
        for file in (process / "fd").iterdir():
            with suppress(OSError):
                if os.readlink(file).startswith(f"{folder}/"):  # noqa: PTH115  # the text may be no path
                    return True
        return os.fsencode(f"{folder}/") in (process / "cmdline").read_bytes()
    return False


def _main(folder: Path, parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent handles them, and needs time for it
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == parent:  # a fork of the parent may hold the input open
        if select.select([0], [], [], 1.0)[0]:
            break
    end(folder, {parent} if os.getppid() == parent else ())


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
