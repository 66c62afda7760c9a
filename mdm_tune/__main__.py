"""The entry point of ``mdm-tune`` and of ``python -m mdm_tune``: signals are heard before anything else is loaded."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the module signal takes milliseconds more to load
import os
import sys

__all__ = ["main"]


def _leave(number: int, frame: object) -> None:
    """End at once: nothing has begun, and an exception could get lost in an import. See ``signals``."""
    try:
        os.write(2, b"\ninterrupted\n")
    finally:
        os._exit(130)


if "multiprocessing.spawn" not in sys.modules:  # replicas load this module too, and hear their parent only
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as a shell starts it with &
        signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)


def main() -> None:
    """Run the command line."""
    for number in (0, 1, 2):  # a file that got the number of a closed stderr would be written into by mistake
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    from mdm_tune.cli import main as run

    run()


if __name__ == "__main__":
    main()
