"""Ctrl-C and SIGTERM end a command with exit code 130 at any time, without a traceback.

While the tool starts, ``__main__`` ends the process at once: no work can be lost yet, and an import may swallow an
exception (C libraries turn it into ImportError). Once a command runs, KeyboardInterrupt is raised, so that replicas end
and the command can say how to resume. During an import or a fork, the exception is raised afterwards.
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
RETRY = 0.05  # seconds until the frame is checked again for code that drops exceptions
IMPORTING = "<frozen importlib._bootstrap>"
FORKING = {"_acquireLock", "_releaseLock"}  # of logging; Python calls them around a fork and drops their exceptions
NUMBERS = (signal.SIGINT, signal.SIGTERM)


class _Received:
    """The state of signals since the beginning of ``handlers_restored``.

    Attributes:
        any: whether a signal came.
        waiting: whether an exception is still to be raised, because the running code would drop it.
        retrying: whether the next signal is sent by ``_retry`` instead of the user.
    """

    any = waiting = retrying = False


def raise_on_signals() -> None:
    """Make Ctrl-C and SIGTERM raise KeyboardInterrupt from now on."""
    for number in NUMBERS:
        # A shell starts a background process (with &) so that it ignores Ctrl-C.
        if not (number == signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN):
            _set_handler(number, _raise_interrupt)


@contextmanager
def handlers_restored() -> Iterator[None]:
    """Restore the handlers of signals at the end of this context."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    _Received.any = _Received.waiting = _Received.retrying = False
    try:
        yield
    finally:
        for number, handler in before.items():
            _set_handler(number, handler)


def interrupted() -> bool:
    """Whether a signal came in the context of ``handlers_restored``, even if its exception was dropped."""
    return _Received.any


def _set_handler(number: signal.Signals, handler: Any) -> None:
    with suppress(ValueError):  # only the main thread can set handlers
        signal.signal(number, handler)


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    second = _Received.waiting and not _Received.retrying
    _Received.any, _Received.retrying = True, False
    _Received.waiting = _drops_exceptions(frame) and not second  # a second signal of the user is raised anyway
    if not _Received.waiting:
        raise KeyboardInterrupt
    timer = threading.Timer(RETRY, _retry, (signal.Signals(number),))
    timer.daemon = True
    timer.start()


def _retry(number: signal.Signals) -> None:
    """Send the signal again, which calls ``_raise_interrupt`` in the main thread."""
    if _Received.waiting:
        _Received.retrying = True
        if hasattr(signal, "pthread_kill") and (main := threading.main_thread().ident) is not None:
            signal.pthread_kill(main, number)  # this also ends a sleep of the main thread
        else:
            _thread.interrupt_main(number)


def _drops_exceptions(frame: FrameType | None) -> bool:
    """Whether the running code would drop an exception."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename == IMPORTING or (code.co_name in FORKING and frame.f_globals.get("__name__") == "logging"):
            return True
        frame = frame.f_back
    return False
