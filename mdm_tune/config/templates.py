"""Templates that make a text from a record's fields: ``{question}`` is visible text, ``[[answer]]`` is a hole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from itertools import pairwise
from math import isfinite
from string import Formatter
from typing import Any

from mdm_tune.core.errors import InputError
from mdm_tune.core.messages import cut

__all__ = ["Hole", "JsonNumber", "check_template", "field_text", "fields_in", "fill_template", "pieces_of"]

HOLE = re.compile(r"\[\[([^\[\]:]+)(?::([^\[\]]*))?\]\]")


class JsonNumber(float):
    """A number of JSON that keeps its text, because 1.50 and 1e5 are other texts than 1.5 and 100000.0."""

    def __new__(cls, text: str) -> JsonNumber:
        return super().__new__(cls, text)

    def __init__(self, text: str) -> None:
        self.text = str(text)


def check_template(template: str, *, holes: bool) -> None:
    """Check the syntax of a template.

    Args:
        template: the name of a field, or text with fields in braces.
        holes: whether it must have at least one hole, [[field]] or [[field:tokens]].

    Raises:
        InputError: the syntax is invalid.
    """
    if not holes:
        _literals_and_fields(template)
        return
    if not HOLE.search(template):
        raise InputError(
            f"a template needs a hole to fill, got {template[:60]!r}; write the field that belongs there in double "
            "brackets, as in '{before} [[answer]] {after}'"
        )
    for index, part in enumerate(HOLE.split(template)):  # text, field, size, text, field, size, text
        if index % 3 == 0:
            _literals_and_fields(part)
        elif index % 3 == 2 and part is not None and not re.fullmatch("[1-9][0-9]{0,4}", part):
            raise InputError(f"a hole's size is its number of tokens, got {part[:20]!r}; write it as [[answer:12]]")


def fill_template(template: str, record: Mapping[str, Any]) -> str:
    """The text of a template without holes for a record.

    Raises:
        InputError: the record lacks a field, or a field holds neither text nor a number.
    """
    if not set("{}") & set(template):
        return field_text(record, template)
    return _rendered(template, record)


def pieces_of(template: str, record: Mapping[str, Any]) -> tuple[str | Hole, ...]:
    """The visible texts and the holes of a template for a record, in order.

    Raises:
        InputError: the record lacks a field, a field holds neither text nor a number, or no text separates two holes.
    """
    parts: list[str | None] = [*HOLE.split(template), None, None]  # text, field, size, text, field, size, text
    pieces: list[str | Hole] = []
    for index in range(0, len(parts), 3):
        visible, name, size = parts[index : index + 3]
        pieces.append(_rendered(visible or "", record))
        if name is not None:
            pieces.append(Hole(field_text(record, name), None if size is None else int(size)))
    pieces = [piece for piece in pieces if piece != ""]
    if any(isinstance(a, Hole) and isinstance(b, Hole) for a, b in pairwise(pieces)):
        raise InputError(f"two holes need visible text between them, got none in {template[:60]!r}; make them one hole")
    return tuple(pieces)


def field_text(record: Mapping[str, Any], name: str) -> str:
    """A field of a record as text.

    Raises:
        InputError: the record lacks the field, or the field holds neither text nor a number.
    """
    if name not in record:
        names = ", ".join(map(str, record)) or "none"
        raise InputError(
            f"there is no field {name!r}, the record has {names}; name one of these, or write text with a field in "
            "braces, as in '{question}'"
        )
    value = record[name]
    if isinstance(value, date | time):
        raise InputError(
            f"field {name!r} must hold text or a number, got {value.isoformat()} as a date, which the library datasets "
            "makes of such texts; keep it as text: type: jsonl does, or cast the column to string"
        )
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        raise InputError(f"field {name!r} must hold text or a number, got {kind}; write it as text in the data")
    if isinstance(value, float) and not isfinite(value):
        raise InputError(f"field {name!r} must hold text or a number, got {value}; leave such records out")
    if isinstance(value, JsonNumber) and value.text != str(float(value)):
        raise InputError(
            f"field {name!r} holds the number {cut(value.text)}, which as text could be that or {float(value)}; write "
            "it as text in the data, in quotes"
        )
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        raise InputError(f"field {name!r} holds a number too long to show; write it as text in the data") from None


def fields_in(template: str | None, *, holes: bool = False, hidden: bool = True) -> frozenset[str]:
    """The names of the fields in a template.

    Args:
        template: the template; None has no fields.
        holes: whether the template may have holes.
        hidden: whether the fields in holes count.
    """
    if template is None:
        return frozenset()
    if not holes:
        names = (name for _, name in _literals_and_fields(template) if name)
        return frozenset(names if set("{}") & set(template) else [template])
    parts = HOLE.split(template)
    inside = parts[1::3] if hidden else []
    return frozenset([*inside, *(name for text in parts[::3] for _, name in _literals_and_fields(text) if name)])


def _rendered(template: str, record: Mapping[str, Any]) -> str:
    parts = _literals_and_fields(template)
    return "".join(literal + (field_text(record, name) if name is not None else "") for literal, name in parts)


def _literals_and_fields(template: str) -> list[tuple[str, str | None]]:
    """The literal texts of a template, each with the field after it; a dot in a name is part of the name."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(
            f"not a template, {str(error).lower()} in {template[:60]!r}; a field is {{name}}, and braces that stand "
            "for themselves are doubled, {{ and }}"
        ) from None
    for _, name, specification, conversion in parts:
        if name is not None and (not name or specification or conversion):
            raise InputError(
                f"only plain fields such as {{question}} can be shown, got a field without a name or with ! or : in "
                f"{template[:60]!r}; name one field in each pair of braces"
            )
    return [(literal, name) for literal, name, _, _ in parts]


@dataclass(frozen=True)
class Hole:
    """A hole that the model fills.

    Attributes:
        answer: the reference answer; None if there is none.
        tokens: its positions; None for as many as the answer has tokens or, after a prompt, for the generation length.
    """

    answer: str | None
    tokens: int | None = None
