"""Records: frozen dataclasses that convert to JSON objects and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from mdm_tune.core.messages import shown

__all__ = ["Beside", "JsonRecord", "as_json"]

Held = TypeVar("Held")
BESIDE = "beside"
Beside = Annotated[Held, BESIDE]  # the keys of this record are added to the object itself, not nested below a key

PLAIN: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}


@dataclass(frozen=True)
class JsonRecord:
    """The base of all records. The names of the fields are the keys of the JSON object, in the same order.

    A field holds numbers, texts, enums, records, and tuples and dictionaries of these. A field of type ``Beside[R]``
    adds the keys of its record to the object itself; it adds none if it is None. JSON has no infinity, so infinity and
    NaN are written as null. For a field of type ``float``, null is read as infinity.
    """

    def to_json(self) -> dict[str, Any]:
        """The record as an object for ``json.dumps``."""
        keys: dict[str, Any] = {}
        for name, (_, is_beside) in _layout(type(self)).items():
            value = as_json(getattr(self, name))
            if not is_beside:
                keys[name] = value
            elif value is not None:
                keys |= value
        return keys

    @classmethod
    def from_json(cls, value: object) -> Self:
        """The record of a JSON object that ``to_json`` made.

        Args:
            value: the object; keys without a field are ignored. A field with a default takes it where its key is
                missing, so that records of earlier versions can be read.

        Raises:
            ValueError: a key is missing, or its value is of another type.
        """
        if not isinstance(value, dict):
            raise ValueError(f"{cls.__name__} must be an object, got {shown(value)}")
        arguments: dict[str, Any] = {}
        for name, (hint, is_beside) in _layout(cls).items():
            if is_beside:
                arguments[name] = _record_beside(hint, value)
            elif name in value:
                arguments[name] = _read(hint, value[name], name)
            elif name not in _optional(cls):
                raise ValueError(f"{cls.__name__} lacks {name}")
        return cls(**arguments)


def as_json(value: Any) -> Any:
    """The value of a field as a JSON value.

    Args:
        value: a number, a text, an enum, None, anything with a ``to_json``, or tuples, lists and dictionaries of these.

    Returns:
        A value for ``json.dumps``, with None for infinity and NaN, lists for tuples, and the values of enums.
    """
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: as_json(inner) for key, inner in value.items()}
    return [as_json(inner) for inner in value] if isinstance(value, tuple | list) else value


def _fields_of(cls: Any) -> dict[str, tuple[Any, bool]]:
    """The fields of a record by name: their types, and whether they are of type ``Beside``."""
    hints = get_type_hints(cls, include_extras=True)
    layout: dict[str, tuple[Any, bool]] = {}
    for field in fields(cls):
        hint = hints[field.name]
        is_beside = get_origin(hint) is Annotated and BESIDE in hint.__metadata__
        layout[field.name] = (get_args(hint)[0] if is_beside else hint, is_beside)
    return layout


def _defaults_of(cls: Any) -> frozenset[str]:
    """The fields of a record that have a default."""
    return frozenset(
        field.name for field in fields(cls) if field.default is not MISSING or field.default_factory is not MISSING
    )


_optional: Callable[[Any], frozenset[str]] = cache(_defaults_of)
_layout: Callable[[Any], dict[str, tuple[Any, bool]]] = cache(_fields_of)  # computed once per class


def _record_beside(hint: Any, value: dict[str, Any]) -> Any:
    """The record of a ``Beside`` field; None if the field may be None and the object has none of its keys."""
    options = [option for option in _options(hint) if option is not NoneType]
    optional = len(options) < len(_options(hint))
    if optional and not any(name in value for name in _layout(options[0])):
        return None
    return options[0].from_json(value)


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union; for any other type, the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _read(hint: Any, value: Any, name: str) -> Any:
    """A value converted from JSON to the type of a field; raises ValueError if it has another type."""
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
    origin, parameters = get_origin(hint), get_args(hint)
    if hint is float and value is None:
        return math.inf
    if hasattr(hint, "from_json"):
        return hint.from_json(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if origin is Literal and value in parameters:
        return value
    if origin is tuple and isinstance(value, list):
        hints = [parameters[0]] * len(value) if parameters[1:] == (...,) else parameters
        return tuple(_read(hint, inner, name) for hint, inner in zip(hints, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _read(parameters[1], inner, name) for key, inner in value.items()}
    if hint is Any or (isinstance(value, PLAIN.get(hint, ())) and isinstance(value, bool) == (hint is bool)):
        return value
    raise ValueError(f"{name} must be {hint}, got {shown(value)}")
