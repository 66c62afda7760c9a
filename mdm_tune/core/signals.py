"""Ctrl-C and SIGTERM end a command with 130 from its first instruction on, and never as a traceback.

While the tool starts there is nothing to keep, and an exception may get lost in the import of a library: one in C
turns it into ImportError. So ``__main__`` ends the process at once. Once a command works, KeyboardInterrupt is raised,
so that replicas end and the command says how to go on; inside an import, and where another process is just being made,
it is raised when that is over.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["INTERRUPTED", "handlers_restored", "interrupted", "raise_on_signals"]

INTERRUPTED = 130  # what shells report for a command that Ctrl-C ended
AGAIN = 0.05  # seconds until what loses exceptions is looked at again
IMPORTING = "<frozen importlib._bootstrap>"
FORKING = {"_acquireLock", "_releaseLock"}  # of logging; Python calls them around a fork and drops what they raise
NUMBERS = (signal.SIGINT, signal.SIGTERM)


class _Received:
    """Signals since ``handlers_restored``. waits: for the end of what loses them. looks: the next one asks for that."""

    any = waits = looks = False


def raise_on_signals() -> None:
    """From here on a signal raises KeyboardInterrupt."""
    for number in NUMBERS:
        if not (number == signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN):  # as a shell starts it with &
            _set(number, _raise)


@contextmanager
def handlers_restored() -> Iterator[None]:
    """What signals do after the block is what they did before it."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    _Received.any = _Received.waits = _Received.looks = False
    try:
        yield
    finally:
        for number, handler in before.items():
            _set(number, handler)


def interrupted() -> bool:
    """Whether a signal came in the block of ``handlers_restored``, whatever became of its exception."""
    return _Received.any


def _set(number: signal.Signals, handler: Any) -> None:
    with suppress(ValueError):  # only the main thread may
        signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    second = _Received.waits and not _Received.looks
    _Received.any, _Received.looks = True, False
    _Received.waits = _lost(frame) and not second
    if not _Received.waits:
        raise KeyboardInterrupt
    timer = threading.Timer(AGAIN, _look, (signal.Signals(number),))
    timer.daemon = True
    timer.start()


def _look(number: signal.Signals) -> None:
    if _Received.waits:
        _Received.looks = True
        if hasattr(signal, "pthread_kill") and (main := threading.main_thread().ident) is not None:
            signal.pthread_kill(main, number)  # which ends its sleep too
        else:
            _thread.interrupt_main(number)


def _lost(frame: FrameType | None) -> bool:
    """Whether an exception may get lost in this frame."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename == IMPORTING or (code.co_name in FORKING and frame.f_globals.get("__name__") == "logging"):
            return True
        frame = frame.f_back
    return False
