"""Templates that make one text of a record's fields: ``{question}`` is shown, ``[[answer]]`` is a hole."""

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

__all__ = ["Hole", "JsonNumber", "check_template", "field_of", "fields_of", "fill_template", "pieces_of"]

HOLE = re.compile(r"\[\[([^\[\]:]+)(?::([^\[\]]*))?\]\]")


class JsonNumber(float):
    """A number of JSON that knows how it was written: 1.50 and 1e5 are other texts than 1.5 and 100000.0."""

    def __new__(cls, text: str) -> JsonNumber:
        return super().__new__(cls, text)

    def __init__(self, text: str) -> None:
        self.text = str(text)


def check_template(template: str, *, holes: bool) -> None:
    """Raise InputError for a template that no record fits.

    holes: whether it must hold at least one, [[field]] or [[field:tokens]]; else it is a field's name or holds fields
    in braces.
    """
    if not holes:
        _parsed(template)
        return
    if not HOLE.search(template):
        raise InputError(
            f"a template needs a hole to fill, got {template[:60]!r}; write the field that belongs there in double "
            "brackets, as in '{before} [[answer]] {after}'"
        )
    for place, part in enumerate(HOLE.split(template)):
        if place % 3 == 0:
            _parsed(part)
        elif place % 3 == 2 and part is not None and not re.fullmatch("[1-9][0-9]{0,4}", part):
            raise InputError(f"a hole's size is its number of tokens, got {part[:20]!r}; write it as [[answer:12]]")


def fill_template(template: str, record: Mapping[str, Any]) -> str:
    """The text of a template, or of the one field that it names; raises InputError for a field the record lacks."""
    if not set("{}") & set(template):
        return field_of(record, template)
    return _shown(template, record)


def pieces_of(template: str, record: Mapping[str, Any]) -> tuple[str | Hole, ...]:
    """The visible text and the holes of a template, in order; raises InputError as ``fill_template`` does."""
    parts: list[str | None] = [*HOLE.split(template), None, None]  # text, field, size, text, field, size, text
    pieces: list[str | Hole] = []
    for place in range(0, len(parts), 3):
        visible, name, size = parts[place : place + 3]
        pieces.append(_shown(visible or "", record))
        if name is not None:
            pieces.append(Hole(field_of(record, name), None if size is None else int(size)))
    pieces = [piece for piece in pieces if piece != ""]
    if any(isinstance(a, Hole) and isinstance(b, Hole) for a, b in pairwise(pieces)):
        raise InputError(f"two holes need visible text between them, got none in {template[:60]!r}; make them one hole")
    return tuple(pieces)


def field_of(record: Mapping[str, Any], name: str) -> str:
    """A field as text; raises InputError where the record has no such field, or what it holds is no text or number."""
    if name not in record:
        have = ", ".join(map(str, record)) or "none"
        raise InputError(
            f"there is no field {name!r}, the record has {have}; name one of these, or write text with a field in "
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


def fields_of(template: str | None, *, holes: bool = False, hidden: bool = True) -> frozenset[str]:
    """The fields that a template shows, and where ``hidden`` those in its holes too."""
    if template is None:
        return frozenset()
    if not holes:
        named = (name for _, name in _parsed(template) if name)
        return frozenset(named if set("{}") & set(template) else [template])
    parts = HOLE.split(template)
    inside = parts[1::3] if hidden else []
    return frozenset([*inside, *(name for text in parts[::3] for _, name in _parsed(text) if name)])


def _shown(template: str, record: Mapping[str, Any]) -> str:
    return "".join(
        literal + (field_of(record, name) if name is not None else "") for literal, name in _parsed(template)
    )


def _parsed(template: str) -> list[tuple[str, str | None]]:
    """Literal texts, each with the field that follows it; a field's name is looked up as it stands, dots and all."""
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
    """A place to fill.

    answer: the reference, None where there is none. tokens: how many positions it has; None for as many as the answer
    has tokens or, in a prompt task, for the data set's generation length.
    """

    answer: str | None
    tokens: int | None = None
