"""CPU time and wall-clock time by the part of a program that spends them, for functions that are named from outside."""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

REST = "all else"
IMPORTS = "imports"


class PartClock:
    """Adds up the time of parts. A part that runs inside another one does not count as time of the outer one.

    Attributes:
        cpu: CPU seconds of this process by part.
        wall: wall-clock seconds by part.
        calls: how often each part began.
    """

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._open = [REST]
        self._last = time.process_time(), time.perf_counter()

    def enter(self, part: str) -> None:
        """Begin a part."""
        self.update()
        self._open.append(part)
        self.calls[part] = self.calls.get(part, 0) + 1

    def leave(self) -> None:
        """End the part that began last."""
        self.update()
        self._open.pop()

    def update(self) -> None:
        """Add the time since the last call of ``enter``, ``leave`` or ``update`` to the part that runs."""
        (cpu, wall), part = self._last, self._open[-1]
        self._last = time.process_time(), time.perf_counter()
        self.cpu[part] = self.cpu.get(part, 0.0) + self._last[0] - cpu
        self.wall[part] = self.wall.get(part, 0.0) + self._last[1] - wall

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part for the time of a ``with`` block."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function as a part. Of a generator, each step is one."""
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def stepping(*args: Any, **options: Any) -> Iterator[Any]:
                steps = function(*args, **options)
                while True:
                    self.enter(part)
                    try:
                        value = next(steps)
                    except StopIteration:
                        return
                    finally:
                        self.leave()
                    yield value

            return stepping

        @functools.wraps(function)
        def running(*args: Any, **options: Any) -> Any:
            self.enter(part)
            try:
                return function(*args, **options)
            finally:
                self.leave()

        return running

    def time_function(self, target: str, part: str) -> None:
        """Make a part of a function of the package, wherever a module has imported it.

        Args:
            target: ``module:function`` or ``module:Class.method``.
            part: the name of the part.
        """
        module_name, _, path = target.partition(":")
        owner: Any = importlib.import_module(module_name)
        *holders, name = path.split(".")
        for holder in holders:
            owner = getattr(owner, holder)
        found = inspect.getattr_static(owner, name)
        if isinstance(found, property):
            setattr(owner, name, property(self.timed(found.fget, part)))  # type: ignore[arg-type]
        elif isinstance(found, classmethod):
            setattr(owner, name, classmethod(self.timed(found.__func__, part)))
        elif holders:
            setattr(owner, name, self.timed(found, part))
        else:
            timed, package = self.timed(found, part), module_name.partition(".")[0]
            for other_name, module in list(sys.modules.items()):
                if other_name.partition(".")[0] == package and module.__dict__.get(name) is found:
                    setattr(module, name, timed)

    @contextmanager
    def timing_imports(self) -> Iterator[None]:
        """A ``with`` block in which import statements are a part."""
        plain = builtins.__import__
        builtins.__import__ = self.timed(plain, IMPORTS)
        try:
            yield
        finally:
            builtins.__import__ = plain
