"""A program that waits for its parent to end, then ends the Ray that this had started; it imports little.

    python ray_cleanup.py FOLDER PARENT

Its standard input ends with the parent, however that ends, or before, once Ray is no longer needed. Then every process
that uses the folder is killed, except PARENT, and the folder is removed. All of Ray's processes write their logs there,
and those that have not begun to are given its name as an argument. Where there is no /proc, as on macOS, Ray's own ways
of ending have to do.
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

PATIENCE = 10.0  # seconds for killed processes to go


def end(folder: Path, spared: Collection[int] = ()) -> None:
    """Kill the processes that use the folder and remove it, until neither is there."""
    last = time.monotonic() + PATIENCE
    while time.monotonic() < last:
        found = _users(folder) - {os.getpid(), *spared}
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if not found:
            shutil.rmtree(folder, ignore_errors=True)  # one that was just being started may write there once more
            if not folder.exists():
                return
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _users(folder: Path) -> set[int]:
    """The processes of this user that have a file of the folder open, or were started with its name."""
    return {int(process.name) for process in Path("/proc").glob("[0-9]*") if _uses(process, folder)}


def _uses(process: Path, folder: Path) -> bool:
    """process: its folder in /proc."""
    with suppress(OSError):  # it has ended, or is another user's
        for file in (process / "fd").iterdir():
            with suppress(OSError):
                if os.readlink(file).startswith(f"{folder}/"):  # noqa: PTH115  # of text that may name no path
                    return True
        return os.fsencode(f"{folder}/") in (process / "cmdline").read_bytes()
    return False


def _main(folder: Path, parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # for the parent, which has more to do
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == parent:  # a fork of the parent may hold the other end of the standard input
        if select.select([0], [], [], 1.0)[0]:
            break
    end(folder, {parent} if os.getppid() == parent else ())


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
