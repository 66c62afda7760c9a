"""Records: frozen dataclasses that are written as JSON objects and, where a file is read back, made from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from mdm_tune.core.messages import shown

__all__ = ["Beside", "JsonRecord", "as_json"]

Held = TypeVar("Held")
BESIDE = "beside"
Beside = Annotated[Held, BESIDE]  # a field whose record has its keys beside those of the other fields, not below one

PLAIN: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}


@dataclass(frozen=True)
class JsonRecord:
    """The base of all records: the names of the fields are the keys of the JSON object, in their order.

    A field holds numbers, texts, enums, records, and tuples and dictionaries of these. A field of type ``Beside[R]``
    adds the keys of its record to the object itself, or none where it is None. JSON has no infinity, so a number that
    is not finite is written as null; where a field is a ``float`` and never None, null is read as infinity.
    """

    def to_json(self) -> dict[str, Any]:
        """The record as an object that ``json.dumps`` takes."""
        found: dict[str, Any] = {}
        for name, (_, spread) in _layout(type(self)).items():
            value = as_json(getattr(self, name))
            if not spread:
                found[name] = value
            elif value is not None:
                found |= value
        return found

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The record that ``to_json`` wrote so.

        Args:
            value: what ``json.loads`` made of it; keys that no field has are ignored.

        Raises:
            ValueError: a key is missing, or its value is of another type.
        """
        if not isinstance(value, dict):
            raise ValueError(f"{cls.__name__} must be an object, got {shown(value)}")
        found: dict[str, Any] = {}
        for name, (hint, spread) in _layout(cls).items():
            if spread:
                found[name] = _beside(hint, value)
            elif name in value:
                found[name] = _read(hint, value[name], name)
            else:
                raise ValueError(f"{cls.__name__} lacks {name}")
        return cls(**found)


def as_json(value: Any) -> Any:
    """A value of a field as JSON has it.

    Args:
        value: a number, a text, an enum, None, anything with a ``to_json``, or tuples, lists and dictionaries of these.

    Returns:
        What ``json.dumps`` takes: None for a number that is not finite, lists for tuples, the values of enums.
    """
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: as_json(each) for key, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, tuple | list) else value


def _fields_of(cls: Any) -> dict[str, tuple[Any, bool]]:
    """The fields of a record by name: the type of each, and whether its keys stand beside the others."""
    hints = get_type_hints(cls, include_extras=True)
    found: dict[str, tuple[Any, bool]] = {}
    for each in fields(cls):
        hint = hints[each.name]
        spread = get_origin(hint) is Annotated and BESIDE in hint.__metadata__
        found[each.name] = (get_args(hint)[0] if spread else hint, spread)
    return found


_layout: Callable[[Any], dict[str, tuple[Any, bool]]] = cache(_fields_of)  # once for each class


def _beside(hint: Any, value: dict[str, Any]) -> Any:
    """The record whose keys stand beside others; None where it may be None and none of its keys is there."""
    options = [each for each in _options(hint) if each is not NoneType]
    optional = len(options) < len(_options(hint))
    if optional and not any(name in value for name in _layout(options[0])):
        return None
    return options[0].from_json(value)


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union; the type itself where it is none."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _read(hint: Any, value: Any, name: str) -> Any:
    """A value of the type that an annotation says; raises ValueError where it is none."""
    options = _options(hint)
    if value is None and NoneType in options:
        return None
    for option in options:
        try:
            return _read_one(option, value, name)
        except (TypeError, ValueError):
            if option is options[-1]:
                raise
    raise AssertionError(name)


def _read_one(hint: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is float and value is None:
        return math.inf
    if hasattr(hint, "from_json"):
        return hint.from_json(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        hints = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return tuple(_read(each, part, name) for each, part in zip(hints, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _read(inner[1], each, name) for key, each in value.items()}
    if hint is Any or (isinstance(value, PLAIN.get(hint, ())) and isinstance(value, bool) == (hint is bool)):
        return value
    raise ValueError(f"{name} must be {hint}, got {shown(value)}")
