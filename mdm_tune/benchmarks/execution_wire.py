"""Messages between the tests and the tested program, which are two processes with two pipes.

The tests send requests, the program sends answers. Values of these types cross the pipes: None, bool, int, float,
complex, str, bytes, list, tuple, set, frozenset, dict and a few of the standard library. They are built again from
their contents, so that no method of the program comes with them: an instance of a subclass arrives as an instance of
its base class. Any other object stays in the program's process. The tests get a ``Remote`` for it, which is equal to
itself only.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import json
import os
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

LARGEST = 16 << 20  # most bytes of one message
DEEPEST = 150  # most levels of nested values
MOST = 1_000_000  # most values in one message
DETAIL = 300  # most characters of an error's line
SHORT = 64  # most bits of an int that is written as a number of JSON

Coded = Any  # a value of JSON
SEQUENCES: dict[str, type] = {"l": list, "t": tuple, "s": set, "f": frozenset, "q": deque}
TEXTS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "i": (int, hex, lambda text: int(text, 16)),
    "b": (bytes, bytes.hex, bytes.fromhex),
    "a": (bytearray, bytearray.hex, bytearray.fromhex),
}
PARTS: dict[str, tuple[type, Callable[[Any], tuple[Any, ...]], Callable[..., Any]]] = {
    "c": (complex, lambda value: (value.real, value.imag), complex),
    "r": (range, lambda value: (value.start, value.stop, value.step), range),
}
# Types of modules that few programs import: module, class, the parts of an object, and the method that rebuilds it.
RARE: dict[str, tuple[str, str, Callable[[Any], tuple[Any, ...]], str]] = {
    "D": ("decimal", "Decimal", lambda value: (str(value),), ""),
    "F": ("fractions", "Fraction", lambda value: (value.numerator, value.denominator), ""),
    "time": ("datetime", "time", lambda value: (value.isoformat(),), "fromisoformat"),
    "moment": ("datetime", "datetime", lambda value: (value.isoformat(),), "fromisoformat"),
    "day": ("datetime", "date", lambda value: (value.isoformat(),), "fromisoformat"),
    "span": ("datetime", "timedelta", lambda value: (value.days, value.seconds, value.microseconds), ""),
}
VIEWS: dict[str, tuple[type, Callable[[list[Any]], Any]]] = {
    "k": (type({}.keys()), lambda parts: dict.fromkeys(parts).keys()),
    "v": (type({}.values()), lambda parts: dict(enumerate(parts)).values()),
    "e": (type({}.items()), lambda parts: dict(parts).items()),
}
TYPES = {name for name, value in vars(builtins).items() if type(value) is type and not issubclass(value, BaseException)}
BASES = (bool, int, float, str, list, tuple, OrderedDict, dict, set, frozenset, deque, bytes, bytearray, complex)
OPERATIONS: dict[str, Callable[..., Any]] = {
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    "item": lambda owner, key: owner[key],
    "call": lambda owner, arguments, named: owner(*arguments, **named),
    "get": getattr,
    "set": setattr,
}


class Unsendable(TypeError):
    """A value cannot be sent."""


class Lost(BaseException):
    """The other side has ended or sent no valid message. The tests' own ``except Exception`` does not catch it."""


class Ended(BaseException):
    """The program raised SystemExit or a similar exception while it was called."""


class CallFailed(Exception):
    """The program raised an exception of a class that is not Python's."""


class Coder:
    """Encodes values as JSON and decodes them.

    Args:
        other: Encodes an object that is not plain data.
        held: Returns the object for a number that the other side sent.
        answers: True on the program's side: it may receive Python's built-in functions but not send them.
    """

    def __init__(self, other: Callable[[Any], Coded], held: Callable[[int], Any], answers: bool) -> None:
        self.other, self.held, self.answers, self.left = other, held, answers, MOST

    def message(self, *values: Any) -> list[Coded]:
        """Encode several values as one message."""
        self.left = MOST
        return [self.encoded(value) for value in values]

    def encoded(self, value: Any, depth: int = 0) -> Coded:
        """Encode a value at this depth; raise Unsendable if it is too large or too deep."""
        self.left -= 1
        if depth > DEEPEST or self.left < 0:
            raise Unsendable(f"a value of more than {DEEPEST} levels or {MOST} values cannot be passed on")
        kind = type(value)
        if value is None or kind is bool or kind is float or kind is str:
            return value
        if kind is int and value.bit_length() <= SHORT:
            return value
        for tag, sequence in SEQUENCES.items():
            if kind is sequence:
                return [tag, *(self.encoded(part, depth + 1) for part in sequence.__iter__(value))]
        if kind is dict or kind is OrderedDict:
            pairs = kind.items(value)
            return ["d" if kind is dict else "o", *(self.encoded(part, depth + 1) for pair in pairs for part in pair)]
        for tag, (type_, written, _) in TEXTS.items():
            if kind is type_:
                return [tag, written(value)]
        for tag, (type_, parts, _) in PARTS.items():
            if kind is type_:
                return [tag, *(self.encoded(part, depth + 1) for part in parts(value))]
        for tag, (module, name, parts, _) in RARE.items():
            if module in sys.modules and kind is getattr(sys.modules[module], name, None):
                return [tag, *(self.encoded(part, depth + 1) for part in parts(value))]
        for tag, (view, _) in VIEWS.items():
            if kind is view:
                return [tag, *(self.encoded(part, depth + 1) for part in value)]
        for base in BASES:
            if isinstance(value, base):
                return self.encoded(_as_base(base, value), depth)
        if kind is type or kind is types.BuiltinFunctionType:
            name = value.__name__
            if getattr(builtins, name, None) is value and (name in TYPES or not self.answers):
                return ["y", name]
        return self.other(value)

    def decoded(self, coded: Coded) -> Any:
        """Decode a value; raise Lost if ``encoded`` does not write such a value."""
        if coded is None or type(coded) in (bool, int, float, str):
            return coded
        try:
            tag, *rest = coded
            if tag in SEQUENCES:
                return SEQUENCES[tag](map(self.decoded, rest))
            if tag in ("d", "o"):
                parts = [self.decoded(part) for part in rest]
                pairs = zip(parts[::2], parts[1::2], strict=True)
                return dict(pairs) if tag == "d" else OrderedDict(pairs)
            if tag in TEXTS:
                return TEXTS[tag][2](str(rest[0]))
            if tag in PARTS:
                return PARTS[tag][2](*map(self.decoded, rest))
            if tag in RARE:
                module, name, _, method = RARE[tag]
                class_ = getattr(importlib.import_module(module), name)
                return (getattr(class_, method) if method else class_)(*map(self.decoded, rest))
            if tag in VIEWS:
                return VIEWS[tag][1]([self.decoded(part) for part in rest])
            if tag == "y" and (self.answers or rest[0] in TYPES):
                return getattr(builtins, str(rest[0]))
            if tag == "h":
                return self.held(int(rest[0]))
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            raise Lost(f"it answered with what is no value: {type(error).__name__}") from None
        raise Lost("it answered with what is no value")


def _as_base(base: type, value: Any) -> Any:
    """Convert an instance of a subclass to its base class, with the methods of the base class."""
    if base in (list, tuple, set, frozenset, deque):
        return base(base.__iter__(value))
    if base in (dict, OrderedDict):
        return base(base.items(value))
    if base is complex:
        return complex(base.real.__get__(value), base.imag.__get__(value))
    methods = {int: "__int__", float: "__float__", str: "__str__", bytes: "__getitem__", bytearray: "__getitem__"}
    method = getattr(base, methods[base])
    return method(value, slice(None)) if base in (bytes, bytearray) else method(value)


class Pipe:
    """Two pipes, one per direction. Each message follows its length in four bytes.

    Args:
        reading: Number of the open file to read from.
        writing: Number of the open file to write to.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing

    def send(self, message: Coded) -> None:
        """Send a message; raise Unsendable if it is too large, Lost if the other side has ended."""
        text = json.dumps(message).encode()
        if len(text) > LARGEST:
            raise Unsendable(f"a value of more than {LARGEST >> 20} MiB cannot be passed on")
        data = memoryview(len(text).to_bytes(4, "big") + text)
        try:
            while data:
                data = data[os.write(self.writing, data) :]
        except OSError:
            raise Lost("it has ended") from None

    def receive(self) -> Coded:
        """Receive a message; raise Lost if the other side has ended or sent no valid message."""
        length = int.from_bytes(exactly(self.reading, 4), "big")
        if length > LARGEST:
            raise Lost("its answer is too large")
        try:
            return json.loads(exactly(self.reading, length))
        except (ValueError, RecursionError):
            raise Lost("it answered with what is no message") from None


def exactly(number: int, size: int) -> bytes:
    """Read ``size`` bytes of an open file; raise Lost if it has fewer."""
    parts = []
    while size:
        part = os.read(number, min(size, 1 << 20))
        if not part:
            raise Lost("it has ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def error_line(error: BaseException) -> str:
    """Return the error in one line, also if the methods of its class fail."""
    try:
        return f"{type(error).__name__}: {error}"[:DETAIL]
    except BaseException:
        return type(error).__name__[:DETAIL]


def chain(error: BaseException) -> Iterable[BaseException]:
    """Return the error and its causes, at most twenty. Libraries such as urllib wrap errors."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen and len(seen) < 20:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return seen


def refusal(error: BaseException) -> str:
    """Return what the kernel refused if that caused the error, else an empty text."""
    for cause in chain(error):
        read_only = isinstance(cause, OSError) and cause.errno == errno.EROFS
        if (
            read_only
            or isinstance(cause, PermissionError)
            or type(cause).__name__ == "gaierror"
            or hasattr(cause, "refused")
        ):
            return str(getattr(cause, "refused", error_line(cause)))
    return ""
