"""The command line of mdm-tune, which also writes down every piece of rows that it deals; for scripts/chaos.py.

    python scripts/chaos_driver.py TRACE search CONFIG --devices ray --ray-address HOST:PORT

TRACE gets one JSON line for each piece when it is given to a replica (or filled here), and for each death of a replica.
Before the pieces that stand in TRACE's neighbour with the suffix .stops are given, the process waits until they stand
in the one with the suffix .go as well.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mdm_tune.core.digests import short_digest
from mdm_tune.evaluation.evaluator import Evaluator
from mdm_tune.sampling import replicas
from mdm_tune.sampling.pieces import LocalPool, Task


class Trace:
    """The file. Lines are written whole, so that a process that is killed leaves none half."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stops = self._keys(".stops")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(self, what: str, **more: Any) -> None:
        os.write(self._file, json.dumps({"what": what, **more}).encode() + b"\n")

    def stop(self, key: str, **more: Any) -> None:
        """Wait where one should."""
        if key not in self._stops or key in self._keys(".go"):
            return
        self.tell("stopped", key=key, **more)
        parent = os.getppid()
        while key not in self._keys(".go"):
            time.sleep(0.01)
            if os.getppid() != parent:
                sys.exit("nobody is left to say go")

    def _keys(self, suffix: str) -> set[str]:
        path = self._path.with_suffix(suffix)
        return {*path.read_text("utf-8").split()} if path.exists() else set()


def key(task: Task) -> str:
    """What a piece is of: the same for the same rows of the same search, in whichever process."""
    return short_digest(*_parts(task))


def phase(task: Task) -> str:
    """What the rows of a piece are for."""
    given: dict[str, Any] = {}
    while isinstance(task, partial):
        given, task = {**task.keywords, **given}, task.func
    if "seeds" not in given:
        return "profile"
    frame, found = sys._getframe(1), "trials"
    while frame is not None:
        if frame.f_code.co_name == "pilot":
            found = "pilot"
        own = frame.f_locals.get("self")
        if isinstance(own, Evaluator) and own.dataset is not None:
            use = next(use for use, split in own.dataset.splits.items() if given["seeds"][0] in split.seeds)
            found = found if use == "tune" else use
        frame = frame.f_back  # type: ignore[assignment]
    return found


def watch(trace: Trace) -> None:
    """Have this process write down its pieces."""
    give, die, deal = replicas._Replica.send, replicas._Replica._handle_death, LocalPool.results

    def given(self: Any, dealing: Any, place: int) -> None:
        name = key(dealing.tasks[place])
        trace.stop(name, actor=self.actor._actor_id.hex())
        trace.tell("given", key=name, replica=self.name)
        give(self, dealing, place)

    def died(self: Any, ref: Any, error: Exception) -> None:
        keys = [key(dealing.tasks[place]) for dealing, place in self.sent.values() if not dealing.closed]
        trace.tell("died", replica=self.name, keys=keys)
        die(self, ref, error)

    def dealt(self: LocalPool, tasks: Iterable[Task]) -> Iterator[Any]:
        for task in tasks:
            (answer,) = deal(self, [task])
            rows = answer.denoiser_rows if hasattr(answer, "denoiser_rows") else answer[4]
            trace.tell("filled", key=key(task), phase=phase(task), rows=rows)
            yield answer

    replicas._Replica.send, replicas._Replica._handle_death = given, died  # type: ignore[assignment, method-assign]
    LocalPool.results = dealt  # type: ignore[method-assign]


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, partial):
        yield value.func.__qualname__.encode()
        for name, each in sorted(value.keywords.items()):
            yield name.encode()
            yield from _parts(each)
        for each in value.args:
            yield from _parts(each)
    elif isinstance(value, Mapping):
        for name, each in sorted(value.items()):
            yield name.encode()
            yield from _parts(each)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    else:
        yield repr(value).encode()


if __name__ == "__main__":
    watch(Trace(Path(sys.argv.pop(1))))
    from mdm_tune.cli import main

    main()
