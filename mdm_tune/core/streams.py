"""The standard output of a command: only results go there; all other output goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

__all__ = ["discard_stdout", "redirect_rest_to_stderr", "results_stream", "stdout_for_results"]

_stdout: list[TextIO] = []  # the real standard output, while ``sys.stdout`` is stderr


@contextmanager
def stdout_for_results() -> Iterator[None]:
    """Reserve the standard output for ``results_stream`` in this context; foreign output goes to stderr.

    It redirects ``sys.stdout`` and the file descriptor 1, so that it holds for native code and child processes too.
    """
    if _stdout or sys.stdout is None:  # a nested command, or the shell has closed the standard output
        yield
        return
    before, descriptor = sys.stdout, _descriptor_of(sys.stdout)
    with suppress(OSError, ValueError):
        before.flush()
    try:
        saved = os.dup(1)
    except OSError:  # descriptor 1 is closed
        saved = None
    own = None
    try:
        if saved is not None:
            _redirect_to_stderr()
        if saved is not None and descriptor == 1:
            own = open(os.dup(saved), "w", encoding=before.encoding, errors=before.errors)  # noqa: SIM115, PTH123
        _stdout.append(own or before)
        sys.stdout = sys.stderr
        yield
    finally:
        for stream in (own, before):  # foreign code may have written to the old stream; its buffer goes to stderr
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.flush()
        sys.stdout = before
        _stdout.clear()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)
        if own is not None:
            with suppress(OSError):
                own.close()


def results_stream() -> TextIO | None:
    """The stream for results; None if the shell has closed the standard output."""
    return _stdout[0] if _stdout else sys.stdout


def discard_stdout() -> None:
    """Discard further output, so that the interpreter does not fail again when it flushes a closed or full stream."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (results_stream(), sys.__stdout__):
        with suppress(OSError, ValueError):
            if stream is not None:
                os.dup2(null, stream.fileno())
    os.close(null)


def redirect_rest_to_stderr() -> None:
    """Redirect the standard output to stderr until the process ends, for output that libraries print at exit."""
    with suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
            _redirect_to_stderr()


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # the stream is no file, as in tests
        return None


def _redirect_to_stderr() -> None:
    """Redirect the file descriptor 1 to stderr, or to the null device if stderr is closed."""
    try:
        os.dup2(2, 1)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
