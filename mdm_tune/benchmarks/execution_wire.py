"""How tests speak with the program that they test: two processes, two pipes, and values that are plain data only.

The side with the tests asks; the side with the program answers. What crosses is None, bool, int, float, complex, str,
bytes, list, tuple, set, frozenset, dict and a few of the standard library's, made anew from their contents, so that no
method of the program's own comes with them: a subclass arrives as what it is built on. Any other object stays where it
is, and the tests hold a ``Remote`` in its place, which is equal to itself and to nothing else.
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

LARGEST = 16 << 20  # bytes of one message
DEEPEST = 150  # values inside each other
MOST = 1_000_000  # values in one message
DETAIL = 300  # characters
SHORT = 64  # bits of a whole number that is written in decimal digits

Coded = Any  # what JSON holds
SEQUENCES: dict[str, type] = {"l": list, "t": tuple, "s": set, "f": frozenset, "q": deque}
TEXTS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "i": (int, hex, lambda text: int(text, 16)),
    "b": (bytes, bytes.hex, bytes.fromhex),
    "a": (bytearray, bytearray.hex, bytearray.fromhex),
}
PARTS: dict[str, tuple[type, Callable[[Any], tuple[Any, ...]], Callable[..., Any]]] = {
    "c": (complex, lambda each: (each.real, each.imag), complex),
    "r": (range, lambda each: (each.start, each.stop, each.step), range),
}
# Of modules that few programs import: module, class, the parts of an object, and what makes it of them again.
RARE: dict[str, tuple[str, str, Callable[[Any], tuple[Any, ...]], str]] = {
    "D": ("decimal", "Decimal", lambda each: (str(each),), ""),
    "F": ("fractions", "Fraction", lambda each: (each.numerator, each.denominator), ""),
    "time": ("datetime", "time", lambda each: (each.isoformat(),), "fromisoformat"),
    "moment": ("datetime", "datetime", lambda each: (each.isoformat(),), "fromisoformat"),
    "day": ("datetime", "date", lambda each: (each.isoformat(),), "fromisoformat"),
    "span": ("datetime", "timedelta", lambda each: (each.days, each.seconds, each.microseconds), ""),
}
VIEWS: dict[str, tuple[type, Callable[[list[Any]], Any]]] = {
    "k": (type({}.keys()), lambda parts: dict.fromkeys(parts).keys()),
    "v": (type({}.values()), lambda parts: dict(enumerate(parts)).values()),
    "e": (type({}.items()), lambda parts: dict(parts).items()),
}
TYPES = {name for name, each in vars(builtins).items() if type(each) is type and not issubclass(each, BaseException)}
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
    """A value that cannot cross."""


class Lost(BaseException):
    """The other side has ended, or what it says is no message; not for a test's own ``except Exception``."""


class Ended(BaseException):
    """The program asked to end, as by SystemExit, while it was called."""


class CallFailed(Exception):
    """An exception of the program's own class, by its name."""


class Coder:
    """Between values and what JSON holds.

    other: what becomes of an object that is no plain data; held: the object of a number that the other side gave.
    answers: whether this side answers, so that it may be given Python's own functions but gives none.
    """

    def __init__(self, other: Callable[[Any], Coded], held: Callable[[int], Any], answers: bool) -> None:
        self.other, self.held, self.answers, self.left = other, held, answers, MOST

    def message(self, *values: Any) -> list[Coded]:
        """Several values as one message."""
        self.left = MOST
        return [self.encoded(value) for value in values]

    def encoded(self, value: Any, depth: int = 0) -> Coded:
        """Raises Unsendable for what is too large or too deep."""
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
                return [tag, *(self.encoded(each, depth + 1) for each in sequence.__iter__(value))]
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
                return [tag, *(self.encoded(each, depth + 1) for each in value)]
        for base in BASES:
            if isinstance(value, base):
                return self.encoded(_based(base, value), depth)
        if kind is type or kind is types.BuiltinFunctionType:
            name = value.__name__
            if getattr(builtins, name, None) is value and (name in TYPES or not self.answers):
                return ["y", name]
        return self.other(value)

    def decoded(self, coded: Coded) -> Any:
        """Raises Lost for what this class does not write."""
        if coded is None or type(coded) in (bool, int, float, str):
            return coded
        try:
            tag, *rest = coded
            if tag in SEQUENCES:
                return SEQUENCES[tag](map(self.decoded, rest))
            if tag in ("d", "o"):
                parts = [self.decoded(each) for each in rest]
                pairs = zip(parts[::2], parts[1::2], strict=True)
                return dict(pairs) if tag == "d" else OrderedDict(pairs)
            if tag in TEXTS:
                return TEXTS[tag][2](str(rest[0]))
            if tag in PARTS:
                return PARTS[tag][2](*map(self.decoded, rest))
            if tag in RARE:
                module, name, _, way = RARE[tag]
                class_ = getattr(importlib.import_module(module), name)
                return (getattr(class_, way) if way else class_)(*map(self.decoded, rest))
            if tag in VIEWS:
                return VIEWS[tag][1]([self.decoded(each) for each in rest])
            if tag == "y" and (self.answers or rest[0] in TYPES):
                return getattr(builtins, str(rest[0]))
            if tag == "h":
                return self.held(int(rest[0]))
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            raise Lost(f"it answered with what is no value: {type(error).__name__}") from None
        raise Lost("it answered with what is no value")


def _based(base: type, value: Any) -> Any:
    """The plain value inside an object of a subclass, by the methods of the class itself."""
    if base in (list, tuple, set, frozenset, deque):
        return base(base.__iter__(value))
    if base in (dict, OrderedDict):
        return base(base.items(value))
    if base is complex:
        return complex(base.real.__get__(value), base.imag.__get__(value))
    ways = {int: "__int__", float: "__float__", str: "__str__", bytes: "__getitem__", bytearray: "__getitem__"}
    way = getattr(base, ways[base])
    return way(value, slice(None)) if base in (bytes, bytearray) else way(value)


class Pipe:
    """Messages with their length before them, in one direction each."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing

    def send(self, message: Coded) -> None:
        """Raises Unsendable for a message that is too large, Lost where nobody reads."""
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
        """Raises Lost at the end, and for what is no message."""
        length = int.from_bytes(exactly(self.reading, 4), "big")
        if length > LARGEST:
            raise Lost("its answer is too large")
        try:
            return json.loads(exactly(self.reading, length))
        except (ValueError, RecursionError):
            raise Lost("it answered with what is no message") from None


def exactly(number: int, size: int) -> bytes:
    """That many bytes of an open file; raises Lost where it has fewer."""
    parts = []
    while size:
        part = os.read(number, min(size, 1 << 20))
        if not part:
            raise Lost("it has ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def error_line(error: BaseException) -> str:
    """The error in one line, whatever its own methods do."""
    try:
        return f"{type(error).__name__}: {error}"[:DETAIL]
    except BaseException:
        return type(error).__name__[:DETAIL]


def chain(error: BaseException) -> Iterable[BaseException]:
    """The error and what led to it: libraries wrap what they meet, as urllib does."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen and len(seen) < 20:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return seen


def refusal(error: BaseException) -> str:
    """What the kernel refused, where that led to this error, else ""."""
    for each in chain(error):
        read_only = isinstance(each, OSError) and each.errno == errno.EROFS
        if (
            read_only
            or isinstance(each, PermissionError)
            or type(each).__name__ == "gaierror"
            or hasattr(each, "refused")
        ):
            return str(getattr(each, "refused", error_line(each)))
    return ""
