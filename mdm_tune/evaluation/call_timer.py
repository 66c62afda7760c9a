"""The time per denoiser call, from the latest calls of this process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["CallTimer"]

LATEST = 8  # most recent calls of ``CallTimer.add``, from which the present speed is estimated


class CallTimer:
    """Measures the time per denoiser call, including the scoring of its results, by the clock ``now`` in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._calls, self._seconds = 0.0, 0.0
        self._latest: deque[tuple[float, float]] = deque(maxlen=LATEST)

    def add(self, calls: float, seconds: float) -> None:
        """Add a piece of work: its denoiser calls, summed over examples, and its wall-clock seconds."""
        self._latest.append((calls, seconds))
        self._calls, self._seconds = self._calls + calls, self._seconds + seconds

    @property
    def per_call(self) -> float:
        """Seconds per call: the recent average or the overall average, whichever is larger; 0 before the first call."""
        if not self._calls:
            return 0.0
        calls = sum(calls for calls, _ in self._latest)
        seconds = sum(seconds for _, seconds in self._latest)
        return max(seconds / calls, self._seconds / self._calls)
