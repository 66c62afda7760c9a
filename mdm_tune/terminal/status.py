"""The last line of a terminal while a command runs: the time so far, what is done now, and what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console

from mdm_tune.core.redaction import one_line, redacted
from mdm_tune.terminal.layout import fitted

__all__ = ["Status"]

TICK = 1.0  # seconds between two times that are shown; also before the first
ERASE = "\r\x1b[2K"


class Status:
    """A line that is rewritten in place. Other output goes above it.

    A thread of its own shows the time, also while the command waits for a model. Only terminals that can erase a line
    have it.

    Args:
        console: The console of stderr.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.parts: Callable[[float], Sequence[str]] = lambda age: ()
        self.began = self.told = time.monotonic()
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def active(self) -> bool:
        """Whether the line is shown."""
        return self._thread is not None and not self._ended.is_set()

    def begin(self) -> None:
        """Show the line from now on, if the terminal can."""
        console = self.console
        able = console.is_terminal and not (console.is_dumb_terminal or console.legacy_windows or console.quiet)
        if able and self._thread is None:
            self._thread = threading.Thread(target=self._tick, name="mdm-tune status", daemon=True)
            self._thread.start()

    def update(self, *parts: str) -> None:
        """Show these parts. Where they do not fit, the last ones are left out."""
        self.follow(lambda age: parts)

    def follow(self, parts: Callable[[float], Sequence[str]]) -> None:
        """Show parts that change with time: ``parts`` gets the seconds since this call."""
        self.parts, self.told = parts, time.monotonic()
        if self.active and self.told - self.began >= TICK:
            self._draw()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Make room for other output."""
        with self._lock:
            if self.active:
                self._write(ERASE)
            yield
            if self.active and time.monotonic() - self.began >= TICK:
                self._draw()

    def end(self) -> None:
        """Erase the line for good."""
        with self._lock:
            if self.active:
                self._write(ERASE)
            self._ended.set()

    def _tick(self) -> None:
        while not self._ended.wait(TICK):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            if self.active:
                moment = time.monotonic()
                parts = [one_line(redacted(part)) for part in self.parts(moment - self.told) if part]
                minutes, seconds = divmod(int(moment - self.began), 60)
                hours, minutes = divmod(minutes, 60)
                clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
                self._write(ERASE + fitted((clock, *parts), self.console.width - 1))

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self.console.file.write(text)
            self.console.file.flush()
