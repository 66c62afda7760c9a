"""The standard output of a command: the result alone goes there; whatever else is printed goes to the error stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

__all__ = ["discard_stdout", "redirect_rest_to_stderr", "results_stream", "stdout_for_results"]

_real: list[TextIO] = []  # the standard output of the running command, while others write to the error stream


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """Keep the standard output for ``results_stream``: what code of others prints, native code too, goes to stderr.

    Python's ``sys.stdout`` and the file descriptor 1 both lead there until the end, in processes that are started
    meanwhile too.
    """
    if _real or sys.stdout is None:  # inside another command, or the shell has closed it
        yield
        return
    before, descriptor = sys.stdout, _descriptor(sys.stdout)
    with suppress(OSError, ValueError):
        before.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output to keep
        kept = None
    own = None
    try:
        if kept is not None:
            _lead_to_stderr()
        if kept is not None and descriptor == 1:
            own = open(os.dup(kept), "w", encoding=before.encoding, errors=before.errors)  # noqa: SIM115, PTH123
        _real.append(own or before)
        sys.stdout = sys.stderr
        yield
    finally:
        for stream in (own, before):  # what a kept reference to the old one still holds back goes to stderr
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.flush()
        sys.stdout = before
        _real.clear()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
        if own is not None:
            with suppress(OSError):
                own.close()


def results_stream() -> TextIO | None:
    """Where results are written; None where the shell has closed it."""
    return _real[0] if _real else sys.stdout


def discard_stdout() -> None:
    """Keep the interpreter from failing again when it flushes a standard output that is closed or full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in {id(each): each for each in (results_stream(), sys.__stdout__) if each is not None}.values():
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def redirect_rest_to_stderr() -> None:
    """Lead the standard output to stderr for the rest of this process, such as for what is printed as it ends."""
    with suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
            _lead_to_stderr()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # a stream that is no file, as in tests
        return None


def _lead_to_stderr() -> None:
    """What is written to the file descriptor 1 goes to stderr, or nowhere where that is closed."""
    try:
        os.dup2(2, 1)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
